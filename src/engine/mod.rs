//! A real vLLM, started, driven and stopped: the offline driver and the server behind one face. Launch arguments
//! are data; what an installed vLLM accepts is probed, not guessed. Knows nothing of statistics and reports.

mod session;

pub use session::{Engine, Launch, Session, StepRequest, Urgency};
