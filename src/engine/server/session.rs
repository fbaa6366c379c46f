//! A running server: readiness that is proved by a completion, steps driven by the streaming client, a stop that
//! vLLM is allowed to do in its own order.

use std::pin::pin;
use std::time::Duration;

use super::facts;
use crate::engine::client::{Client, ClientError, stalling_after};
use crate::engine::started::{Started, Told};
use crate::engine::surroundings::seconds;
use crate::engine::{Session, StepRequest, Urgency};
use crate::error::chain;
use crate::event::{Event, EventSink};
use crate::load::{Api, Control, RequestEncoder};
use crate::process::Patience;
use crate::record::{EngineFacts, Failure, FailureKind, Phase, Role, Step, Stop};

/// How often a server that is not ready is asked.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// A server whose engine died ends by itself within this, and says in its log why.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// One server, driven over HTTP.
pub struct ServerSession {
    started: Started,
    client: Client,
}

impl ServerSession {
    pub(super) fn new(started: Started, control: Control, encoder: RequestEncoder) -> Self {
        let timeouts = stalling_after(started.launch.limits.stall);
        let client = Client::new(control, encoder, started.launch.fan_out, timeouts);
        Self { started, client }
    }

    pub(super) fn into_started(self) -> Started {
        self.started
    }

    /// The process id of the launcher.
    pub fn leader(&self) -> u32 {
        self.started.leader()
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
            ended = self.started.ends() => ended?,
        };
        // It may have come further since it was last asked.
        self.has_imported();
        Err(self.started.exited(exit))
    }

    /// Whether vLLM is imported by now and was not when this was last asked: the launcher says so in a file.
    fn has_imported(&mut self) -> bool {
        let imported = self.started.phase == Phase::Launch
            && facts::read(&self.started.launch.scratch).is_some();
        if imported {
            self.started.phase = Phase::Load;
        }
        imported
    }

    async fn prove(&mut self) -> Result<(), Failure> {
        let client = self.client.clone();
        let proved = self.while_alive(client.prove()).await?;
        let message = match proved {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => {
                format!("the server is up, but a first completion failed: {error}")
            }
            Err(error) => chain(&error),
        };
        self.last_words().await;
        let mut failure = self.fail(FailureKind::Engine, &message);
        if self.client.encoder.target.api == Api::Chat && message.contains("chat template") {
            let hint = "this checkpoint has no chat template: leave out --api chat";
            failure.hint = Some(hint.to_owned());
        }
        Err(failure)
    }

    fn refused(&self, error: &ClientError) -> Failure {
        let mut failure = self.fail(error.kind(), &chain(error));
        let hint = error.hint().map(str::to_owned);
        failure.hint = failure.hint.or(hint);
        failure
    }

    /// Requests failed: if that is because the server is dying, its exit belongs into the record.
    async fn last_words(&mut self) {
        self.started.exits_within(LAST_WORDS).await;
    }
}

impl Session for ServerSession {
    fn fail(&self, kind: FailureKind, message: &str) -> Failure {
        self.started.fail(kind, message)
    }

    async fn ready(&mut self, events: &EventSink) -> Result<EngineFacts, Failure> {
        self.started.tell(events);
        let limit = self.started.launch.limits.start;
        let mut patience = Patience::new(limit);
        let control = self.client.control.clone();
        loop {
            if self.has_imported() {
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
        let told = Told {
            kv_tokens: facts::kv_tokens(&metrics),
            ..told
        };
        Ok(self.started.facts(told).await)
    }

    async fn prepare(&mut self, steps: &[StepRequest]) -> Result<(), Failure> {
        self.client
            .check(steps)
            .map_err(|error| self.refused(&error))
    }

    async fn run_step(&mut self, step: &StepRequest, events: &EventSink) -> Result<Step, Failure> {
        self.started.enter_step(step.role);
        let client = self.client.clone();
        let step = match self.while_alive(client.run(step, events)).await? {
            Ok(step) => step,
            Err(error) => {
                self.last_words().await;
                return Err(self.refused(&error));
            }
        };
        if step.too_many_failed() {
            self.last_words().await;
            if let Some(exit) = self.started.exit {
                return Err(self.started.exited(exit));
            }
        }
        Ok(step)
    }

    async fn profile(&mut self, start: bool, limit: Duration) -> Result<(), Failure> {
        self.started.enter_step(Role::Profiled);
        let control = self.client.control.clone();
        let answered = self.while_alive(control.profile(start, limit)).await?;
        answered.map_err(|error| self.fail(FailureKind::Engine, &chain(&error)))
    }

    async fn stop(&mut self, urgency: Urgency) -> Stop {
        if let Some(stop) = self.started.begin_stop() {
            return stop;
        }
        let urgency = self.started.urgency(urgency);
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
