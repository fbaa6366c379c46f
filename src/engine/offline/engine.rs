//! Starts the driver: its files, its environment, its pipes, its guard.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tokio::net::unix::pipe;

use super::event_reader::EventReader;
use super::session::OfflineSession;
use crate::clock;
use crate::engine::failure::Witness;
use crate::engine::log::EngineLog;
use crate::engine::oom::OomWatch;
use crate::engine::{Engine, Launch};
use crate::error::PathError;
use crate::process::{Guard, GuardedCommand, LEASE_MODULE, LEASE_PY, RunDir};
use crate::record::{Failure, FailureKind, Phase};

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
        Ok(OfflineSession::new(
            guard,
            pipes.commands,
            pipes.events,
            witness,
            launch,
            begin_ns,
        ))
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
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
