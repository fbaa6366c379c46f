//! One engine start: where it ran, what the engine said of itself, its steps, and how it ended.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::step::{Sidecar, Step};
use crate::profile::Digest;

/// One engine, from its launch to the proof that nothing of it is left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineStart {
    /// Random, unique.
    pub id: String,
    /// The session that ran it: a resumed cell holds starts of several. The store fills it in.
    #[serde(default)]
    pub session: String,
    /// Counted from 0.
    pub block: u32,
    /// Place in the block's order, counted from 0.
    pub position: u32,
    /// Main, or the second baseline of a calibration.
    pub arm: Arm,
    /// How often this start was tried before (0 at first).
    pub attempt: u32,
    /// How it ended.
    pub status: StartStatus,
    /// True if cells of its block ran in another session.
    pub split: bool,
    /// The machine.
    pub host: Host,
    /// The accelerators visible to it; empty on CPU.
    pub devices: Vec<DeviceInfo>,
    /// The environment variables that bear on speed, secrets redacted.
    pub env: BTreeMap<String, String>,
    /// Other processes that used a device of ours when it began.
    pub neighbours: Vec<Neighbour>,
    /// When it began.
    pub clock: ClockStamp,
    /// Device memory before and after.
    pub gate: Gate,
    /// What the engine said of itself; absent if it did not come up.
    pub engine: Option<EngineFacts>,
    /// The steps in the order of their end.
    pub steps: Vec<Step>,
    /// A profiler's trace; absent unless one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// How the engine was ended; absent while it runs.
    pub stop: Option<Stop>,
    /// What went wrong; absent if nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl EngineStart {
    /// Whether it counts: all its steps were measured.
    pub fn is_complete(&self) -> bool {
        self.status == StartStatus::Complete
    }

    /// How its engine came to be. Starts of earlier versions were cold.
    pub(super) fn kind(&self) -> StartKind {
        let starting = self
            .engine
            .as_ref()
            .and_then(|engine| engine.starting.as_ref());
        starting.map_or(StartKind::Cold, |starting| starting.kind)
    }

    /// The same start with other steps; its own, the bulk of it, are not copied.
    pub(super) fn with_steps(&self, steps: Vec<Step>) -> Self {
        Self {
            steps,
            id: self.id.clone(),
            session: self.session.clone(),
            host: self.host.clone(),
            devices: self.devices.clone(),
            env: self.env.clone(),
            neighbours: self.neighbours.clone(),
            clock: self.clock.clone(),
            gate: self.gate.clone(),
            engine: self.engine.clone(),
            profile: self.profile.clone(),
            stop: self.stop.clone(),
            failure: self.failure.clone(),
            ..*self
        }
    }
}

/// Which arm of a session an engine start belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// The cell itself.
    Main,
    /// The baseline a second time, for the A/A comparison.
    Calibration,
}

/// How an engine start ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartStatus {
    /// Begun and not ended: found only in a journal.
    Running,
    /// All planned steps are there.
    Complete,
    /// Ended by a signal or a death of rollbench; its steps never enter statistics.
    Interrupted,
    /// The engine failed.
    Failed,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Kernel release.
    pub kernel: String,
    /// Processor model.
    pub cpu: String,
    /// Processors that this process may use.
    pub cpus: u32,
    /// Total memory.
    pub memory_bytes: u64,
}

/// One accelerator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// The index that its platform's tools use.
    pub index: u32,
    /// Product name.
    pub name: String,
    /// UUID or bus id; absent if not to be had.
    pub uuid: Option<String>,
    /// Memory in total.
    pub memory_bytes: u64,
    /// Driver version; absent if not to be had.
    pub driver: Option<String>,
    /// Power limit in watts; absent if not to be had.
    pub power_limit_w: Option<f64>,
    /// Clock of the compute units in MHz at the start; absent if not to be had.
    pub clock_mhz: Option<u32>,
}

/// A process, not ours, on a device of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The device's index.
    pub device: u32,
    /// Its process id.
    pub pid: u32,
    /// Its command; empty if it cannot be read.
    pub command: String,
    /// The memory it holds; absent if not to be had.
    pub memory_bytes: Option<u64>,
}

/// Wall and monotonic time of one moment, and the boot that the monotonic one counts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStamp {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// UTC.
    pub wall: Timestamp,
    /// `CLOCK_MONOTONIC`.
    pub mono_ns: u64,
}

/// Device memory before the launch and after the stop.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Gate {
    /// Before the launch.
    pub before: Option<GateReading>,
    /// After the stop.
    pub after: Option<GateReading>,
}

/// One passage through the device gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateReading {
    /// How long it took.
    pub waited_ns: u64,
    /// Whether the memory was back at the baseline.
    pub passed: bool,
    /// The memory in use at the end, per device (on CPU: of the host).
    pub used_bytes: Vec<u64>,
    /// The baseline, per device.
    pub baseline_bytes: Vec<u64>,
    /// Who held memory when it did not pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Holder>,
}

/// A process that holds device memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id, as the device's tool reports it.
    pub pid: u32,
    /// Its user; absent if it cannot be told (a host's pid seen from a container).
    pub user: Option<String>,
    /// Its command; absent likewise.
    pub command: Option<String>,
    /// When it was started; absent likewise.
    pub since: Option<Timestamp>,
    /// The memory it holds; absent if not to be had.
    pub memory_bytes: Option<u64>,
    /// Whether rollbench started it.
    pub ours: bool,
}

/// How the processes of an engine came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starting {
    /// Forked or executed.
    pub kind: StartKind,
    /// Why not all were forked although that was asked for; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether an engine's processes were forked from interpreters that had imported vLLM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartKind {
    /// All were.
    Warm,
    /// None was.
    Cold,
    /// The main program was, others were not.
    Mixed,
}

/// What an engine said of itself when it was ready.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EngineFacts {
    /// `offline` or `server`.
    pub kind: String,
    /// `cpu`, `cuda`, `npu` ..., as vLLM names it.
    pub platform: String,
    /// Versions by package name: `vllm`, `torch`, `python`, `transformers`, `vllm-ascend` ...
    pub versions: BTreeMap<String, String>,
    /// The engine arguments as asked for.
    pub requested: IndexMap<String, Value>,
    /// The configuration as vLLM resolved it.
    pub effective: IndexMap<String, Value>,
    /// Arguments whose effective value is not the requested one.
    pub difference: IndexMap<String, Difference>,
    /// Kernels that vLLM's log names, in order, without repeats.
    pub kernels: Vec<String>,
    /// Slow ways that vLLM's log says it took (weight-only FP8, untuned kernels, no graphs), in order, without repeats;
    /// empty in older records too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
    /// KV-cache capacity in tokens; absent if not said.
    pub kv_tokens: Option<u64>,
    /// Weights in device memory; absent if not said.
    pub weights_bytes: Option<u64>,
    /// How its processes came to be; absent in records of earlier versions, whose starts were cold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting: Option<Starting>,
    /// Seconds to import vLLM.
    pub import_s: f64,
    /// Seconds from launch to ready, the import included.
    pub load_s: f64,
}

/// An argument that the engine did not take as asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// As asked for.
    pub requested: Value,
    /// As resolved.
    pub effective: Value,
}

/// The state of a profile that was taken and read whole.
pub(crate) const COMPLETE: &str = "complete";

/// A profiler's output.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Profile {
    /// The folder.
    pub dir: String,
    /// `complete`, or what is missing.
    pub status: String,
    /// File names in it.
    pub files: Vec<String>,
    /// What its decode steps cost, beside the record: the traces are not needed any more. Absent if they told nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Sidecar>,
    /// What that file holds, once it is read.
    #[serde(skip)]
    pub(crate) digests: Vec<Digest>,
}

/// How an engine was ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Whether it ended by itself when asked.
    pub polite: bool,
    /// From the request to the proof that nothing is left.
    pub ms: u64,
    /// Processes that outlived the polite stop and had to be ended.
    pub leaks: Vec<Leak>,
}

/// A process that outlived the polite stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leak {
    /// Its process id.
    pub pid: u32,
    /// Its name (`/proc/PID/comm`).
    pub name: String,
    /// Its command line, cut to 200 characters.
    pub command: String,
    /// False if it could not be ended (stuck in the kernel).
    pub ended: bool,
}

/// Why an engine start failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where it was.
    pub phase: Phase,
    /// What sort of failure.
    pub kind: FailureKind,
    /// What happened.
    pub message: String,
    /// The cause as far as it can be told; absent if it cannot.
    pub diagnosis: Option<String>,
    /// What to do about it; absent if unknown.
    pub hint: Option<String>,
    /// How the engine's process ended; absent if it had to be ended.
    pub exit: Option<ExitStatus>,
    /// The engine's log.
    pub log: String,
    /// Its last lines.
    pub tail: Vec<String>,
}

/// A stage in the life of an engine start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Waiting for device memory.
    Gate,
    /// Process start until vLLM is imported.
    Launch,
    /// Loading weights, compiling, until ready.
    Load,
    /// Unmeasured steps.
    Warmup,
    /// Measured steps.
    Measure,
    /// The profiled step.
    Profile,
    /// Sampling and scoring for fidelity.
    Fidelity,
    /// Ending the engine.
    Stop,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Gate => "waiting for the device",
            Self::Launch => "launching",
            Self::Load => "loading",
            Self::Warmup => "warm-up",
            Self::Measure => "measuring",
            Self::Profile => "profiling",
            Self::Fidelity => "measuring fidelity",
            Self::Stop => "stopping",
        })
    }
}

/// Sorts of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The process could not be started.
    Spawn,
    /// The device gate did not open in time.
    Gate,
    /// The engine rejected an argument.
    Arguments,
    /// The engine reported an error.
    Engine,
    /// The process ended without having been asked to.
    Exited,
    /// A time limit passed.
    Timeout,
    /// It spoke another protocol, or nonsense.
    Protocol,
    /// The results could not be used (too many failed requests, wrong counts).
    Results,
}

/// How a process ended: exactly one of the two is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}
