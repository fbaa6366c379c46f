//! The record of one cell: one file, complete enough to recompute everything that a summary says.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::start::EngineStart;
use crate::units::{CellId, Mode, ModelId, PrecisionId};

/// The version of the record's format. A reader refuses any other.
pub(crate) const SCHEMA: &str = "rollbench.cell/1";

/// Everything measured of one cell in one mode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellRecord {
    /// `rollbench.cell/1`.
    pub schema: String,
    /// The session that measured it.
    pub session: Session,
    /// Which cell it is, and its checkpoint.
    pub cell: CellInfo,
    /// Every resolved setting of this cell with where it came from, by dotted path.
    pub settings: IndexMap<String, Setting>,
    /// Digests that tell whether a later run measures the same thing.
    pub fingerprint: Fingerprint,
    /// The workloads by name (`main`).
    pub workloads: IndexMap<String, WorkloadInfo>,
    /// How far it came.
    pub status: CellStatus,
    /// Why it was not run; absent unless `status` is `skipped`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<Skip>,
    /// The engine starts, in the order in which they were begun.
    pub starts: Vec<EngineStart>,
}

/// One invocation of `rollbench run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Random, unique.
    pub id: String,
    /// The version of rollbench.
    pub rollbench: String,
    /// The command line, secrets redacted.
    pub argv: Vec<String>,
    /// When it began (UTC).
    pub started: Timestamp,
    /// The session that this one goes on with (`--resume`); absent if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<String>,
    /// The selected matrix.
    pub matrix: MatrixInfo,
    /// The order of the cells, one list per block.
    pub order: Vec<Vec<CellId>>,
    /// How many blocks and steps were planned.
    pub plan: PlanInfo,
    /// The seed of prompts and orders.
    pub seed: u64,
    /// How differences are judged, decided before measuring.
    #[serde(default)]
    pub inference: Inference,
}

/// What was decided before measuring about how differences are judged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inference {
    /// The smallest effect of interest: 0.02 for 2 %.
    pub smallest_effect: f64,
    /// The half-width that a two-stage session aims at, 0.02 for 2 %; absent where the number of blocks was fixed.
    pub until: Option<f64>,
    /// Blocks of its first stage; absent likewise.
    pub first_stage: Option<u32>,
    /// Most blocks that it may run; absent likewise.
    pub max_blocks: Option<u32>,
    /// Whether the baseline was measured a second time.
    pub calibrate: bool,
}

impl Default for Inference {
    fn default() -> Self {
        Self {
            smallest_effect: 0.02,
            until: None,
            first_stage: None,
            max_blocks: None,
            calibrate: false,
        }
    }
}

/// The axes of the matrix as selected, in declaration order: the order of every table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MatrixInfo {
    /// Where it came from: a file, or `built-in NAME`.
    pub source: String,
    /// The models.
    pub models: Vec<ModelId>,
    /// The precisions.
    pub precisions: Vec<PrecisionId>,
    /// The precision that others are compared with, whether selected or not.
    pub baseline: PrecisionId,
}

/// The planned amount of measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanInfo {
    /// Engine starts per cell.
    pub blocks: u32,
    /// Unmeasured steps per engine start.
    pub warmup: u32,
    /// Whether that many come before the measured steps of each point of a sweep; otherwise before its first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warmup_at_each_point: bool,
    /// Measured steps per engine start, at each point of a sweep.
    pub steps: u32,
    /// Points of the sweep.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub points: u32,
}

fn one() -> u32 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_one(points: &u32) -> bool {
    *points == 1
}

/// Which cell a record is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellInfo {
    /// Model and precision.
    #[serde(flatten)]
    pub id: CellId,
    /// Offline or online.
    pub mode: Mode,
    /// What tables show for `model` and `precision`.
    pub labels: Labels,
    /// The checkpoint; absent where none is configured.
    pub checkpoint: Option<CheckpointInfo>,
}

/// Display names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// Of the model.
    pub model: String,
    /// Of the precision.
    pub precision: String,
}

/// What a checkpoint really is, read from its files, never from its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointInfo {
    /// As configured: the folder, `hf:org/name`, or `managed:NAME`.
    pub path: String,
    /// The weights' format, such as `BF16`, `compressed-tensors int-quantized W8A8 dynamic`; absent if unknown.
    pub format: Option<String>,
    /// Size of the weight files; absent if unknown.
    pub bytes: Option<u64>,
    /// SHA-256 of `config.json` in hexadecimal; absent if there is none to read.
    pub sha256_config: Option<String>,
    /// True if there are no weights, only a config (`load_format = "dummy"`).
    pub shape_only: bool,
    /// The method of the weights' quantization, as vLLM names it: `compressed-tensors`, `fp8`, `ascend` ...; absent for
    /// floats, and if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// What belies the precision's name, such as a quantized checkpoint under the name `bf16`; absent if nothing is known
    /// to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mismatch: Option<String>,
}

/// One resolved setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Its value.
    pub value: serde_json::Value,
    /// Where it came from, such as `file rollbench.toml:12` or `flag --steps`.
    pub origin: String,
}

/// SHA-256 digests (hexadecimal) of what determines a measurement. `resume` goes on only where they agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Of every setting that changes what is measured.
    pub config: String,
    /// Of the checkpoint: its config and the names and sizes of its weight files; empty if unknown.
    pub checkpoint: String,
    /// Of the interpreter and the vLLM in it; empty until an engine has started.
    pub engine: String,
}

/// A workload as it was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkloadInfo {
    /// Its specification, from which and the seed it can be made again.
    pub spec: serde_json::Value,
    /// The seed.
    pub seed: u64,
    /// SHA-256 over all requests of all steps: equal for all cells that are compared. Empty until made.
    pub sha256: String,
}

/// How far a cell came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CellStatus {
    /// Planned, nothing complete yet.
    Planned,
    /// All planned engine starts are complete.
    Done,
    /// Some planned engine starts are complete.
    Partial,
    /// Ended without a complete engine start.
    Failed,
    /// Not run, see [`CellRecord::skip`].
    Skipped,
}

/// Why a cell was not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Skip {
    /// The matrix names no checkpoint for it.
    NoCheckpoint,
    /// The checkpoint's folder does not exist.
    CheckpointMissing {
        /// The folder.
        path: String,
    },
    /// The precision is marked as unsupported on this platform.
    Unsupported {
        /// `cpu`, `cuda`, `npu`.
        platform: String,
        /// The matrix's words.
        reason: String,
    },
}

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoCheckpoint => f.write_str("no checkpoint configured"),
            Self::CheckpointMissing { path } => {
                write!(f, "checkpoint does not exist: {path}")?;
                // Two words as the hub has them, and no place in a file system.
                let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
                match path.split_once('/') {
                    Some((owner, name))
                        if !owner.is_empty()
                            && !name.is_empty()
                            && !owner.starts_with('.')
                            && (owner.chars().chain(name.chars())).all(of_name) =>
                    {
                        write!(f, " (one of the Hugging Face hub is written hf:{path})")
                    }
                    _ => Ok(()),
                }
            }
            Self::Unsupported { platform, reason } => {
                write!(f, "unsupported on {platform}: {reason}")
            }
        }
    }
}

impl CellRecord {
    /// The cell's place in the order of declaration of its session: model, mode, precision.
    pub fn declared(&self) -> (usize, Mode, usize) {
        let matrix = &self.session.matrix;
        let model = matrix.models.iter().position(|m| *m == self.cell.id.model);
        let precision = matrix
            .precisions
            .iter()
            .position(|p| *p == self.cell.id.precision);
        (
            model.unwrap_or(usize::MAX),
            self.cell.mode,
            precision.unwrap_or(usize::MAX),
        )
    }

    /// The status that follows from the starts.
    pub fn derived_status(&self) -> CellStatus {
        if self.skip.is_some() {
            return CellStatus::Skipped;
        }
        let main = self
            .starts
            .iter()
            .filter(|s| s.is_complete() && s.arm == super::Arm::Main)
            .map(|s| s.block)
            .collect::<BTreeSet<_>>()
            .len();
        match main {
            0 if self.starts.is_empty() => CellStatus::Planned,
            0 => CellStatus::Failed,
            n if n < self.session.plan.blocks as usize => CellStatus::Partial,
            _ => CellStatus::Done,
        }
    }
}
