//! What fidelity is measured with.

use std::path::PathBuf;

use crate::stats::fidelity::Thresholds;

/// How fidelity is measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FidelitySettings {
    /// Whether it is measured.
    pub measure: bool,
    /// Sampled tokens of a cell and repetition, at most.
    pub tokens: u64,
    /// Most tokens of a response; absent: as the tokens allow.
    pub output_len: Option<u32>,
    /// The user's prompts; absent: the built-in problems.
    pub prompts: Option<PathBuf>,
    /// How many of the best tokens are kept at each position.
    pub best: u32,
    /// Whether quantized cells score the baseline's samples too.
    pub both_ways: bool,
    /// Whether answers are checked.
    pub score: bool,
    /// Limits.
    pub thresholds: Thresholds,
}
