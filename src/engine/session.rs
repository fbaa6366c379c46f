//! The face that both kinds of engine show to the executor.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;

use crate::config::{FanOut, Limits};
use crate::event::EventSink;
use crate::load::Pacing;
use crate::record::{EngineFacts, Failure, FailureKind, Leak, Point, Role, Step, Stop};
use crate::workload::{Batch, BatchStream, Sampling};

/// Everything that is needed to start one engine, as data.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The interpreter (already resolved, exists).
    pub python: PathBuf,
    /// `EngineArgs` by their Python names, `model` and `max_model_len` included.
    pub args: IndexMap<String, Value>,
    /// The cell's environment variables, on top of what rollbench inherits and of what supervision adds.
    pub env: BTreeMap<String, String>,
    /// Time limits.
    pub limits: Limits,
    /// Where the engine's stdout and stderr go (created, mode 0600).
    pub log: PathBuf,
    /// A private folder of this engine start (exists, mode 0700, removed by the caller).
    pub scratch: PathBuf,
    /// How samples become requests.
    pub fan_out: FanOut,
    /// Sampling parameters of every request.
    pub sampling: Sampling,
    /// Fork from an interpreter that serves the starts of a block, where that can be done.
    pub warm: bool,
    /// What the profiler is told; absent without one. It has to be configured when the engine starts.
    pub profile: Option<ProfilerOrder>,
}

/// How an engine's profiler is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProfilerOrder {
    /// Where traces go (absolute, exists).
    pub dir: PathBuf,
    /// Iterations of the engine before recording begins.
    pub delay_iterations: u32,
    /// Iterations that are recorded.
    pub max_iterations: u32,
}

/// One step to be run.
#[derive(Debug, Clone)]
pub struct StepRequest {
    /// Index over warm-up and measured steps.
    pub index: u32,
    /// What it is for.
    pub role: Role,
    /// The workload's name.
    pub workload: String,
    /// Its requests.
    pub batch: Arc<Batch>,
    /// How a server is sent them. In-process, all are handed over at once.
    pub load: LoadShape,
}

/// How the requests of a step are sent to a server.
#[derive(Debug, Clone)]
pub struct LoadShape {
    /// When.
    pub pacing: Pacing,
    /// The same in the words of the record, and how many may be in flight.
    pub point: Point,
    /// Seed of the arrivals.
    pub seed: u64,
    /// Send for some time; absent: the requests of the batch.
    pub timed: Option<Timed>,
}

/// A step that ends by time.
#[derive(Debug, Clone)]
pub struct Timed {
    /// Sent for so long; what is in flight then is waited for.
    pub duration: Duration,
    /// What follows the step's batch, for as long as it lasts.
    pub more: BatchStream,
}

impl Default for LoadShape {
    /// As a rollout step: everything at once.
    fn default() -> Self {
        Self {
            pacing: Pacing::AllAtOnce,
            point: Point::default(),
            seed: 0,
            timed: None,
        }
    }
}

/// How an engine is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Asked first, swept after the limits.
    Polite,
    /// Swept at once.
    Now,
}

/// A way to start engines.
pub trait Engine {
    /// What it starts.
    type Session: Session;

    /// Starts the process; returns as soon as it is supervised.
    fn launch(&self, launch: Launch) -> impl Future<Output = Result<Self::Session, Failure>>;

    /// Takes back a session that was stopped: the next start of the block may use its interpreter.
    fn keep(&self, session: Self::Session) -> impl Future<Output = ()>;

    /// Ends what was kept between the starts of a block; names what could not be ended.
    fn end_block(&self) -> impl Future<Output = Vec<Leak>>;
}

/// A started engine. Dropping a future of these methods is safe; afterwards only `stop` may be called.
/// After any failure too, the caller calls `stop`.
pub trait Session {
    /// Waits until the engine is ready.
    fn ready(&mut self, events: &EventSink) -> impl Future<Output = Result<EngineFacts, Failure>>;

    /// Lays out what all steps need (prompt files, encoded bodies), so that nothing of it is inside a step.
    fn prepare(&mut self, steps: &[StepRequest]) -> impl Future<Output = Result<(), Failure>>;

    /// Runs one prepared step and returns everything measured.
    fn run_step(
        &mut self,
        step: &StepRequest,
        events: &EventSink,
    ) -> impl Future<Output = Result<Step, Failure>>;

    /// Starts (or stops) the profiler, which writes its trace when it is stopped. A profiler that fails leaves the engine
    /// as it is.
    fn profile(
        &mut self,
        start: bool,
        limit: Duration,
    ) -> impl Future<Output = Result<(), Failure>>;

    /// The failure that `message` tells, with what the engine's own words say about its cause.
    fn fail(&self, kind: FailureKind, message: &str) -> Failure;

    /// Ends the engine and proves that nothing of it is left. Idempotent.
    fn stop(&mut self, urgency: Urgency) -> impl Future<Output = Stop>;
}
