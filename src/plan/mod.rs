//! What will be run: cells, skips with their reasons, blocks and their order. Starts no process.

use indexmap::IndexMap;
use serde_json::Value;

use crate::config::{CellSettings, Settings, Sourced};
use crate::record::{CheckpointInfo, Skip};
use crate::workload::Vocabulary;

/// The decided run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The settings it follows from.
    pub settings: Settings,
    /// Every selected cell, in declaration order.
    pub cells: Vec<PlannedCell>,
    /// One list per block: indices into `cells` of those that run, in the order in which they run.
    pub order: Vec<Vec<usize>>,
}

/// One selected cell.
#[derive(Debug, Clone)]
pub struct PlannedCell {
    /// Its merged settings.
    pub settings: CellSettings,
    /// What its checkpoint is; absent if there is none.
    pub checkpoint: Option<CheckpointInfo>,
    /// Why it will not run; absent if it will.
    pub skip: Option<Skip>,
    /// The exact engine arguments with their origins, `model` and the derived ones (`max_model_len`) included.
    pub args: IndexMap<String, Sourced<Value>>,
    /// The token ids that its prompts may hold; absent if the checkpoint's files are not here to be read.
    pub vocabulary: Option<Vocabulary>,
    /// Digest of everything configured that changes what is measured, see [`crate::record::Fingerprint::config`].
    pub fingerprint: String,
    /// Digest of the checkpoint, see [`crate::record::Fingerprint::checkpoint`]; empty if unknown.
    pub checkpoint_fingerprint: String,
}
