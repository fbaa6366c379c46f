//! The decided run, as data.

use indexmap::IndexMap;
use serde_json::Value;

use super::estimate::Estimate;
use crate::config::{CellSettings, Settings, Sourced};
use crate::record::{Arm, CheckpointInfo, Skip};
use crate::workload::Vocabulary;

/// The decided run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The settings it follows from.
    pub settings: Settings,
    /// Every selected cell, in declaration order.
    pub cells: Vec<PlannedCell>,
    /// One list per block: the engine starts, in the order in which they run.
    pub order: Vec<Vec<Turn>>,
    /// How long it will take, roughly; absent if nothing runs.
    pub estimate: Option<Estimate>,
    /// What does not stop the run but should be known before it: one line each.
    pub notes: Vec<String>,
}

impl Plan {
    /// The cells that run, in declaration order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &PlannedCell> {
        self.cells.iter().filter(|cell| cell.skip.is_none())
    }

    /// The cells that do not, with their reasons.
    pub(crate) fn skips(&self) -> impl Iterator<Item = (&PlannedCell, &Skip)> {
        self.cells
            .iter()
            .filter_map(|cell| Some((cell, cell.skip.as_ref()?)))
    }
}

/// One engine start of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    /// Index into [`Plan::cells`].
    pub cell: usize,
    /// The cell itself, or the baseline a second time.
    pub arm: Arm,
}

/// One selected cell.
#[derive(Debug, Clone)]
pub(crate) struct PlannedCell {
    /// Its merged settings.
    pub settings: CellSettings,
    /// What its checkpoint is; absent if there is none.
    pub checkpoint: Option<CheckpointInfo>,
    /// Why it will not run; absent if it will.
    pub skip: Option<Skip>,
    /// The exact engine arguments with their origins, `model` and the derived ones (`max_model_len`) included.
    pub args: IndexMap<String, Sourced<Value>>,
    /// The token ids that its prompts may hold: those that all planned checkpoints of its model have, so that every
    /// precision gets the same prompts. Absent if the checkpoint's files are not here to be read.
    pub vocabulary: Option<Vocabulary>,
    /// Digest of everything configured that changes what is measured, see [`crate::record::Fingerprint::config`].
    pub fingerprint: String,
    /// Digest of the checkpoint, see [`crate::record::Fingerprint::checkpoint`]; empty if unknown.
    pub checkpoint_fingerprint: String,
}
