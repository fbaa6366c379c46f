//! What was measured, raw: the versioned record types, the store that keeps them on disk as they arrive,
//! resume, and the import of foreign results. Nothing in here is derived; `stats` computes from it.

mod atomic;
#[cfg(test)]
pub(crate) mod builder;
mod cell;
mod files;
#[cfg(test)]
mod golden;
mod import;
mod journal;
mod layout;
mod lock;
mod point;
mod read;
pub mod redact;
mod replay;
mod resume;
mod start;
mod step;
mod store;
mod tokens;
mod validate;

pub use atomic::write_atomic;
pub use import::{Foreign, ForeignResult, Tool};
pub use layout::{RESULTS, record_name, results_dir};
pub use lock::LockHolder;
pub use read::{Found, PassedOver, read_results};
pub use resume::{Change, ResumeState, engine_fingerprint, hex};
pub use store::{Fault, Recovered, Saved, Store, StoreError};

pub use cell::{
    CellInfo, CellRecord, CellStatus, CheckpointInfo, Fingerprint, Inference, Labels, MatrixInfo,
    PlanInfo, SCHEMA, Session, Setting, Skip, WorkloadInfo,
};
pub use point::{Point, Ramp};
pub use start::{
    Arm, ClockStamp, DeviceInfo, Difference, EngineFacts, EngineStart, ExitStatus, Failure,
    FailureKind, Gate, GateReading, Holder, Host, Leak, Neighbour, Phase, Profile, StartStatus,
    Stop,
};
pub use step::{
    ClientFacts, Counted, Counters, FinishSource, OnlineColumns, ReadLag, Role, Sequences,
    ServerSeries, Sidecar, Step, StepStatus, Submitted, Timeline,
};
pub use tokens::{ChunkTokens, TokenRow, TokenTimes, TokenTimesError, read_tokens, write_tokens};
