//! A real vLLM, started, driven and stopped: the offline driver and the server behind one face; and a
//! server that runs already. Launch arguments
//! are data; what an installed vLLM accepts is probed, not guessed. Knows nothing of statistics and reports.

mod attached;
mod causes;
mod client;
mod diagnosis;
mod failure;
mod kernels;
mod log;
mod offline;
mod oom;
mod probe;
mod said;
mod server;
mod session;
mod started;
mod surroundings;
mod traceback;
mod warm;
mod watch;

pub(crate) use attached::AttachedEngine;
pub(crate) use client::Client;
pub(crate) use offline::{Counted, FidelityJob};
pub use offline::{OfflineEngine, OfflineSession};
pub(crate) use probe::{Probe, probe};
pub use server::{ServerEngine, ServerSession};
pub(crate) use session::Timed;
pub use session::{Engine, Launch, LoadShape, ProfilerOrder, Session, StepRequest, Urgency};
