//! Accelerators: what is there, how much memory is in use, who holds it. Knows nothing of engines.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of accelerator, by vLLM's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// No accelerator.
    Cpu,
    /// NVIDIA.
    Cuda,
    /// Ascend.
    Npu,
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
