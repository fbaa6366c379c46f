//! Supervision: every process that rollbench starts is ended and accounted for, whoever dies first, and none that it
//! did not start is touched. The only room with `unsafe`; knows nothing of vLLM. `docs/supervision.md` explains the layers.

mod guard;
mod guarded;
mod limits;
mod orphans;
mod patience;
mod pidfd;
mod procfs;
mod rundir;
mod signals;
mod stale;
mod supervise;
mod suspend;
mod sweep;
mod wait;
mod wire;

pub use guard::{Guard, GuardedCommand, SpawnError, SweepReport};
pub use guarded::guard_main;
pub use limits::raise_open_files;
pub use patience::Patience;
pub(crate) use procfs::{Snapshot, Stat, uid, variable};
pub use rundir::{
    LEASE_MODULE, LEASE_PY, LEASE_VARIABLE, RUN_VARIABLE, RunDir, RunDirError, RunInfo,
};
pub use signals::Interrupt;
pub(crate) use stale::user_name;
pub use stale::{DeadRun, Leftovers, Process, leftovers, others};
pub use supervise::supervise_main;
pub use suspend::{Pause, SuspendMark, SuspendWatch};
