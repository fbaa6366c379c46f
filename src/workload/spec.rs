//! The specification of a workload.

use serde::{Deserialize, Serialize};

/// One step's worth of requests, described.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkloadSpec {
    /// Distinct prompts in a step.
    pub num_prompts: u32,
    /// Samples per prompt.
    pub n: u32,
    /// Prompt lengths in tokens.
    pub prompt: Lengths,
    /// Response lengths in tokens: exact, by `ignore_eos` and `max_tokens`.
    pub response: Lengths,
    /// Sampling parameters.
    pub sampling: Sampling,
}

/// A distribution of lengths in tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Lengths {
    /// All the same.
    Fixed {
        /// The length.
        tokens: u32,
    },
}

impl Lengths {
    /// The greatest length that can come.
    pub fn max(&self) -> u32 {
        match self {
            Self::Fixed { tokens } => *tokens,
        }
    }
}

/// Sampling parameters; `generation_config = "vllm"` in both modes, so a checkpoint's own defaults do not leak in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 1 unless said.
    pub temperature: f64,
    /// 1 unless said.
    pub top_p: f64,
    /// -1 (off) unless said.
    pub top_k: i32,
    /// Log-probabilities per token; absent (off) unless said.
    pub logprobs: Option<u32>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: -1,
            logprobs: None,
        }
    }
}
