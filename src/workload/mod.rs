//! What an engine is asked to do: the same requests for every cell, offline and online, a pure function of a
//! specification and a seed. Knows nothing of engines.

mod batch;
mod spec;

pub use batch::{Batch, Sample, Vocabulary};
pub use spec::{Lengths, Sampling, WorkloadSpec};
