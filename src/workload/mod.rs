//! What an engine is asked to do: the same requests for every cell, offline and online, a pure function of a
//! specification and a seed. Knows nothing of engines.

mod batch;
mod describe;
mod draw;
mod dump;
mod generate;
mod lengths;
mod preset;
mod problems;
mod size;
mod spec;
mod stream;

pub(crate) use batch::Vocabulary;
pub use batch::{Batch, Sample};
pub(crate) use describe::{Description, LengthSummary, describe};
pub(crate) use draw::slots;
pub(crate) use dump::{DumpError, Observation, Observed, observed, parse as parse_dump};
pub(crate) use generate::{RequestsError, requests};
pub(crate) use lengths::Lengths;
pub(crate) use preset::{PRESETS, Preset};
pub(crate) use problems::{Problem, problems};
pub(crate) use size::bytes;
pub use spec::Sampling;
pub(crate) use spec::{Placement, WorkloadError, WorkloadSpec};
pub(crate) use stream::BatchStream;
