//! What an engine is asked to do: the same requests for every cell, offline and online, a pure function of a
//! specification and a seed. Knows nothing of engines.

mod batch;
mod describe;
mod draw;
mod dump;
mod generate;
mod lengths;
mod preset;
mod spec;
mod stream;

pub use batch::{Batch, Sample, Vocabulary};
pub use describe::{Description, LengthSummary, describe};
pub use draw::{Slot, prompt_lengths, response_lengths, slots};
pub use dump::{DumpError, Extent, Observation, Observed, observed, parse as parse_dump};
pub use generate::{Requests, RequestsError, requests};
pub use lengths::{Lengths, LengthsError, Quantiles};
pub use preset::{PRESETS, Preset, UnknownPreset};
pub use spec::{Placement, Sampling, WorkloadError, WorkloadSpec};
pub use stream::BatchStream;
