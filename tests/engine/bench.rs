//! A place to launch engines from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use rollbench::testing::config::{FanOut, Limits};
use rollbench::testing::engine::{
    Engine, Launch, OfflineEngine, OfflineSession, Session, StepRequest, Urgency,
};
use rollbench::testing::event::{Envelope, EventSink};
use rollbench::testing::process::RunDir;
use rollbench::testing::record::{EngineFacts, Failure, FailureKind, Role, Step};
use rollbench::testing::workload::{Batch, Sample, Sampling};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Everything that one engine start needs, in temporary folders.
pub(crate) struct Bench {
    engine: OfflineEngine,
    run: RunDir,
    folder: tempfile::TempDir,
    pub(crate) events: EventSink,
    pub(crate) stream: mpsc::UnboundedReceiver<Envelope>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let run = RunDir::create(folder.path()).expect("a run's folder");
        let engine =
            OfflineEngine::new(&run).with_guard(Path::new(env!("CARGO_BIN_EXE_rollbench")));
        let (events, stream) = EventSink::channel();
        Self {
            engine,
            run,
            folder,
            events,
            stream,
        }
    }

    pub(crate) fn run(&self) -> &RunDir {
        &self.run
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("engine.log")
    }

    /// What to launch: the fake, behaving as `fake` (the JSON of `FAKE_VLLM`) says.
    pub(crate) fn launch(&self, fake: &Value) -> Launch {
        let scratch = tempfile::Builder::new()
            .tempdir_in(self.folder.path())
            .expect("a folder")
            .keep();
        let fakes = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes");
        Launch {
            python: PathBuf::from("python3"),
            args: IndexMap::from([("model".to_owned(), json!("/models/tiny-w8a8"))]),
            env: BTreeMap::from([
                ("PYTHONPATH".to_owned(), fakes.to_owned()),
                ("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()),
                ("FAKE_VLLM".to_owned(), fake.to_string()),
            ]),
            limits: Limits {
                start: Duration::from_mins(1),
                stall: Duration::from_mins(1),
                stop: Duration::from_secs(9),
                ..Limits::default()
            },
            log: self.log(),
            scratch,
            fan_out: FanOut::Requests,
            sampling: Sampling::default(),
            warm: false,
            profile: None,
        }
    }

    pub(crate) async fn start(&self, launch: Launch) -> OfflineSession {
        self.engine.launch(launch).await.expect("launched")
    }

    /// Gives a stopped session back, so that the next start may use what it leaves.
    pub(crate) async fn keep(&self, session: OfflineSession) {
        self.engine.keep(session).await;
    }

    pub(crate) async fn end_block(&self) {
        let left = self.engine.end_block().await;
        assert!(left.is_empty(), "{left:?}");
    }

    pub(crate) async fn refused(&self, launch: Launch) -> Failure {
        let launched = self.engine.launch(launch).await;
        launched.expect_err("not to be launched")
    }

    /// Launches, and fails as `fake` says while it loads.
    pub(crate) async fn fails_to_load(&self, launch: Launch) -> (Failure, OfflineSession) {
        let mut session = self.start(launch).await;
        let failure = session
            .ready(&self.events)
            .await
            .expect_err("not to become ready");
        (failure, session)
    }

    /// Launches, and runs `count` steps of 4 prompts x 2 samples x 32 tokens.
    pub(crate) async fn measures(
        &self,
        launch: Launch,
        count: u32,
    ) -> (EngineFacts, Vec<Result<Step, Failure>>, OfflineSession) {
        let mut session = self.start(launch).await;
        let facts = session.ready(&self.events).await.expect("ready");
        let requests: Vec<StepRequest> = (0..count).map(|index| request(index, 32)).collect();
        session.prepare(&requests).await.expect("prepared");
        let mut steps = Vec::new();
        for request in &requests {
            steps.push(session.run_step(request, &self.events).await);
        }
        (facts, steps, session)
    }
}

/// A step of 4 prompts of different lengths, two samples each.
pub(crate) fn request(index: u32, output_tokens: u32) -> StepRequest {
    let prompts: Vec<Vec<u32>> = (0..4)
        .map(|g| (0..8 + g).map(|i| 100 * g + i).collect())
        .collect();
    let samples = (0..4)
        .flat_map(|group| {
            (0..2).map(move |sample| Sample {
                group,
                sample,
                output_tokens,
            })
        })
        .collect();
    StepRequest {
        index,
        role: if index == 0 {
            Role::Warmup
        } else {
            Role::Measured
        },
        workload: "main".to_owned(),
        batch: Arc::new(Batch { prompts, samples }),
        load: rollbench::testing::engine::LoadShape::default(),
    }
}

/// Ends the session and checks that it left nothing.
pub(crate) async fn end(mut session: OfflineSession) {
    let stop = session.stop(Urgency::Polite).await;
    assert!(stop.leaks.iter().all(|leak| leak.ended), "{stop:?}");
}

/// One line of a failure, for assertions that show it whole when they fail.
pub(crate) fn shown(failure: &Failure) -> String {
    format!("{failure:#?}")
}

pub(crate) fn is(failure: &Failure, kind: FailureKind) -> bool {
    failure.kind == kind
}
