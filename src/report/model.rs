//! What a summary says, before it has a format. `summary.json` is this, serialised.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::Serialize;

use super::fidelity::{CellFidelity, FidelityRow};
use crate::profile::Explanation;
use crate::record::{
    CheckpointInfo, Difference, ExitStatus, FailureKind, MatrixInfo, PassedOver, Phase, PlanInfo,
    Point, Tool,
};
use crate::stats::judged::{JudgedBy, LatencyRatio};
use crate::stats::net::{NetEffect, StepTime};
use crate::stats::pace::Pace;
use crate::stats::tail::SpeedUpAt;
use crate::stats::{CellMetrics, Estimate, GeometricMean, Interval, Resolution, StepRow, Verdict};
use crate::units::{Mode, ModelId, PrecisionId};

/// The version of `summary.json`.
pub(super) const SCHEMA: &str = "rollbench.summary/1";

/// Everything that is said of a results folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The version of this format.
    pub schema: &'static str,
    /// The sessions whose numbers are in here, oldest first.
    pub sessions: Vec<SessionRow>,
    /// All cells: models and precisions in the order of their declaration, offline before online.
    pub cells: Vec<CellRow>,
    /// Results of other programs.
    pub imported: Vec<ImportedRow>,
    /// What was measured on what: distinct surroundings, with the cells measured in each.
    pub environments: Vec<Environment>,
    /// The distinct workloads.
    pub workloads: Vec<WorkloadRow>,
    /// Processes that outlived their engine's polite stop.
    pub leaks: Vec<LeakRow>,
    /// Files that could not be read.
    pub passed_over: Vec<PassedOver>,
    /// What each session's machine can tell apart: the baseline measured twice, by model.
    pub calibrations: Vec<CalibrationRow>,
    /// Each precision over all models that have a valid speed-up; only where there are several.
    pub geometric_means: Vec<GeometricMeanRow>,
    /// The whole training step; empty unless its times were given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub training_step: Vec<TrainingStepRow>,
    /// How far each precision's policy is from the baseline's; empty where it was not measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) fidelity: Vec<FidelityRow>,
    /// What a reader should know.
    pub notes: Vec<Note>,
}

/// The baseline of a model, measured twice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CalibrationRow {
    /// The model.
    pub model: ModelId,
    /// Offline or online.
    pub mode: Mode,
    /// The point of a sweep; absent outside one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<Point>,
    /// What tables show for the model.
    pub model_label: String,
    /// What it tells.
    #[serde(flatten)]
    pub resolution: Resolution,
    /// In words.
    pub sentence: String,
}

/// A precision over several models.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GeometricMeanRow {
    /// The precision.
    pub precision: PrecisionId,
    /// Offline or online.
    pub mode: Mode,
    /// The point of a sweep; absent outside one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<Point>,
    /// What tables show for the precision.
    pub precision_label: String,
    /// Its speed-up.
    #[serde(flatten)]
    pub mean: GeometricMean,
}

/// What a cell's speed-up means for a whole training step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainingStepRow {
    /// The model.
    pub model: ModelId,
    /// The precision.
    pub precision: PrecisionId,
    /// Offline or online.
    pub mode: Mode,
    /// The point of a sweep; absent outside one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<Point>,
    /// The times that it was computed from.
    pub times: StepTime,
    /// The effect.
    #[serde(flatten)]
    pub effect: NetEffect,
    /// In words.
    pub sentence: String,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SessionRow {
    /// Its id.
    pub id: String,
    /// When it began.
    pub started: Timestamp,
    /// The version of rollbench.
    pub rollbench: String,
    /// Its command line, secrets redacted.
    pub argv: Vec<String>,
    /// The session that it went on with; absent if none.
    pub resumes: Option<String>,
    /// The matrix as selected.
    pub matrix: MatrixInfo,
    /// What was planned per cell.
    pub plan: PlanInfo,
    /// The seed of prompts and orders.
    pub seed: u64,
    /// The smallest effect of interest: 0.02 for 2 %.
    #[serde(skip)]
    pub smallest_effect: f64,
}

/// How far a cell came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All planned engine starts are complete.
    Done,
    /// Some are.
    Partial,
    /// None is: the engine failed.
    Failed,
    /// None is: rollbench was ended.
    Interrupted,
    /// Being measured while this was read.
    Running,
    /// Planned, not begun.
    Planned,
    /// Not to be run.
    Skipped,
}

/// One cell in one mode, at one point of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellRow {
    /// The model.
    pub model: ModelId,
    /// The precision.
    pub precision: PrecisionId,
    /// Offline or online.
    pub mode: Mode,
    /// How its requests were sent; absent offline, and online where all were sent at once and nothing else was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<Point>,
    /// What tables show for the model.
    pub model_label: String,
    /// What tables show for the precision.
    pub precision_label: String,
    /// Whether it is what others are compared with.
    pub baseline: bool,
    /// The session of its record.
    pub session: String,
    /// How far it came.
    pub outcome: Outcome,
    /// Engine starts that were planned.
    pub planned_starts: u32,
    /// Why it was not run; absent unless skipped.
    pub skip: Option<String>,
    /// The engine starts that failed.
    pub failures: Vec<FailureRow>,
    /// Engine starts that were interrupted: kept, and in no number.
    pub interrupted_starts: usize,
    /// Absent if none is configured.
    pub checkpoint: Option<CheckpointInfo>,
    /// Kernels that vLLM says it selected.
    pub kernels: Vec<String>,
    /// Slow ways that its engines' logs say were taken; empty where they name none, or were not asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
    /// Engine arguments whose effective value is not the requested one.
    pub config_difference: IndexMap<String, Difference>,
    /// Absent without a complete engine start.
    pub metrics: Option<CellMetrics>,
    /// What its schedule offered, and whether the engine kept up; absent without a rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
    /// Why its numbers do not hold; empty if they do.
    pub invalid: Vec<String>,
    /// What is odd about its numbers, and does not forbid them.
    pub warnings: Vec<String>,
    /// Seconds and running sequences over the last measured step, 64 points at most; empty where the engine does not
    /// tell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub running_over_time: Vec<(f64, u32)>,
    /// How far its policy is from the baseline's; absent where that was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fidelity: Option<CellFidelity>,
    /// With its model's baseline; absent for the baseline itself, and where one of the two has no numbers.
    pub comparison: Option<Comparison>,
    /// Why it is faster or slower than the baseline; absent unless both were profiled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<Explanation>,
    /// Every step.
    pub steps: Vec<StepRow>,
    /// For pictures: when each fiftieth of the sequences had ended, in seconds, a list a counted step; empty where the
    /// engine does not tell.
    #[serde(skip)]
    pub(super) completion: Vec<Vec<f64>>,
    /// For pictures: every engine start, at the first point of a sweep.
    #[serde(skip)]
    pub(super) ran: Vec<Ran>,
}

/// What an engine start did when, in nanoseconds of the machine's clock since it booted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ran {
    pub(super) session: String,
    pub(super) boot: String,
    pub(super) begin_ns: u64,
    pub(super) block: u32,
    pub(super) failed: bool,
    /// What, from when, and for how long.
    pub(super) parts: Vec<(Part, u64, u64)>,
}

/// A part of an engine start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Gate,
    Load,
    Warmup,
    Measured,
    Profiled,
    Stop,
}

/// A cell compared with the baseline of its model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The baseline.
    pub baseline: PrecisionId,
    /// Throughput, unless a schedule decided the makespan.
    pub judged_by: JudgedBy,
    /// The speed-up, from makespans: above 1 is faster. Absent if the two cannot be compared, and where throughput is not
    /// what they are judged by.
    pub estimate: Option<Estimate>,
    /// Where one of the two keeps up with the offered rate and the other does not: what the speed-up is at least
    /// (`at_least`) or at most (`at_most`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<Estimate>,
    /// Where both keep up with the offered rate: the ratios of their latencies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub latency: Vec<LatencyRatio>,
    /// What may be said of it; absent likewise.
    pub verdict: Option<Verdict>,
    /// By block: mean ln makespan of the baseline - that of the cell. Empty across sessions.
    pub differences: Vec<f64>,
    /// The numbers of these blocks, from 0.
    pub blocks: Vec<u32>,
    /// The bias-corrected and accelerated bootstrap, as a second opinion; absent below twenty blocks.
    pub bootstrap: Option<Interval>,
    /// Places in `differences` of blocks that stand out; they are in all numbers.
    pub outliers: Vec<usize>,
    /// The speed-up without them; absent if there are none.
    pub without_outliers: Option<f64>,
    /// The speed-up while so many sequences run; empty where an engine does not tell.
    pub by_running: Vec<SpeedUpAt>,
    /// Whether the baseline was measured in another session, so that the two share no block.
    pub across_sessions: bool,
    /// Why a ratio of the two would mean nothing; absent if it means something.
    pub incomparable: Option<String>,
}

/// A failed engine start.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailureRow {
    /// Counted from 0.
    pub block: u32,
    /// Where it was.
    pub phase: Phase,
    /// What sort of failure.
    pub kind: FailureKind,
    /// What happened.
    pub message: String,
    /// The cause, as far as it can be told.
    pub diagnosis: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// How the engine's process ended.
    pub exit: Option<ExitStatus>,
    /// The engine's log.
    pub log: String,
}

/// A process that outlived the polite stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeakRow {
    /// `<model>_<precision>`.
    pub cell: String,
    /// Offline or online.
    pub mode: Mode,
    /// Counted from 0.
    pub block: u32,
    /// Its process id.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Its command line.
    pub command: String,
    /// False if it could not be ended.
    pub ended: bool,
}

/// What cells were measured on. Two engine starts with equal surroundings share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Environment {
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// Processor model.
    pub cpu: String,
    /// Processors.
    pub cpus: u32,
    /// Memory in total.
    pub memory_bytes: u64,
    /// Accelerators: name, and driver if known, one entry each.
    pub devices: Vec<String>,
    /// As vLLM names it; absent where no engine came up.
    pub platform: Option<String>,
    /// Of vLLM and what it stands on.
    pub versions: BTreeMap<String, String>,
    /// Variables that bear on speed, secrets redacted.
    pub env: BTreeMap<String, String>,
    /// The cells that were measured on it.
    pub cells: Vec<String>,
}

/// A workload, and the cells that ran it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkloadRow {
    /// Its name.
    pub name: String,
    /// Its specification.
    pub spec: serde_json::Value,
    /// The seed.
    pub seed: u64,
    /// Over all requests: equal where the requests were equal.
    pub sha256: String,
    /// The cells that ran it.
    pub cells: Vec<String>,
}

/// Results of another program for one cell at one load; several runs are taken together, as sums over sums.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImportedRow {
    /// From the file's name.
    pub model: String,
    /// From the file's name.
    pub precision: String,
    /// Who measured it.
    pub tool: Tool,
    /// How the requests were sent, such as `64 requests, all at once, at most 8 at a time`.
    pub load: String,
    /// The files.
    pub files: Vec<String>,
    /// Results in them.
    pub runs: usize,
    /// Whether no request was answered.
    pub failed_cell: bool,
    /// All runs.
    pub elapsed_s: f64,
    /// All runs.
    pub requests: u64,
    /// All runs; absent if one does not say.
    pub failed: Option<u64>,
    /// All runs; absent if it cannot be known.
    pub output_tokens: Option<u64>,
    /// Absent if it cannot be known.
    #[serde(rename = "output_throughput_tok_s")]
    pub output_throughput: Option<f64>,
    /// Measured; absent where no request was answered.
    #[serde(rename = "total_token_throughput_tok_s")]
    pub total_token_throughput: Option<f64>,
    /// Measured; absent likewise.
    #[serde(rename = "request_throughput_req_s")]
    pub request_throughput: Option<f64>,
    /// Over the model's BF16 at the same load: the ratio of token throughputs, without an interval. Absent for BF16
    /// itself, and where no BF16 was measured alike.
    pub speed_up: Option<f64>,
    /// Why there is none although there is a BF16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<String>,
    /// What a reader should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// `p99_ttft_ms` ... by the program's own names; only of a single run, since percentiles cannot be pooled.
    pub latencies_ms: IndexMap<String, f64>,
    /// The numbers of a cell that such a file cannot give.
    pub cannot_be_known: Vec<&'static str>,
}

/// A remark below the tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The words.
    pub text: String,
    /// A command to go on with; absent if there is none.
    pub command: Option<String>,
}

impl CellRow {
    /// `<model>_<precision>`.
    pub fn id(&self) -> String {
        format!("{}_{}", self.model, self.precision)
    }

    /// `MODEL PRECISION` as tables show it.
    pub fn name(&self) -> String {
        format!("{} {}", self.model_label, self.precision_label)
    }

    /// `MODEL`, with the point of a sweep.
    pub(super) fn of_model(&self) -> String {
        match self.point {
            Some(point) => format!("{} ({point})", self.model_label),
            None => self.model_label.clone(),
        }
    }

    /// `MODEL PRECISION`, with the point of a sweep.
    pub fn title(&self) -> String {
        match self.point {
            Some(point) => format!("{} ({point})", self.name()),
            None => self.name(),
        }
    }
}
