//! The resolved settings of one invocation. Every value remembers where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::declared::{FLUSH_LIMIT, STALL_LIMIT, START_LIMIT, STOP_LIMIT};
use super::setting::Setting;
use super::values;
use crate::device::Platform;
use crate::load::Api;
use crate::record::{Inference, Ramp, Role};
use crate::stats::Slo;
use crate::units::{CellId, Mode, ModelId, PrecisionId};
use crate::workload::WorkloadSpec;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// rollbench's own default.
    Default,
    /// A matrix built into the binary, and the line in it.
    BuiltIn {
        /// `ascend`, `nvidia` or `cpu`.
        name: String,
        /// Counted from 1.
        line: usize,
    },
    /// A configuration file, and the line in it.
    File {
        /// As the user named it.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable.
    Env(&'static str),
    /// A flag.
    Flag(&'static str),
    /// The flags of `load`, or its defaults.
    Load,
    /// Computed from other settings, in words.
    Derived(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::BuiltIn { name, line } => write!(f, "built-in {name}.toml:{line}"),
            Self::File { path, line } => write!(f, "file {}:{line}", path.display()),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Load => f.write_str("flags of load"),
            Self::Derived(how) => write!(f, "derived: {how}"),
        }
    }
}

/// A value with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

impl<T> Sourced<T> {
    /// A value from `origin`.
    pub(crate) fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}

/// Everything that a run needs to know, resolved.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The matrix as configured and as selected.
    pub matrix: Matrix,
    /// How much is measured, and how.
    pub run: RunSettings,
    /// The workload.
    pub workload: WorkloadSpec,
    /// Whether `--lengths-from` holds texts whose tokens are counted when the run begins: until then the response lengths
    /// of `workload` stand for others.
    pub uncounted: bool,
    /// The interpreter whose vLLM is used.
    pub python: Sourced<Python>,
    /// The platform that the engine runs on: the accelerator found, or `cpu` for the managed engine, which is vLLM
    /// for CPU whatever is in the machine.
    pub platform: Platform,
    /// Whether that is another machine, whose files are not here.
    pub elsewhere: bool,
    /// The folder that holds `benchmark_results/`, `benchmark_logs/` and `benchmark_profiles/`.
    pub out: Sourced<PathBuf>,
    /// The selected cells: models in the order of their declaration, within each the precisions in theirs.
    pub cells: Vec<CellSettings>,
    /// What `--like-verl` changed, a line each; empty without it.
    pub like_verl: Vec<String>,
    /// Scalar settings by dotted path (`run.steps`, `workload.num_prompts` ...), for `plan` and the record.
    pub values: IndexMap<String, Sourced<Value>>,
}

/// The configured matrix.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    /// Where it was read from.
    pub source: MatrixSource,
    /// All models, in declaration order.
    pub models: Vec<ModelSettings>,
    /// All precisions, in declaration order.
    pub precisions: Vec<PrecisionSettings>,
    /// The precision that the others are compared with.
    pub baseline: PrecisionId,
    /// The selected models, in declaration order.
    pub selected_models: Vec<ModelId>,
    /// The selected precisions, in declaration order.
    pub selected_precisions: Vec<PrecisionId>,
}

/// Where the matrix was read from, and why that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MatrixSource {
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// `flag --config`, `env ROLLBENCH_CONFIG`, or `found in the current directory`.
        why: String,
    },
    /// None: a server that runs already.
    Server,
    /// Embedded in the binary.
    BuiltIn {
        /// `ascend`, `nvidia`, `cpu`.
        name: String,
        /// `flag --config`, `env ROLLBENCH_CONFIG`, or the accelerator that was found.
        why: String,
    },
}

impl MatrixSource {
    /// Why this one.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Server => "its address",
            Self::File { why, .. } | Self::BuiltIn { why, .. } => why,
        }
    }
}

impl fmt::Display for MatrixSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Server => f.write_str("a running server"),
            Self::BuiltIn { name, .. } => write!(f, "built-in {name}"),
        }
    }
}

/// A configured model.
#[derive(Debug, Clone)]
pub(crate) struct ModelSettings {
    /// Its id.
    pub id: ModelId,
    /// What tables show.
    pub label: String,
}

/// A configured precision.
#[derive(Debug, Clone)]
pub(crate) struct PrecisionSettings {
    /// Its id.
    pub id: PrecisionId,
    /// What tables show.
    pub label: String,
}

/// How the main program of an engine comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Start {
    /// By a fork of an interpreter that has imported vLLM for all starts of its block.
    Warm,
    /// By importing vLLM anew.
    Cold,
}

/// How much is measured, and how.
#[derive(Debug, Clone)]
pub(crate) struct RunSettings {
    /// Offline or online.
    pub mode: Mode,
    /// How online steps are sent.
    pub online: OnlineSettings,
    /// Measured steps per engine start, at each point of a sweep.
    pub steps: u32,
    /// Unmeasured full steps before them.
    pub warmup: u32,
    /// Engine starts per cell.
    pub blocks: u32,
    /// Seed of prompts and orders.
    pub seed: u64,
    /// How samples become requests.
    pub fan_out: FanOut,
    /// How differences are judged.
    pub inference: Inference,
    /// How engine starts begin.
    pub start: Start,
    /// How long the device gate waits for memory to come back.
    pub gate_timeout: Duration,
    /// How fidelity is measured after the blocks.
    pub fidelity: super::FidelitySettings,
    /// The profiled session behind the measured steps; absent without one.
    pub profile: Option<ProfileSettings>,
}

/// The profiled session of an engine start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ProfileSettings {
    /// Sequences that decode; absent: as many as the workload has, up to what the engine decodes at once.
    pub prompts: Option<u32>,
    /// Length of their responses; absent: as long as it takes.
    pub output_len: Option<u32>,
    /// Whether traces stay uncompressed.
    pub keep_raw: bool,
}

impl Settings {
    /// A setting as resolved.
    pub(crate) fn get<T: DeserializeOwned>(&self, setting: &Setting<T>) -> T {
        let said = self.values.get(setting.declaration.key);
        values::typed(&setting.declaration, said.map(|said| &said.value))
    }
}

impl RunSettings {
    /// Points of the sweep; 1 outside one.
    pub(crate) fn points(&self) -> u32 {
        match self.mode {
            Mode::Offline => 1,
            Mode::Online => u32::try_from(self.online.points().len()).unwrap_or(u32::MAX),
        }
    }

    /// Where the step with this index stands: at each point warm-up comes first.
    pub(crate) fn place(&self, index: u32) -> StepPlace {
        let each = (self.warmup + self.steps).max(1);
        let (point, within) = (index / each, index % each);
        let (role, before, at_each) = match within.checked_sub(self.warmup) {
            None => (Role::Warmup, within, self.warmup),
            Some(measured) => (Role::Measured, measured, self.steps),
        };
        StepPlace {
            point,
            role,
            number: point * at_each + before + 1,
            of: at_each * self.points(),
        }
    }

    /// Steps of one engine start: at each point warm-up, then the measured ones.
    pub(crate) fn steps_of_a_start(&self) -> u32 {
        self.warmup
            .saturating_add(self.steps)
            .saturating_mul(self.points())
    }
}

/// Which of an engine start's steps one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StepPlace {
    /// The point of the sweep, counted from 0.
    pub point: u32,
    /// Warm-up or measured.
    pub role: Role,
    /// Counted from 1 over all steps of its role.
    pub number: u32,
    /// Of this many.
    pub of: u32,
}

/// How the requests of online steps are sent. Several rates or several limits make a sweep: see
/// [`OnlineSettings::points`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OnlineSettings {
    /// The endpoint.
    pub api: Api,
    /// Requests per second, absent for all at once: at least one. Without effect beside a ramp.
    pub rates: Vec<Option<f64>>,
    /// A rate that grows over the step.
    pub ramp: Option<Ramp>,
    /// Regularity of arrivals: 1 is a Poisson process; infinite: equal gaps.
    pub burstiness: f64,
    /// Requests in flight at most, absent for no limit: at least one.
    pub concurrencies: Vec<Option<u32>>,
    /// Send for so long; absent: so many requests as the workload has.
    pub duration: Option<Duration>,
    /// What a request has to keep to count as good.
    pub goodput: Option<Slo>,
}

/// How the samples of a prompt become requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FanOut {
    /// Each sample a request of its own, as verl does.
    Requests,
    /// One request with `n` samples.
    N,
}

impl FanOut {
    /// As written in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::N => "n",
        }
    }
}

/// The interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Python {
    /// rollbench makes and uses its own environment (vLLM for CPU).
    Managed,
    /// A path, or a name that is looked up in `PATH`.
    Interpreter(PathBuf),
}

/// One selected cell with all layers merged: engine < model < precision < cell < flag.
#[derive(Debug, Clone)]
pub(crate) struct CellSettings {
    /// Model and precision.
    pub id: CellId,
    /// What tables show for the model.
    pub model_label: String,
    /// What tables show for the precision.
    pub precision_label: String,
    /// Absent if none is configured: the cell is skipped.
    pub checkpoint: Option<Sourced<CheckpointRef>>,
    /// `EngineArgs` by their Python names, without `model` and `tokenizer`.
    pub args: IndexMap<String, Sourced<Value>>,
    /// Environment variables of the engine.
    pub env: IndexMap<String, Sourced<String>>,
    /// Time limits.
    pub limits: Limits,
    /// Why it cannot run, by platform (`cpu`, `cuda`, `npu`).
    pub unsupported: BTreeMap<String, String>,
}

/// Where a checkpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckpointRef {
    /// A folder, `hf:org/name`, or `managed:NAME` for a demo checkpoint that rollbench makes itself.
    pub location: String,
    /// A revision on the hub; absent for the default.
    pub revision: Option<String>,
    /// Another tokenizer than the checkpoint's own.
    pub tokenizer: Option<String>,
}

/// Time limits of one engine start. Beyond one of them the start fails as `timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From launch to ready.
    pub start: Duration,
    /// In a step, without a token or a finished sequence.
    pub stall: Duration,
    /// From the polite request to the sweep.
    pub stop: Duration,
    /// For the profiler to write its trace.
    pub profile_flush: Duration,
}

impl Default for Limits {
    /// As declared: half an hour to start is a 32B model over a network file system.
    fn default() -> Self {
        Self {
            start: START_LIMIT.default_of().0,
            stall: STALL_LIMIT.default_of().0,
            stop: STOP_LIMIT.default_of().0,
            profile_flush: FLUSH_LIMIT.default_of().0,
        }
    }
}
