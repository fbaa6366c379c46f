//! Starts the driver: its files, its environment, its pipes, its guard.

use std::path::{Path, PathBuf};

use tokio::net::unix::pipe;

use super::event_reader::EventReader;
use super::session::OfflineSession;
use crate::engine::started::{Kind, Launching};
use crate::engine::surroundings::write_private;
use crate::engine::warm::{Descriptors, Starter};
use crate::engine::{Engine, Launch};
use crate::error::{PathError, chain};
use crate::process::{LEASE_MODULE, LEASE_PY, RunDir};
use crate::record::{Failure, Leak};

/// The program that vLLM runs in; a file of its own, because vLLM's children import it again.
pub(in crate::engine) const DRIVER: &str = include_str!("driver.py");

/// What the driver imports only where fidelity is measured.
const FIDELITY: &str = include_str!("fidelity.py");

/// Runs engines in a Python driver.
#[derive(Debug)]
pub struct OfflineEngine {
    starter: Starter,
}

impl OfflineEngine {
    /// Engines of this run: they bear its marks and end with its lease.
    pub fn new(run: &RunDir) -> Self {
        Self {
            starter: Starter::new(run, "driver"),
        }
    }

    /// From a process that is not rollbench (a test): the path of its binary, which is the guard.
    #[must_use]
    pub fn with_guard(mut self, rollbench: &Path) -> Self {
        rollbench.clone_into(&mut self.starter.surroundings.rollbench);
        self
    }
}

impl Engine for OfflineEngine {
    type Session = OfflineSession;

    async fn launch(&self, launch: Launch) -> Result<OfflineSession, Failure> {
        let launching = Launching::begin(Kind::Offline, &self.starter.surroundings, launch);
        let driver = lay_out(&launching.launch.scratch)
            .map_err(|error| launching.failure(&chain(&error)))?;
        let (started, pipes) = launching.start(&self.starter, driver, Pipes::open).await?;
        Ok(OfflineSession::new(started, pipes))
    }

    async fn keep(&self, session: OfflineSession) {
        self.starter.keep(session.into_started()).await;
    }

    async fn end_block(&self) -> Vec<Leak> {
        self.starter.end().await
    }
}

/// Our ends of the pipes to the driver.
pub(super) struct Pipes {
    pub(super) commands: pipe::Sender,
    pub(super) events: EventReader,
}

impl Pipes {
    /// The driver's ends and ours.
    fn open() -> std::io::Result<(Descriptors, Self)> {
        let (commands_read, commands) = std::io::pipe()?;
        let (events, events_write) = std::io::pipe()?;
        let ours = Self {
            commands: pipe::Sender::from_owned_fd(commands.into())?,
            events: EventReader::new(events.into())?,
        };
        let theirs = vec![
            ("ROLLBENCH_COMMANDS_FD".to_owned(), commands_read.into()),
            ("ROLLBENCH_EVENTS_FD".to_owned(), events_write.into()),
        ];
        Ok((theirs, ours))
    }
}

/// The driver's files; its path.
fn lay_out(scratch: &Path) -> Result<PathBuf, PathError> {
    let driver = scratch.join("driver.py");
    write_private(&driver, DRIVER)?;
    write_private(&scratch.join("rollbench_fidelity.py"), FIDELITY)?;
    write_private(&scratch.join(LEASE_MODULE), LEASE_PY)?;
    Ok(driver)
}
