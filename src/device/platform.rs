//! Which kind of accelerator this machine has, found without Python.

use std::fmt;
use std::fs;

use serde::{Deserialize, Serialize};

use super::{ascend, nvidia};

/// A kind of accelerator, by vLLM's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Platform {
    /// No accelerator.
    Cpu,
    /// NVIDIA.
    Cuda,
    /// Ascend.
    Npu,
}

impl Platform {
    /// NVIDIA if its management library loads and finds a device, Ascend if there is `/dev/davinci0` (any number) or
    /// `npu-smi`, otherwise the processor. Device selections (`CUDA_VISIBLE_DEVICES` ...) do not matter.
    pub(crate) fn detect() -> Self {
        if nvidia::is_there() {
            Self::Cuda
        } else if has_davinci() || ascend::tool().is_some() {
            Self::Npu
        } else {
            Self::Cpu
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Npu => "npu",
        })
    }
}

fn has_davinci() -> bool {
    fs::read_dir("/dev").into_iter().flatten().any(|entry| {
        entry.is_ok_and(|entry| {
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.strip_prefix("davinci"))
                .is_some_and(|number| number.parse::<u32>().is_ok())
        })
    })
}
