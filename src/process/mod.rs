//! Supervision: every process that rollbench starts is ended and accounted for, whoever dies first, and none that it
//! did not start is touched. The only room with `unsafe`; knows nothing of vLLM. `docs/supervision.md` explains the layers.

mod capture;
mod guard;
mod guarded;
mod interpreter;
mod orphans;
mod patience;
mod pidfd;
mod procfs;
mod program;
mod rundir;
mod signals;
mod stale;
mod supervise;
mod suspend;
mod sweep;
mod wait;
mod wire;

pub use guard::{Guard, GuardedCommand, SpawnError};
pub(crate) use guarded::guard_main;
pub(crate) use patience::Patience;
pub(crate) use procfs::{Snapshot, Stat, uid, variable};
pub(crate) use program::program;
pub use rundir::RunDir;
#[cfg(test)]
pub(crate) use rundir::RunInfo;
pub(crate) use rundir::{LEASE_MODULE, LEASE_PY, RUN_VARIABLE, RunDirError};
pub(crate) use signals::Interrupt;
pub(crate) use stale::user_name;
pub(crate) use stale::{DeadRun, Leftovers, Process, leftovers, others};
pub(crate) use supervise::supervise_main;
pub(crate) use suspend::SuspendWatch;
