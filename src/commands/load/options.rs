//! What `load` was asked for.

use std::path::PathBuf;

use crate::config::{FanOut, OnlineSettings};
use crate::execute::Resume;
use crate::load::Timeouts;
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
    /// Measured steps per point.
    pub(crate) steps: u32,
    /// Unmeasured steps before those of each point.
    pub(crate) warmup: u32,
    pub(crate) timeouts: Timeouts,
    /// What the record calls the precision.
    pub(crate) label: PrecisionId,
    pub(crate) out: PathBuf,
    pub(crate) resume: Resume,
    pub(crate) json: bool,
}

impl LoadOptions {
    /// Requests of a step, as far as they are counted beforehand.
    pub(crate) fn requests(&self) -> usize {
        let per_prompt = match self.fan_out {
            FanOut::N => 1,
            FanOut::Requests => self.spec.n as usize,
        };
        match self.online.duration {
            Some(_) => usize::MAX,
            None => per_prompt.saturating_mul(self.spec.num_prompts as usize),
        }
    }
}
