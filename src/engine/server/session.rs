//! A running server: readiness that is proved by a completion, steps driven by the streaming client, a stop that
//! vLLM is allowed to do in its own order.

use std::pin::pin;
use std::time::Duration;

use super::facts;
use crate::clock;
use crate::config::FanOut;
use crate::engine::started::{Started, Told};
use crate::engine::surroundings::{chain, seconds};
use crate::engine::{LoadShape, Session, StepRequest, Urgency};
use crate::event::{Event, EventSink};
use crate::load::{
    Api, Control, Driven, Expected, Limit, Load, LoadError, Request, RequestEncoder, Timeouts,
    drive, made_ahead,
};
use crate::process::Patience;
use crate::record::{EngineFacts, Failure, FailureKind, Phase, Step, StepStatus, Stop};

/// How often a server that is not ready is asked.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// A server whose engine died ends by itself within this, and says in its log why.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// One server, driven over HTTP.
pub struct ServerSession {
    started: Started,
    control: Control,
    encoder: RequestEncoder,
    /// Whether it was said that the prefix cache cannot be reset.
    cache_noted: bool,
}

impl ServerSession {
    pub(super) fn new(started: Started, control: Control, encoder: RequestEncoder) -> Self {
        Self {
            started,
            control,
            encoder,
            cache_noted: false,
        }
    }

    /// The process id of the launcher.
    pub fn leader(&self) -> u32 {
        self.started.leader()
    }

    fn fail(&self, kind: FailureKind, message: &str) -> Failure {
        self.started.fail(kind, message)
    }

    /// Waits for `work`, unless the server ends before.
    async fn while_alive<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        if let Some(exit) = self.started.exit {
            return Err(self.started.exited(exit));
        }
        let mut work = pin!(work);
        let exit = tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            exit = self.started.leader_exit() => exit,
        };
        Err(self.started.exited(exit))
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
        let stall = self.started.launch.limits.stall;
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
        self.started.exits_within(LAST_WORDS).await;
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
}

impl Session for ServerSession {
    async fn ready(&mut self, events: &EventSink) -> Result<EngineFacts, Failure> {
        let limit = self.started.launch.limits.start;
        let mut patience = Patience::new(limit);
        let control = self.control.clone();
        loop {
            if self.started.phase == Phase::Launch
                && facts::read(&self.started.launch.scratch).is_some()
            {
                self.started.phase = Phase::Load;
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
        let Some(told) = facts::read(&self.started.launch.scratch) else {
            return Err(self.fail(
                FailureKind::Protocol,
                "the launcher did not say which vLLM it started",
            ));
        };
        Ok(self.started.facts(Told {
            kv_tokens: facts::kv_tokens(&metrics),
            ..told
        }))
    }

    async fn prepare(&mut self, steps: &[StepRequest]) -> Result<(), Failure> {
        // Encoding belongs before each step's clock; what cannot be encoded is said before the first.
        for step in steps {
            self.requests(step)?;
        }
        Ok(())
    }

    async fn run_step(&mut self, step: &StepRequest, events: &EventSink) -> Result<Step, Failure> {
        self.started.enter_step(step.role);
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
            if let Some(exit) = self.started.exit {
                return Err(self.started.exited(exit));
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
        if let Some(stop) = self.started.begin_stop() {
            return stop;
        }
        let mut polite = false;
        if urgency == Urgency::Polite {
            // To the leader alone: vLLM ends its engine in an order of its own, and needs its children for that.
            self.started.terminate_leader();
            let limit = self.started.launch.limits.stop;
            polite = self.started.exits_within(limit).await;
        }
        self.started.sweep(urgency, polite).await
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
        self.started.launch.fan_out == FanOut::N
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
