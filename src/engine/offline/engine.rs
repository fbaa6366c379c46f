//! Starts the driver: its files, its environment, its pipes, its guard.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use tokio::net::unix::pipe;

use super::event_reader::EventReader;
use super::session::OfflineSession;
use crate::engine::started::{Kind, Launching};
use crate::engine::surroundings::{Surroundings, write_private};
use crate::engine::{Engine, Launch};
use crate::error::{PathError, chain};
use crate::process::{LEASE_MODULE, LEASE_PY, RunDir};
use crate::record::Failure;

/// The program that vLLM runs in; a file of its own, because vLLM's children import it again.
pub(in crate::engine) const DRIVER: &str = include_str!("driver.py");

/// Runs engines in a Python driver.
#[derive(Debug, Clone)]
pub struct OfflineEngine {
    surroundings: Surroundings,
}

impl OfflineEngine {
    /// Engines of this run: they bear its marks and end with its lease.
    pub fn new(run: &RunDir) -> Self {
        Self {
            surroundings: Surroundings::of(run),
        }
    }

    /// From a process that is not rollbench (a test): the path of its binary, which is the guard.
    #[must_use]
    pub fn with_guard(mut self, rollbench: &Path) -> Self {
        rollbench.clone_into(&mut self.surroundings.rollbench);
        self
    }
}

impl Engine for OfflineEngine {
    type Session = OfflineSession;

    fn launch(&self, launch: Launch) -> Result<OfflineSession, Failure> {
        let launching = Launching::begin(Kind::Offline, &self.surroundings, launch);
        let driver = lay_out(&launching.launch.scratch)
            .map_err(|error| launching.failure(&chain(&error)))?;
        let pipes = Pipes::open()
            .map_err(|error| launching.failure(&format!("cannot open pipes: {error}")))?;
        let started = launching.spawn(
            driver,
            vec![
                ("ROLLBENCH_COMMANDS_FD".to_owned(), pipes.commands_read),
                ("ROLLBENCH_EVENTS_FD".to_owned(), pipes.events_write),
            ],
        )?;
        Ok(OfflineSession::new(started, pipes.commands, pipes.events))
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
