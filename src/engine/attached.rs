//! A server that runs already and is not ours: it is measured and otherwise left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::client::{Client, ClientError};
use super::{Engine, Launch, Session, StepRequest, Urgency};
use crate::error::chain;
use crate::event::EventSink;
use crate::record::{EngineFacts, Failure, FailureKind, Leak, Phase, Role, Step, Stop};

/// The one server that a plan is measured on.
pub(crate) struct AttachedEngine {
    client: Client,
    facts: EngineFacts,
}

impl AttachedEngine {
    /// A server that was seen to make tokens. `version` is what it says it is; absent if it does not say.
    pub(crate) fn new(client: Client, version: Option<String>) -> Self {
        let versions: BTreeMap<_, _> = version
            .map(|version| ("vllm".to_owned(), version))
            .into_iter()
            .collect();
        Self {
            client,
            facts: EngineFacts {
                kind: "server".to_owned(),
                versions,
                ..EngineFacts::default()
            },
        }
    }
}

impl Engine for AttachedEngine {
    type Session = AttachedSession;

    async fn launch(&self, _: Launch) -> Result<AttachedSession, Failure> {
        Ok(AttachedSession {
            client: self.client.clone(),
            facts: self.facts.clone(),
            phase: Phase::Load,
        })
    }

    async fn keep(&self, _: AttachedSession) {}

    async fn end_block(&self) -> Vec<Leak> {
        Vec::new()
    }
}

/// The use of a server by one engine start of a record.
pub(crate) struct AttachedSession {
    client: Client,
    facts: EngineFacts,
    phase: Phase,
}

impl AttachedSession {
    fn refused(&self, error: &ClientError) -> Failure {
        Failure {
            hint: error.hint().map(str::to_owned),
            ..self.fail(error.kind(), &chain(error))
        }
    }
}

impl Session for AttachedSession {
    fn fail(&self, kind: FailureKind, message: &str) -> Failure {
        Failure {
            phase: self.phase,
            kind,
            message: message.to_owned(),
            diagnosis: None,
            hint: None,
            exit: None,
            log: String::new(),
            tail: Vec::new(),
        }
    }

    async fn ready(&mut self, _: &EventSink) -> Result<EngineFacts, Failure> {
        Ok(self.facts.clone())
    }

    async fn prepare(&mut self, steps: &[StepRequest]) -> Result<(), Failure> {
        self.client
            .check(steps)
            .map_err(|error| self.refused(&error))
    }

    async fn run_step(&mut self, step: &StepRequest, events: &EventSink) -> Result<Step, Failure> {
        self.phase = match step.role {
            Role::Warmup => Phase::Warmup,
            Role::Measured | Role::Profiled => Phase::Measure,
        };
        let done = self.client.run(step, events).await;
        done.map_err(|error| self.refused(&error))
    }

    async fn profile(&mut self, start: bool, limit: Duration) -> Result<(), Failure> {
        let answered = self.client.control.profile(start, limit).await;
        answered.map_err(|error| self.fail(FailureKind::Engine, &chain(&error)))
    }

    /// Leaves the server as it is.
    async fn stop(&mut self, _: Urgency) -> Stop {
        Stop {
            polite: true,
            ms: 0,
            leaks: Vec::new(),
        }
    }
}
