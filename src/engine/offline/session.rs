//! A running engine: what rollbench asks of the driver, and everything that can end the wait for an answer.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

use super::engine::Pipes;
use super::event_reader::{EventReader, ReadError};
use super::judge::judge;
use super::prompt_file;
use super::protocol::{Command, DriverError, Event, Imported, PROTOCOL, Ready};
use crate::engine::started::{Started, Told};
use crate::engine::surroundings::seconds;
use crate::engine::{Session, StepRequest, Urgency};
use crate::error::chain;
use crate::event::{Event as RunEvent, EventSink};
use crate::process::Patience;
use crate::record::{EngineFacts, ExitStatus, Failure, FailureKind, Phase, Role, Step, Stop};

/// One engine, driven through `driver.py`.
#[derive(Debug)]
pub struct OfflineSession {
    started: Started,
    commands: pipe::Sender,
    events: EventReader,
    /// Events that were in the pipe when the driver ended.
    pending: VecDeque<Event>,
    last_id: u64,
}

impl OfflineSession {
    pub(super) fn new(started: Started, pipes: Pipes) -> Self {
        Self {
            started,
            commands: pipes.commands,
            events: pipes.events,
            pending: VecDeque::new(),
            last_id: 0,
        }
    }

    pub(super) fn into_started(self) -> Started {
        self.started
    }
}

impl Session for OfflineSession {
    fn fail(&self, kind: FailureKind, message: &str) -> Failure {
        self.started.fail(kind, message)
    }

    async fn ready(&mut self, events: &EventSink) -> Result<EngineFacts, Failure> {
        self.started.tell(events);
        let mut patience = Patience::new(self.started.launch.limits.start);
        let what = "the engine is not ready";
        match self.next(&mut patience, what).await? {
            Event::Hello { .. } => {}
            other => return Err(self.unexpected(&other, "its greeting")),
        }
        let id = self.id();
        let load = encode(&Command::Load {
            id,
            args: &self.started.launch.args,
            fan_out: self.started.launch.fan_out,
            sampling: &self.started.launch.sampling,
            profile: self.started.launch.profile.as_ref(),
        });
        self.send(load).await;
        let imported = match self.next(&mut patience, what).await? {
            Event::Imported(imported) => imported,
            other => return Err(self.unexpected(&other, "that vLLM is imported")),
        };
        self.started.phase = Phase::Load;
        events.emit(RunEvent::Phase { phase: Phase::Load });
        match self.next(&mut patience, what).await? {
            Event::Ready(ready) => Ok(self.facts(imported, *ready).await),
            other => Err(self.unexpected(&other, "that the engine is ready")),
        }
    }

    async fn prepare(&mut self, steps: &[StepRequest]) -> Result<(), Failure> {
        for step in steps {
            let path = self.prompt_file(step.index);
            if let Err(error) = prompt_file::write(&path, &step.batch) {
                return Err(self.fail(FailureKind::Spawn, &chain(&error)));
            }
        }
        Ok(())
    }

    async fn run_step(&mut self, step: &StepRequest, events: &EventSink) -> Result<Step, Failure> {
        self.started.enter_step(step.role);
        let file = self.prompt_file(step.index);
        let Some(file) = file.to_str() else {
            return Err(self.fail(FailureKind::Spawn, "the scratch folder's name is not UTF-8"));
        };
        let reset = encode(&Command::ResetPrefixCache { id: self.id() });
        let id = self.id();
        let run = encode(&Command::Step { id, file });
        self.send(reset + &run).await;

        let mut patience = Patience::new(self.started.launch.limits.stall);
        loop {
            let what = "the step makes no progress";
            match self.next(&mut patience, what).await? {
                Event::Ok { done, .. } => {
                    if !done {
                        let text =
                            "vLLM did not reset its prefix cache before this step".to_owned();
                        events.emit(RunEvent::Note { text });
                    }
                }
                Event::Progress(progress) => {
                    patience.renew();
                    events.emit(RunEvent::Progress {
                        finished: progress.finished,
                        tokens: progress.tokens,
                        elapsed_ns: progress.elapsed_ns,
                    });
                }
                Event::StepFinished(told) if told.id == id => {
                    return judge(step, self.started.launch.fan_out, *told)
                        .map_err(|missing| self.fail(FailureKind::Results, &missing));
                }
                other => return Err(self.unexpected(&other, "the end of the step")),
            }
        }
    }

    async fn profile(&mut self, start: bool, limit: Duration) -> Result<(), Failure> {
        self.started.enter_step(Role::Profiled);
        let id = self.id();
        let command = if start {
            Command::ProfileStart { id }
        } else {
            Command::ProfileStop { id }
        };
        self.send(encode(&command)).await;
        let mut patience = Patience::new(limit);
        match self
            .next(&mut patience, "the profiler has not answered")
            .await?
        {
            Event::Ok { .. } => Ok(()),
            other => Err(self.unexpected(&other, "that the profiler did it")),
        }
    }

    async fn stop(&mut self, urgency: Urgency) -> Stop {
        if let Some(stop) = self.started.begin_stop() {
            return stop;
        }
        let urgency = self.started.urgency(urgency);
        let polite = urgency == Urgency::Polite && self.ask_to_exit().await;
        self.started.sweep(urgency, polite).await
    }
}

impl OfflineSession {
    /// The process id of the driver.
    pub fn leader(&self) -> u32 {
        self.started.leader()
    }

    /// Begins `phase` with a command of its own; the command's id.
    pub(super) fn enter(&mut self, phase: Phase) -> u64 {
        self.started.phase = phase;
        self.id()
    }

    /// How long no progress is borne.
    pub(super) fn stall(&self) -> Patience {
        Patience::new(self.started.launch.limits.stall)
    }

    fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn prompt_file(&self, index: u32) -> PathBuf {
        self.started.launch.scratch.join(format!("{index}.prompts"))
    }

    /// A driver that is gone takes no commands; that shows at the next event, with a better explanation.
    pub(super) async fn send(&mut self, lines: String) {
        let _ = self.commands.write_all(lines.as_bytes()).await;
    }

    /// The next event that is not an error. Whatever ends the engine ends the wait: an error event, the driver's
    /// exit, nonsense, or the end of the `patience` with which `what` is borne.
    pub(super) async fn next(
        &mut self,
        patience: &mut Patience,
        what: &str,
    ) -> Result<Event, Failure> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return self.look(event).await;
            }
            if let Some(exit) = self.started.exit {
                return Err(self.started.exited(exit));
            }
            tokio::select! {
                biased;
                event = self.events.next(), if !self.events.ended() => match event {
                    Ok(Some(event)) => return self.look(event).await,
                    // Every writer has closed the pipe: the driver is about to end, or closed it by mistake.
                    Ok(None) => {}
                    Err(error) => return Err(self.unreadable(&error)),
                },
                ended = self.started.ends() => {
                    ended?;
                    self.collect()?;
                }
                () = patience.over() => {
                    let message = format!("{what} after {}", seconds(patience.limit()));
                    return Err(self.fail(FailureKind::Timeout, &message));
                }
            }
        }
    }

    async fn look(&mut self, event: Event) -> Result<Event, Failure> {
        match event {
            Event::Error(error) => Err(self.reported(error).await),
            Event::Hello { protocol } if protocol != PROTOCOL => {
                let message =
                    format!("the driver speaks protocol {protocol}, rollbench {PROTOCOL}");
                Err(self.fail(FailureKind::Protocol, &message))
            }
            event => Ok(event),
        }
    }

    /// What the driver had written before it ended. The pipe's end cannot be waited for: a child can hold it open.
    fn collect(&mut self) -> Result<(), Failure> {
        loop {
            match self.events.try_next() {
                Ok(Some(event)) => self.pending.push_back(event),
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.unreadable(&error)),
            }
        }
    }

    /// An error that the driver reported. It mostly ends by itself after that, and its exit belongs into the record.
    async fn reported(&mut self, error: DriverError) -> Failure {
        let kind = match error.kind.as_str() {
            "arguments" => FailureKind::Arguments,
            "engine_died" => FailureKind::Exited,
            "results" => FailureKind::Results,
            "protocol" => FailureKind::Protocol,
            _ => FailureKind::Engine,
        };
        let ends_by_itself = matches!(kind, FailureKind::Exited | FailureKind::Engine);
        if ends_by_itself {
            let limit = self.started.launch.limits.stop;
            self.started.exits_within(limit).await;
        }
        // As Python's `exitcode`: negative for a signal.
        let victim = error.exit_code.map(|code| ExitStatus {
            code: (code >= 0).then_some(code),
            signal: (code < 0).then_some(-code),
        });
        self.started.fail_with(kind, &error.message, victim)
    }

    fn unreadable(&self, error: &ReadError) -> Failure {
        self.fail(FailureKind::Protocol, &error.to_string())
    }

    pub(super) fn unexpected(&self, event: &Event, awaited: &str) -> Failure {
        let said = match event {
            Event::Hello { .. } => "hello",
            Event::Imported(_) => "imported",
            Event::Ready(_) => "ready",
            Event::Progress(_) => "progress",
            Event::StepFinished(_) => "step_finished of another step",
            Event::Counted(_) => "counted",
            Event::Ok { .. } => "ok",
            Event::Aborted => "aborted",
            Event::Error(_) => "error",
            Event::Done => "done",
        };
        self.fail(
            FailureKind::Protocol,
            &format!("the driver said `{said}` where {awaited} was expected"),
        )
    }

    async fn facts(&mut self, imported: Imported, ready: Ready) -> EngineFacts {
        let told = Told {
            platform: imported.platform,
            versions: imported.versions,
            import_s: imported.import_s,
            effective: ready.effective,
            difference: ready.difference,
            kv_tokens: ready.kv_tokens,
        };
        self.started.facts(told).await
    }

    /// Asks the driver to end, in words and then by SIGTERM; whether it did. What it still says is thrown away, but
    /// read, or it could not end.
    async fn ask_to_exit(&mut self) -> bool {
        if self.started.exit.is_none() {
            self.send(encode(&Command::Exit)).await;
        }
        if self.exits_within(self.started.launch.limits.stop).await {
            return true;
        }
        self.started.terminate_leader();
        self.exits_within(self.started.grace()).await
    }

    async fn exits_within(&mut self, limit: Duration) -> bool {
        let mut patience = Patience::new(limit);
        while self.started.exit.is_none() {
            tokio::select! {
                biased;
                _ = self.started.leader_exit() => {}
                event = self.events.next(), if !self.events.ended() => {
                    if event.is_err() {
                        self.events.discard();
                    }
                }
                () = patience.over() => return false,
            }
        }
        true
    }
}

pub(super) fn encode(command: &impl serde::Serialize) -> String {
    let mut line = serde_json::to_string(command).expect("commands are plain data");
    line.push('\n');
    line
}
