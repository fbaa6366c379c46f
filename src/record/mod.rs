//! What was measured, raw: the versioned record types, the store that keeps them on disk as they arrive,
//! resume, and the import of foreign results. Nothing in here is derived; `stats` computes from it.

mod atomic;
#[cfg(test)]
pub(crate) mod builder;
mod cell;
mod conditions;
mod counted;
mod fidelity;
mod files;
#[cfg(test)]
mod golden;
mod import;
mod journal;
mod layout;
mod lock;
mod point;
mod read;
pub(crate) mod redact;
mod regular;
mod replay;
mod resume;
mod start;
mod step;
mod store;
mod tokens;
mod validate;

pub(crate) use atomic::write_atomic;
pub(crate) use conditions::{Conditions, Unlike};
pub(crate) use counted::{counted_starts, counted_steps};
pub(crate) use fidelity::{
    Columns, FIDELITY_SCHEMA, FidelityPrompts, FidelityRecord, Look, ResponseColumns, fidelity_of,
    read_fidelity, set_fidelity_aside, sidecar, write_fidelity,
};
pub(crate) use import::{Foreign, ForeignResult, Tool};
pub(crate) use layout::{PROFILES, RESULTS, record_name, results_dir};
pub(crate) use lock::LockHolder;
pub(crate) use read::{Found, PassedOver, read_results};
pub(crate) use regular::read_regular;
pub(crate) use resume::{Change, ResumeState, hex};
pub use store::Store;
pub(crate) use store::{Fault, Saved, StartWriter, StoreError};

pub(crate) use cell::Session;
pub(crate) use cell::{
    CellInfo, CheckpointInfo, Fingerprint, Inference, Labels, MatrixInfo, PlanInfo, SCHEMA,
    Setting, Skip, WorkloadInfo,
};
pub use cell::{CellRecord, CellStatus};
pub(crate) use point::{Point, Ramp};
pub use start::{
    Arm, EngineFacts, EngineStart, ExitStatus, Failure, FailureKind, Phase, StartKind, StartStatus,
};
pub(crate) use start::{
    COMPLETE, ClockStamp, DeviceInfo, Difference, Gate, GateReading, Holder, Host, Leak, Neighbour,
    Profile, Starting, Stop,
};
pub(crate) use step::{
    Arrivals, ClientFacts, Counted, Counters, OnlineColumns, ReadLag, ServerSeries, Sidecar,
    Submitted, Timeline,
};
pub use step::{FinishSource, Role, Sequences, Step, StepStatus};
pub(crate) use tokens::TokenRow;
pub use tokens::{ChunkTokens, TokenTimes, read_tokens};
