//! A running server: readiness that is proved by a completion, steps driven by the streaming client, a stop that
//! vLLM is allowed to do in its own order.

use std::pin::pin;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::facts::{ServerFacts, kv_tokens};
use crate::clock;
use crate::config::FanOut;
use crate::engine::failure::{Witness, describe};
use crate::engine::kernels::{kernels, weights};
use crate::engine::surroundings::{chain, seconds, shown};
use crate::engine::{Launch, LoadShape, Session, StepRequest, Urgency};
use crate::event::{Event, EventSink};
use crate::load::{
    Api, Control, Driven, Expected, Limit, Load, LoadError, Request, RequestEncoder, Target,
    Timeouts, drive, made_ahead,
};
use crate::process::{Guard, Patience};
use crate::record::{
    EngineFacts, ExitStatus, Failure, FailureKind, Phase, Role, Step, StepStatus, Stop,
};

/// How often a server that is not ready is asked.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// A server whose engine died ends by itself within this, and says in its log why.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// One server, driven over HTTP.
pub struct ServerSession {
    guard: Guard,
    witness: Witness,
    launch: Launch,
    begin_ns: u64,
    control: Control,
    encoder: RequestEncoder,
    phase: Phase,
    /// Whether it was said that the prefix cache cannot be reset.
    cache_noted: bool,
    exit: Option<ExitStatus>,
    stop: Option<Stop>,
}

impl ServerSession {
    #[expect(
        clippy::too_many_arguments,
        reason = "the launch's parts, each of another kind"
    )]
    pub(super) fn new(
        guard: Guard,
        witness: Witness,
        launch: Launch,
        begin_ns: u64,
        api: Api,
        control: Control,
        port: u16,
        model: String,
        api_key: Option<String>,
    ) -> Self {
        let host = format!("127.0.0.1:{port}");
        let encoder = RequestEncoder {
            target: Target {
                base: format!("http://{host}"),
                path: format!("/v1/{}", api.path()),
                host,
                api,
                addresses: vec![([127, 0, 0, 1], port).into()],
            },
            model,
            sampling: launch.sampling.clone(),
            ignore_eos: true,
            token_ids: false,
            api_key,
            headers: Vec::new(),
        };
        Self {
            guard,
            witness,
            launch,
            begin_ns,
            control,
            encoder,
            phase: Phase::Launch,
            cache_noted: false,
            exit: None,
            stop: None,
        }
    }

    /// The process id of the launcher.
    pub fn leader(&self) -> u32 {
        self.guard.leader()
    }

    fn fail(&self, kind: FailureKind, message: &str) -> Failure {
        self.witness
            .failure(self.phase, kind, message, self.exit, None)
    }

    fn exited(&mut self, exit: ExitStatus) -> Failure {
        self.exit = Some(exit);
        let message = format!(
            "the server ended by itself ({}) during {}",
            describe(exit),
            self.phase
        );
        self.fail(FailureKind::Exited, &message)
    }

    /// Waits for `work`, unless the server ends before.
    async fn while_alive<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        if let Some(exit) = self.exit {
            return Err(self.exited(exit));
        }
        let mut work = pin!(work);
        let exit = tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            exit = self.guard.leader_exit() => exit,
        };
        Err(self.exited(exit))
    }

    /// The server is up and its engine makes tokens: `/health` can answer while the engine is dead.
    async fn prove(&mut self) -> Result<(), Failure> {
        // Ids that every vocabulary has.
        let ids: Vec<u32> = (100..108).collect();
        let request = self.encoder.encode(
            &ids,
            vec![Expected {
                group: 0,
                sample: 0,
                prompt_tokens: 8,
                requested_tokens: 2,
            }],
        );
        let load = self.load(&LoadShape::default(), 1);
        let request = vec![request].into_iter();
        let driven = self.drive(load, request, |_| {}).await?;
        match driven.outcome.sequences.error.into_iter().flatten().next() {
            None => Ok(()),
            Some(error) => {
                self.last_words().await;
                let message = format!("the server is up, but a first completion failed: {error}");
                let mut failure = self.fail(FailureKind::Engine, &message);
                if self.encoder.target.api == Api::Chat && error.contains("chat template") {
                    failure.hint = Some(
                        "this checkpoint has no chat template: leave out --api chat".to_owned(),
                    );
                }
                Err(failure)
            }
        }
    }

    fn load(&self, shape: &LoadShape, requests: usize) -> Load {
        let stall = self.launch.limits.stall;
        Load {
            target: self.encoder.target.clone(),
            pacing: shape.pacing,
            limit: match &shape.timed {
                Some(timed) => Limit::Duration(timed.duration),
                None => Limit::Count(requests as u64),
            },
            max_concurrency: shape.point.concurrency,
            timeouts: Timeouts {
                first_token: stall,
                between_tokens: stall,
                total: Duration::MAX,
                ..Timeouts::default()
            },
            seed: shape.seed,
        }
    }

    async fn drive(
        &mut self,
        load: Load,
        requests: impl Iterator<Item = Request> + Send + 'static,
        look: impl FnMut(crate::load::Glimpse),
    ) -> Result<Driven, Failure> {
        let control = self.control.clone();
        let driven = drive(load, requests, &control, look);
        match self.while_alive(driven).await? {
            Ok(driven) => Ok(driven),
            Err(error) => {
                self.last_words().await;
                let kind = match error {
                    LoadError::Streams(_) | LoadError::Pacing(_) => FailureKind::Arguments,
                    _ => FailureKind::Engine,
                };
                Err(self.fail(kind, &chain(&error)))
            }
        }
    }

    /// Requests failed: if that is because the server is dying, its exit belongs into the record.
    async fn last_words(&mut self) {
        let exit = tokio::time::timeout(LAST_WORDS, self.guard.leader_exit()).await;
        self.exit = self.exit.or(exit.ok());
    }

    /// Whether it was reset.
    async fn reset_prefix_cache(&mut self, events: &EventSink) -> Result<bool, Failure> {
        let control = self.control.clone();
        let done = self.while_alive(control.reset_prefix_cache()).await?;
        if !done && !self.cache_noted {
            self.cache_noted = true;
            events.emit(Event::Note {
                text:
                    "the server does not reset its prefix cache; the steps have different prompts"
                        .to_owned(),
            });
        }
        Ok(done)
    }

    async fn exits_within(&mut self, patience: Duration) -> bool {
        let exit = tokio::time::timeout(patience, self.guard.leader_exit()).await;
        self.exit = self.exit.or(exit.ok());
        self.exit.is_some()
    }

    fn facts(&self, told: ServerFacts, kv_tokens: Option<u64>) -> EngineFacts {
        let log = self.witness.log.text();
        let requested = self.launch.args.iter();
        let effective = told.effective.iter();
        EngineFacts {
            kind: "server".to_owned(),
            platform: told.platform,
            versions: told.versions,
            requested: requested
                .map(|(name, value)| (name.clone(), shown(name, value)))
                .collect(),
            effective: effective
                .map(|(name, value)| (name.clone(), shown(name, value)))
                .collect(),
            difference: told.difference,
            kernels: kernels(&log),
            kv_tokens,
            weights_bytes: weights(&log).map(|bytes| bytes.0),
            import_s: told.import_s,
            load_s: (clock::mono_ns() - self.begin_ns) as f64 / 1e9,
        }
    }
}

impl Session for ServerSession {
    async fn ready(&mut self, events: &EventSink) -> Result<EngineFacts, Failure> {
        let limit = self.launch.limits.start;
        let mut patience = Patience::new(limit);
        let control = self.control.clone();
        loop {
            if self.phase == Phase::Launch && ServerFacts::read(&self.launch.scratch).is_some() {
                self.phase = Phase::Load;
                events.emit(Event::Phase { phase: Phase::Load });
            }
            let ask = async {
                let healthy = control.is_healthy().await;
                if !healthy {
                    tokio::time::sleep(ASK_EVERY).await;
                }
                healthy
            };
            let healthy = tokio::select! {
                healthy = self.while_alive(ask) => Some(healthy?),
                () = patience.over() => None,
            };
            match healthy {
                Some(true) => break,
                Some(false) => {}
                None => {
                    let message = format!("the server is not ready after {}", seconds(limit));
                    return Err(self.fail(FailureKind::Timeout, &message));
                }
            }
        }
        let proved = tokio::select! {
            proved = self.prove() => Some(proved),
            () = patience.over() => None,
        };
        let Some(proved) = proved else {
            let message = format!(
                "the server answers /health, but has made no completion after {}",
                seconds(limit)
            );
            return Err(self.fail(FailureKind::Timeout, &message));
        };
        proved?;
        let metrics = control.metrics().await.unwrap_or_default();
        let Some(told) = ServerFacts::read(&self.launch.scratch) else {
            return Err(self.fail(
                FailureKind::Protocol,
                "the launcher did not say which vLLM it started",
            ));
        };
        Ok(self.facts(told, kv_tokens(&metrics)))
    }

    async fn prepare(&mut self, steps: &[StepRequest]) -> Result<(), Failure> {
        // Encoding belongs before each step's clock; what cannot be encoded is said before the first.
        for step in steps {
            self.requests(step)?;
        }
        Ok(())
    }

    async fn run_step(&mut self, step: &StepRequest, events: &EventSink) -> Result<Step, Failure> {
        self.phase = match step.role {
            Role::Warmup => Phase::Warmup,
            Role::Measured => Phase::Measure,
            Role::Profiled => Phase::Profile,
        };
        let reset = self.reset_prefix_cache(events).await?;
        let batch = self.requests(step)?;
        let load = self.load(&step.load, batch.len());
        let requests = self.with_more(batch, step)?;
        let begin_ns = clock::mono_ns();
        let driven = self
            .drive(load, requests, |glimpse| {
                events.emit(Event::Progress {
                    finished: glimpse.finished,
                    tokens: glimpse.chunks,
                    elapsed_ns: clock::mono_ns() - begin_ns,
                });
            })
            .await?;
        if driven.outcome.status == StepStatus::Failed {
            self.last_words().await;
            if let Some(exit) = self.exit {
                return Err(self.exited(exit));
            }
            let reason = driven.outcome.reasons.first().map_or("", String::as_str);
            return Err(self.fail(FailureKind::Results, reason));
        }
        let mut done = driven.outcome.into_step(
            step.index,
            step.role,
            step.workload.clone(),
            Some(step.load.point),
            driven.server,
        );
        let timed = step.load.timed.as_ref();
        done.duration_s = timed.map(|timed| timed.duration.as_secs_f64());
        done.counters = driven.counters;
        done.prefix_cache_reset = Some(reset);
        Ok(done)
    }

    async fn stop(&mut self, urgency: Urgency) -> Stop {
        if let Some(stop) = &self.stop {
            return stop.clone();
        }
        self.phase = Phase::Stop;
        let begin_ns = clock::mono_ns();
        let limit = self.launch.limits.stop;
        let (report, polite) = match urgency {
            Urgency::Now => (self.guard.sweep().await, false),
            Urgency::Polite => {
                // To the leader alone: vLLM ends its engine in an order of its own, and needs its children for that.
                self.guard.signal_leader(Signal::SIGTERM);
                let polite = self.exits_within(limit).await;
                self.guard.signal_group(Signal::SIGTERM);
                (self.guard.sweep_after(limit / 3).await, polite)
            }
        };
        self.exit = self.exit.or(report.exit);
        let stop = Stop {
            polite,
            ms: (clock::mono_ns() - begin_ns) / 1_000_000,
            leaks: report.leaks,
        };
        self.stop = Some(stop.clone());
        stop
    }
}

impl ServerSession {
    /// The requests of a step: its batch and, if it ends by time, as many more as it takes.
    fn with_more(
        &self,
        batch: Vec<Request>,
        step: &StepRequest,
    ) -> Result<Box<dyn Iterator<Item = Request> + Send>, Failure> {
        let Some(timed) = &step.load.timed else {
            return Ok(Box::new(batch.into_iter()));
        };
        let (encoder, n_in_one) = (self.encoder.clone(), self.n_in_one());
        // The first batch was encoded without fault, and the others differ in nothing but their ids and lengths.
        let more = timed.more.clone();
        let more = more.map_while(move |batch| encoder.encode_batch(&batch, n_in_one).ok());
        let more = made_ahead(more.flatten())
            .map_err(|error| self.fail(FailureKind::Spawn, &chain(&error)))?;
        Ok(Box::new(batch.into_iter().chain(more)))
    }

    fn n_in_one(&self) -> bool {
        self.launch.fan_out == FanOut::N
    }

    fn requests(&self, step: &StepRequest) -> Result<Vec<Request>, Failure> {
        self.encoder
            .encode_batch(&step.batch, self.n_in_one())
            .map_err(|error| {
                let mut failure = self.fail(FailureKind::Arguments, &error.to_string());
                failure.hint = Some("use --fan-out requests, as verl does".to_owned());
                failure
            })
    }
}
