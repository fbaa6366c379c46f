//! The offline engine: `LLM.generate` in a Python driver that is embedded in the binary.

mod engine;
mod event_reader;
mod fidelity;
mod judge;
mod prompt_file;
mod protocol;
mod session;

pub(super) use engine::DRIVER;
pub use engine::OfflineEngine;
pub(crate) use fidelity::FidelityJob;
pub(crate) use protocol::Counted;
pub use session::OfflineSession;
