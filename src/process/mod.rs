//! Supervision: every process that rollbench starts is ended and accounted for, whoever dies first, and none that it
//! did not start is touched. The only room with `unsafe`; knows nothing of vLLM. `docs/supervision.md` explains the layers.

mod guard;
mod guarded;
mod orphans;
mod pidfd;
mod procfs;
mod sweep;
mod wait;
mod wire;

pub use guard::{Guard, GuardedCommand, SpawnError, SweepReport};
pub use guarded::guard_main;

/// The environment variable that marks every process of a run with the run's id.
pub const RUN_VARIABLE: &str = "ROLLBENCH_RUN";
