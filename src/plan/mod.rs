//! What will be run: cells, skips with their reasons, blocks and their order. Starts no process.

use indexmap::IndexMap;
use serde_json::Value;

use crate::config::{CellSettings, Settings};
use crate::record::{CheckpointInfo, Skip};

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
    /// The exact engine arguments, `model` and the derived ones (`max_model_len`) included.
    pub args: IndexMap<String, Value>,
}
