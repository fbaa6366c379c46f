//! Starts, drives and ends `LLM.generate` through `driver.py`.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::time::Instant;

use super::event_reader::{EventReader, ReadError};
use super::judge::judge;
use super::prompt_file;
use super::protocol::{Command, DriverError, Event, Imported, PROTOCOL, Ready};
use crate::clock;
use crate::engine::failure::{Witness, describe};
use crate::engine::kernels::{kernels, weights};
use crate::engine::log::EngineLog;
use crate::engine::oom::OomWatch;
use crate::engine::{Engine, Launch, Session, StepRequest, Urgency};
use crate::error::PathError;
use crate::event::{Event as RunEvent, EventSink};
use crate::process::{Guard, GuardedCommand, LEASE_MODULE, LEASE_PY, RunDir};
use crate::record::redact;
use crate::record::{EngineFacts, ExitStatus, Failure, FailureKind, Phase, Role, Step, Stop};

/// The program that vLLM runs in; a file of its own, because vLLM's children import it again.
const DRIVER: &str = include_str!("driver.py");

/// Variables that an engine gets unless the user or the matrix sets them.
const DEFAULTS: [(&str, &str); 5] = [
    ("VLLM_NO_USAGE_STATS", "1"),
    ("DO_NOT_TRACK", "1"),
    ("TOKENIZERS_PARALLELISM", "false"),
    // So that the log is complete when a process dies, and says where it was when it crashed.
    ("PYTHONUNBUFFERED", "1"),
    ("PYTHONFAULTHANDLER", "1"),
];

/// Runs engines in a Python driver.
#[derive(Debug, Clone)]
pub struct OfflineEngine {
    rollbench: PathBuf,
    inherited: BTreeMap<OsString, OsString>,
    supervision: BTreeMap<OsString, OsString>,
}

impl OfflineEngine {
    /// Engines of this run: they bear its marks and end with its lease.
    pub fn new(run: &RunDir) -> Self {
        let inherited: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        Self {
            rollbench: PathBuf::from("/proc/self/exe"),
            supervision: run.hygiene_env(&inherited),
            inherited,
        }
    }

    /// From a process that is not rollbench (a test): the path of its binary, which is the guard.
    #[must_use]
    pub fn with_guard(mut self, rollbench: &Path) -> Self {
        rollbench.clone_into(&mut self.rollbench);
        self
    }

    /// The complete environment of the engine: inherited < defaults where unset < supervision < the cell's own.
    fn environment(&self, launch: &Launch) -> BTreeMap<OsString, OsString> {
        let mut env = self.inherited.clone();
        for (name, value) in DEFAULTS {
            env.entry(name.into()).or_insert_with(|| value.into());
        }
        // vLLM's own limit must not end a start that ours still allows.
        env.entry("VLLM_ENGINE_READY_TIMEOUT_S".into())
            .or_insert_with(|| launch.limits.start.as_secs().max(1).to_string().into());
        env.extend(self.supervision.clone());
        env.extend(
            launch
                .env
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        env
    }
}

impl Engine for OfflineEngine {
    type Session = OfflineSession;

    fn launch(&self, mut launch: Launch) -> Result<OfflineSession, Failure> {
        let begin_ns = clock::mono_ns();
        let env = self.environment(&launch);
        let witness = Witness {
            log: EngineLog::new(&launch.log, &env),
            oom: OomWatch::begin(),
        };
        let spawn = |message: String| {
            witness.failure(Phase::Launch, FailureKind::Spawn, &message, None, None)
        };
        // A checkpoint's own sampling defaults would make cells differ.
        launch
            .args
            .entry("generation_config".to_owned())
            .or_insert_with(|| "vllm".into());
        let driver = lay_out(&launch.scratch).map_err(|error| spawn(chain(&error)))?;
        let pipes = Pipes::open().map_err(|error| spawn(format!("cannot open pipes: {error}")))?;
        let guard = Guard::spawn_with(
            &self.rollbench,
            GuardedCommand {
                program: launch.python.clone(),
                args: vec![driver.into()],
                env,
                cwd: None,
                log: launch.log.clone(),
                pass_fds: vec![
                    ("ROLLBENCH_COMMANDS_FD".to_owned(), pipes.commands_read),
                    ("ROLLBENCH_EVENTS_FD".to_owned(), pipes.events_write),
                ],
            },
        )
        .map_err(|error| spawn(chain(&error)))?;
        Ok(OfflineSession {
            guard,
            commands: pipes.commands,
            events: pipes.events,
            pending: VecDeque::new(),
            witness,
            launch,
            begin_ns,
            phase: Phase::Launch,
            last_id: 0,
            exit: None,
            stop: None,
        })
    }
}

/// Ours and the driver's ends.
struct Pipes {
    commands: pipe::Sender,
    commands_read: OwnedFd,
    events: EventReader,
    events_write: OwnedFd,
}

impl Pipes {
    fn open() -> std::io::Result<Self> {
        let (commands_read, commands) = std::io::pipe()?;
        let (events, events_write) = std::io::pipe()?;
        Ok(Self {
            commands: pipe::Sender::from_owned_fd(commands.into())?,
            commands_read: commands_read.into(),
            events: EventReader::new(events.into())?,
            events_write: events_write.into(),
        })
    }
}

/// One engine, driven through `driver.py`.
#[derive(Debug)]
pub struct OfflineSession {
    guard: Guard,
    commands: pipe::Sender,
    events: EventReader,
    /// Events that were in the pipe when the driver ended.
    pending: VecDeque<Event>,
    witness: Witness,
    launch: Launch,
    begin_ns: u64,
    phase: Phase,
    last_id: u64,
    exit: Option<ExitStatus>,
    stop: Option<Stop>,
}

impl Session for OfflineSession {
    async fn ready(&mut self, events: &EventSink) -> Result<EngineFacts, Failure> {
        let limit = self.launch.limits.start;
        let deadline = Instant::now() + limit;
        let what = "the engine is not ready";
        match self.next(deadline, limit, what).await? {
            Event::Hello { .. } => {}
            other => return Err(self.unexpected(&other, "its greeting")),
        }
        let id = self.id();
        let load = encode(&Command::Load {
            id,
            args: &self.launch.args,
            fan_out: self.launch.fan_out,
            sampling: &self.launch.sampling,
        });
        self.send(load).await;
        let imported = match self.next(deadline, limit, what).await? {
            Event::Imported(imported) => imported,
            other => return Err(self.unexpected(&other, "that vLLM is imported")),
        };
        self.phase = Phase::Load;
        events.emit(RunEvent::Phase { phase: Phase::Load });
        match self.next(deadline, limit, what).await? {
            Event::Ready(ready) => Ok(self.facts(imported, *ready)),
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
        self.phase = match step.role {
            Role::Warmup => Phase::Warmup,
            Role::Measured => Phase::Measure,
            Role::Profiled => Phase::Profile,
        };
        let file = self.prompt_file(step.index);
        let Some(file) = file.to_str() else {
            return Err(self.fail(FailureKind::Spawn, "the scratch folder's name is not UTF-8"));
        };
        let reset = encode(&Command::ResetPrefixCache { id: self.id() });
        let id = self.id();
        let run = encode(&Command::Step { id, file });
        self.send(reset + &run).await;

        let limit = self.launch.limits.stall;
        let mut deadline = Instant::now() + limit;
        loop {
            let what = "the step makes no progress";
            match self.next(deadline, limit, what).await? {
                Event::Ok { done, .. } => {
                    if !done {
                        let text =
                            "vLLM did not reset its prefix cache before this step".to_owned();
                        events.emit(RunEvent::Note { text });
                    }
                }
                Event::Progress(progress) => {
                    deadline = Instant::now() + limit;
                    events.emit(RunEvent::Progress {
                        finished: progress.finished,
                        tokens: progress.tokens,
                        elapsed_ns: progress.elapsed_ns,
                    });
                }
                Event::StepFinished(told) if told.id == id => {
                    return judge(step, self.launch.fan_out, *told)
                        .map_err(|missing| self.fail(FailureKind::Results, &missing));
                }
                other => return Err(self.unexpected(&other, "the end of the step")),
            }
        }
    }

    async fn stop(&mut self, urgency: Urgency) -> Stop {
        if let Some(stop) = &self.stop {
            return stop.clone();
        }
        self.phase = Phase::Stop;
        let begin = clock::mono_ns();
        let (report, polite) = match urgency {
            Urgency::Now => (self.guard.sweep().await, false),
            Urgency::Polite => {
                let polite = self.ask_to_exit().await;
                self.guard.signal_group(Signal::SIGTERM);
                (self.guard.sweep_after(self.grace()).await, polite)
            }
        };
        self.exit = self.exit.or(report.exit);
        let stop = Stop {
            polite,
            ms: (clock::mono_ns() - begin) / 1_000_000,
            leaks: report.leaks,
        };
        self.stop = Some(stop.clone());
        stop
    }
}

impl OfflineSession {
    /// The process id of the driver.
    pub fn leader(&self) -> u32 {
        self.guard.leader()
    }

    fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn prompt_file(&self, index: u32) -> PathBuf {
        self.launch.scratch.join(format!("{index}.prompts"))
    }

    /// A driver that is gone takes no commands; that shows at the next event, with a better explanation.
    async fn send(&mut self, lines: String) {
        let _ = self.commands.write_all(lines.as_bytes()).await;
    }

    /// The next event that is not an error. Whatever ends the engine ends the wait: an error event, the driver's
    /// exit, nonsense, or `deadline`, which is `limit` after `what` began to be true.
    async fn next(
        &mut self,
        deadline: Instant,
        limit: Duration,
        what: &str,
    ) -> Result<Event, Failure> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return self.look(event).await;
            }
            if let Some(exit) = self.exit {
                return Err(self.exited(exit));
            }
            tokio::select! {
                biased;
                event = self.events.next(), if !self.events.ended() => match event {
                    Ok(Some(event)) => return self.look(event).await,
                    // Every writer has closed the pipe: the driver is about to end, or closed it by mistake.
                    Ok(None) => {}
                    Err(error) => return Err(self.unreadable(&error)),
                },
                exit = self.guard.leader_exit() => {
                    self.exit = Some(exit);
                    self.collect()?;
                }
                () = tokio::time::sleep_until(deadline) => {
                    let message = format!("{what} after {}", seconds(limit));
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
        if self.exit.is_none() && ends_by_itself {
            let exit = self.guard.leader_exit();
            self.exit = tokio::time::timeout(self.launch.limits.stop, exit)
                .await
                .ok();
        }
        // As Python's `exitcode`: negative for a signal.
        let victim = error.exit_code.map(|code| ExitStatus {
            code: (code >= 0).then_some(code),
            signal: (code < 0).then_some(-code),
        });
        self.witness
            .failure(self.phase, kind, &error.message, self.exit, victim)
    }

    fn exited(&self, exit: ExitStatus) -> Failure {
        let message = format!(
            "the engine ended by itself ({}) during {}",
            describe(exit),
            self.phase
        );
        self.fail(FailureKind::Exited, &message)
    }

    fn unreadable(&self, error: &ReadError) -> Failure {
        self.fail(FailureKind::Protocol, &error.to_string())
    }

    fn unexpected(&self, event: &Event, awaited: &str) -> Failure {
        let said = match event {
            Event::Hello { .. } => "hello",
            Event::Imported(_) => "imported",
            Event::Ready(_) => "ready",
            Event::Progress(_) => "progress",
            Event::StepFinished(_) => "step_finished of another step",
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

    fn fail(&self, kind: FailureKind, message: &str) -> Failure {
        self.witness
            .failure(self.phase, kind, message, self.exit, None)
    }

    fn facts(&self, imported: Imported, ready: Ready) -> EngineFacts {
        let log = self.witness.log.text();
        EngineFacts {
            kind: "offline".to_owned(),
            platform: imported.platform,
            versions: imported.versions,
            requested: self
                .launch
                .args
                .iter()
                .map(|(name, value)| (name.clone(), shown(name, value)))
                .collect(),
            effective: ready
                .effective
                .iter()
                .map(|(name, value)| (name.clone(), shown(name, value)))
                .collect(),
            difference: ready.difference,
            kernels: kernels(&log),
            kv_tokens: ready.kv_tokens,
            weights_bytes: weights(&log).map(|bytes| bytes.0),
            import_s: imported.import_s,
            load_s: (clock::mono_ns() - self.begin_ns) as f64 / 1e9,
        }
    }

    /// Asks the driver to end, in words and then by SIGTERM; whether it did. What it still says is thrown away, but
    /// read, or it could not end.
    async fn ask_to_exit(&mut self) -> bool {
        if self.exit.is_none() {
            self.send(encode(&Command::Exit)).await;
        }
        if self.exits_within(self.launch.limits.stop).await {
            return true;
        }
        self.guard.signal_leader(Signal::SIGTERM);
        self.exits_within(self.grace()).await
    }

    /// How long SIGTERM is given: 5 s of the usual 15 s to stop.
    fn grace(&self) -> Duration {
        self.launch.limits.stop / 3
    }

    async fn exits_within(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.exit.is_none() {
            tokio::select! {
                biased;
                exit = self.guard.leader_exit() => self.exit = Some(exit),
                event = self.events.next(), if !self.events.ended() => {
                    if event.is_err() {
                        self.events.discard();
                    }
                }
                () = tokio::time::sleep_until(deadline) => return false,
            }
        }
        true
    }
}

fn encode(command: &Command<'_>) -> String {
    let mut line = serde_json::to_string(command).expect("commands are plain data");
    line.push('\n');
    line
}

/// The driver's files; its path.
fn lay_out(scratch: &Path) -> Result<PathBuf, PathError> {
    let driver = scratch.join("driver.py");
    write_private(&driver, DRIVER)?;
    write_private(&scratch.join(LEASE_MODULE), LEASE_PY)?;
    Ok(driver)
}

fn write_private(path: &Path, content: &str) -> Result<(), PathError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(PathError::on("create", path))?;
    file.write_all(content.as_bytes())
        .map_err(PathError::on("write", path))
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// An argument as it may be recorded: `hf_token` is one too.
fn shown(name: &str, value: &Value) -> Value {
    let mut shown = value.clone();
    redact::value(name, &mut shown);
    shown
}

/// `90 s`, `0.5 s`.
fn seconds(limit: Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}
