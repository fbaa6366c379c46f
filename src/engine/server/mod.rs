//! The online engine: `vllm serve` behind a small launcher, driven by rollbench's own streaming client.

mod engine;
mod facts;
mod flags;
mod session;

pub use engine::ServerEngine;
pub use session::ServerSession;
