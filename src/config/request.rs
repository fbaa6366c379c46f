//! What a configuration is loaded from besides its file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{FanOut, OnlineFlags};
use crate::device::Platform;
use crate::units::Mode;
use crate::workload::Observed;

/// Everything that [`super::load()`] looks at, so that it depends on nothing else.
#[derive(Debug, Clone)]
pub(crate) struct LoadRequest {
    /// The flags.
    pub overrides: Overrides,
    /// The environment: `ROLLBENCH_CONFIG`, `MODEL_BASE`, `BENCH_BASE_DIR`, `HOME` and what `${VAR}` names.
    pub env: BTreeMap<String, String>,
    /// The current directory.
    pub cwd: PathBuf,
    /// The accelerator found on this machine.
    pub platform: Platform,
}

/// The flags, as given: absent (or an empty list) where the user said nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Overrides {
    /// `--config`: a file, or `ascend`, `nvidia`, `cpu`.
    pub config: Option<String>,
    /// `--models`.
    pub models: Vec<String>,
    /// `--quants`.
    pub quants: Vec<String>,
    /// `--model-base`: the value of `${MODEL_BASE}`.
    pub model_base: Option<PathBuf>,
    /// `--out`.
    pub out: Option<PathBuf>,
    /// `--offline` or `--online`.
    pub mode: Option<Mode>,
    /// Those of the online mode.
    pub online: OnlineFlags,
    /// `--num-prompts`.
    pub num_prompts: Option<u32>,
    /// `-n`.
    pub n: Option<u32>,
    /// `--input-len`, in tokens.
    pub input_len: Option<u32>,
    /// `--output-len`, in tokens.
    pub output_len: Option<u32>,
    /// `--like-verl`: false if not given.
    pub like_verl: bool,
    /// `--workload`: the name of a preset.
    pub workload: Option<String>,
    /// What the files of `--lengths-from` hold.
    pub lengths: Option<Observed>,
    /// `--sibling-correlation`.
    pub sibling_correlation: Option<f64>,
    /// `--shared-prefix`, in tokens.
    pub shared_prefix: Option<u32>,
    /// `--replicas`.
    pub replicas: Option<u32>,
    /// `--fan-out`.
    pub fan_out: Option<FanOut>,
    /// `--steps`.
    pub steps: Option<u32>,
    /// `--warmup`.
    pub warmup: Option<u32>,
    /// `--blocks`.
    pub blocks: Option<u32>,
    /// `--until`, as a share: 0.02 for 2 %.
    pub until: Option<f64>,
    /// `--max-blocks`.
    pub max_blocks: Option<u32>,
    /// `--calibrate`: false if not given.
    pub calibrate: bool,
    /// `--smallest-effect`, as a share: 0.02 for 2 %.
    pub smallest_effect: Option<f64>,
    /// `--seed`.
    pub seed: Option<u64>,
    /// `--gate-timeout`, in seconds.
    pub gate_timeout: Option<f64>,
    /// `--python`: `managed`, a path, or a name that is looked up in `PATH`.
    pub python: Option<String>,
    /// `--gpu-mem-util`, for every cell.
    pub gpu_mem_util: Option<f64>,
}

impl LoadRequest {
    /// A variable that is set and not empty.
    pub(crate) fn var(&self, name: &str) -> Option<&str> {
        self.env
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }
}
