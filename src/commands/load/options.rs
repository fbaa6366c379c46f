//! What `load` was asked for.

use std::path::PathBuf;

use crate::config::{FanOut, LoadPoint, OnlineSettings};
use crate::load::{Limit, Timeouts};
use crate::units::PrecisionId;
use crate::workload::{Vocabulary, WorkloadSpec};

/// The resolved flags.
#[derive(Clone)]
pub(crate) struct LoadOptions {
    pub(crate) url: String,
    /// How requests are sent.
    pub(crate) online: OnlineSettings,
    /// Absent: the first that the server lists.
    pub(crate) model: Option<String>,
    pub(crate) api_key: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) ignore_eos: bool,
    pub(crate) token_ids: bool,
    /// With a duration: one batch of the requests that are made until it is over.
    pub(crate) spec: WorkloadSpec,
    pub(crate) fan_out: FanOut,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) seed: u64,
    pub(crate) limit: Limit,
    /// At least one.
    pub(crate) points: Vec<LoadPoint>,
    /// Measured steps per point.
    pub(crate) steps: u32,
    /// Unmeasured steps before the first point.
    pub(crate) warmup: u32,
    pub(crate) timeouts: Timeouts,
    /// What the record calls the precision.
    pub(crate) label: PrecisionId,
    pub(crate) out: PathBuf,
    pub(crate) json: bool,
}
