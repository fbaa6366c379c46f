//! The orchestrator's handle on a guard and, through it, on everything that an engine has started.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::Signal;
use serde::Serialize;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::orphans::Orphans;
use super::rundir::{LEASE_VARIABLE, RUN_VARIABLE};
use super::wire::{Order, Report, Start, line, take_line};
use crate::error::PathError;
use crate::record::{ExitStatus, Leak};

/// A guard names what is stuck after 30 s. One that has not reported by then is itself stuck or stopped.
const GUARD_PATIENCE: Duration = Duration::from_secs(35);
/// Between two rounds of a sweep in a dead guard's place.
const ROUND: Duration = Duration::from_millis(5);

/// A program to be run under a guard.
#[derive(Debug)]
pub struct GuardedCommand {
    /// An absolute path, or a name that is looked up in rollbench's own `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its complete environment: nothing else is inherited.
    pub env: BTreeMap<OsString, OsString>,
    /// Where it runs; absent for rollbench's own working directory.
    pub cwd: Option<PathBuf>,
    /// Its stdout and stderr are appended here (created with mode 0600).
    pub log: PathBuf,
    /// Descriptors that it inherits, each with the environment variable that tells it the number. Nothing else is open in
    /// it. rollbench's own copies are closed, so that the ends of pipes are seen.
    pub pass_fds: Vec<(String, OwnedFd)>,
}

/// Why a program could not be started under a guard.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] PathError),
    /// The guard itself could not be started.
    #[error("cannot start the guard process")]
    Guard(#[source] io::Error),
    /// The program could not be executed.
    #[error("cannot start {}: {message}", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// The system's error number; absent if it was none.
        errno: Option<i32>,
        /// The system's words.
        message: String,
    },
}

/// What a sweep found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SweepReport {
    /// How the leader ended; absent only if even SIGKILL did not end it.
    pub exit: Option<ExitStatus>,
    /// Processes that had been asked to end (or whose leader had ended) and were still there, and, with `ended`
    /// false, those that could not be ended at all.
    pub leaks: Vec<Leak>,
    /// How many processes the sweep ended, leaks or not.
    pub ended: usize,
    /// Whether the guard itself had been killed, so that rollbench swept in its place.
    pub guard_lost: bool,
}

/// A running program, its guard, and all descendants.
///
/// Dropping it closes the control pipe, at whose end the guard sweeps: so do a panic, an abort and SIGKILL. The guard is
/// never killed on drop, for then nobody would sweep.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    pid: u32,
    control: io::PipeWriter,
    reports: pipe::Receiver,
    buffer: Vec<u8>,
    leader: u32,
    exit: Option<ExitStatus>,
    swept: Option<SweepReport>,
    lost: bool,
}

impl Guard {
    /// Starts `command` under a guard. Must be called within a tokio runtime; blocks until the program has been
    /// executed (some milliseconds).
    pub fn spawn(command: GuardedCommand) -> Result<Self, SpawnError> {
        Self::spawn_with(Path::new("/proc/self/exe"), command)
    }

    /// As [`spawn`](Self::spawn), from a process that is not rollbench: `rollbench` is the path of its binary.
    pub fn spawn_with(rollbench: &Path, command: GuardedCommand) -> Result<Self, SpawnError> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&command.log)
            .map_err(PathError::on("open", &command.log))?;
        nix::sys::prctl::set_child_subreaper(true).map_err(|e| SpawnError::Guard(e.into()))?;
        let (control_read, mut control) = io::pipe().map_err(SpawnError::Guard)?;
        let (mut reports, report_write) = io::pipe().map_err(SpawnError::Guard)?;

        let mut env = command.env;
        let run = env.get(OsStr::new(RUN_VARIABLE)).cloned();
        let lease = env.get(OsStr::new(LEASE_VARIABLE)).map(Path::new);
        let run_dir = lease.and_then(Path::parent).map(Path::to_owned);
        let fds: Vec<RawFd> = command
            .pass_fds
            .iter()
            .map(|(_, fd)| fd.as_raw_fd())
            .collect();
        for (variable, fd) in &command.pass_fds {
            env.insert(variable.into(), fd.as_raw_fd().to_string().into());
        }
        let start = Start {
            program: command.program,
            args: command.args,
            env: env.into_iter().collect(),
            cwd: command.cwd,
            pass_fds: fds,
            run_dir,
        };

        let mut guard = Command::new(rollbench);
        guard
            .arg0("rollbench")
            .arg("__guard")
            .env_clear()
            .envs(run.map(|run| (RUN_VARIABLE, run)))
            .stdin(Stdio::from(control_read))
            .stdout(Stdio::from(report_write))
            .stderr(Stdio::from(log));
        apart(&mut guard, start.pass_fds.clone());
        let child = guard.spawn().map_err(SpawnError::Guard)?;
        // Our copies of the guard's ends live in `guard`; kept, they would hide its death.
        drop(guard);
        drop(command.pass_fds);

        let pid = child
            .id()
            .expect("a child that was never waited for has a pid");
        Orphans::register(pid);
        let mut buffer = Vec::new();
        let first = control
            .write_all(&line(&start))
            .and_then(|()| first_report(&mut reports, &mut buffer));
        let leader = match first {
            Ok(Report::Started { pid }) => pid,
            Ok(Report::Failed { errno, message }) => {
                return Err(SpawnError::Program {
                    program: start.program,
                    errno,
                    message,
                });
            }
            Ok(other) => {
                return Err(SpawnError::Guard(io::Error::other(format!(
                    "unexpected report {other:?}"
                ))));
            }
            Err(error) => return Err(SpawnError::Guard(error)),
        };
        Ok(Self {
            child,
            pid,
            control,
            reports: pipe::Receiver::from_owned_fd(reports.into()).map_err(SpawnError::Guard)?,
            buffer,
            leader,
            exit: None,
            swept: None,
            lost: false,
        })
    }

    /// The process id of the program.
    pub fn leader(&self) -> u32 {
        self.leader
    }

    /// The process id of the guard.
    pub fn guard(&self) -> u32 {
        self.pid
    }

    /// Waits for the program to end, whoever ended it. If the guard is killed the kernel kills the program with it.
    /// Cancel-safe; later calls return the same at once.
    pub async fn leader_exit(&mut self) -> ExitStatus {
        loop {
            if let Some(exit) = self.exit {
                return exit;
            }
            match self.report().await {
                Some(Report::Exited(exit)) => self.exit = Some(exit),
                Some(Report::Swept { ended, leaks }) => self.close(ended, leaks),
                Some(_) => {}
                // Its parent-death signal.
                None => self.exit = Some(KILLED),
            }
            if self.swept.is_some() && self.exit.is_none() {
                self.exit = Some(KILLED);
            }
        }
    }

    /// Sends a signal to the program, and to nothing else. Does nothing once it has ended.
    pub fn signal_leader(&self, signal: Signal) {
        self.order(Order::SignalLeader(signal as i32));
    }

    /// Sends a signal to everything in the program's process group.
    pub fn signal_group(&self, signal: Signal) {
        self.order(Order::SignalGroup(signal as i32));
    }

    /// Ends everything at once and returns when nothing is left. Later calls return the same report.
    pub async fn sweep(&mut self) -> SweepReport {
        self.sweep_after(Duration::ZERO).await
    }

    /// The rest of a polite stop, after the program has been asked in its own way to end: waits `patience` for the
    /// leader, then SIGTERM to its group, a third of `patience`, and the sweep. Cancel-safe: dropped, it may be called again or be followed
    /// by [`sweep`](Self::sweep).
    pub async fn finish(&mut self, patience: Duration) -> SweepReport {
        let in_time = tokio::time::timeout(patience, self.leader_exit()).await;
        if in_time.is_err() {
            tracing::warn!(
                leader = self.leader,
                "the engine did not end within {patience:?}; ending its process group"
            );
        }
        self.signal_group(Signal::SIGTERM);
        self.sweep_after(patience / 3).await
    }

    /// As [`sweep`](Self::sweep), but processes may end by themselves for up to `grace` first.
    pub async fn sweep_after(&mut self, grace: Duration) -> SweepReport {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.order(Order::Sweep { grace_ms });
        let patience = grace + GUARD_PATIENCE;
        if tokio::time::timeout(patience, self.swept()).await.is_err() {
            tracing::warn!(
                guard = self.pid,
                "the guard does not answer; sweeping in its place"
            );
            let _ = self.child.start_kill();
            self.swept().await;
        }
        self.swept
            .clone()
            .expect("swept() returns with a report in place")
    }

    /// Waits until the guard has reported its sweep, or sweeps in its place if it is dead.
    async fn swept(&mut self) {
        while self.swept.is_none() {
            match self.report().await {
                Some(Report::Exited(exit)) => self.exit = Some(exit),
                Some(Report::Swept { ended, leaks }) => self.close(ended, leaks),
                Some(_) => {}
                None => {
                    self.exit.get_or_insert(KILLED);
                    let _ = self.child.wait().await;
                    let mut orphans = Orphans::of(self.pid);
                    while orphans.round() {
                        tokio::time::sleep(ROUND).await;
                    }
                    let (ended, leaks) = orphans.report();
                    self.close(ended, leaks);
                }
            }
        }
        // It exits right after its report.
        let _ = self.child.wait().await;
        Orphans::unregister(self.pid);
    }

    fn close(&mut self, ended: usize, leaks: Vec<Leak>) {
        self.swept = Some(SweepReport {
            exit: self.exit,
            leaks,
            ended,
            guard_lost: self.lost,
        });
    }

    /// The next report; absent once the guard is dead. Cancel-safe: what was read stays in `self.buffer`.
    async fn report(&mut self) -> Option<Report> {
        loop {
            if let Some(Ok(report)) = take_line(&mut self.buffer) {
                return Some(report);
            }
            match self.reports.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => {
                    self.lost = true;
                    return None;
                }
                Ok(_) => {}
            }
        }
    }

    /// A dead guard takes no orders; that shows at the next report.
    fn order(&self, order: Order) {
        let _ = (&self.control).write_all(&line(&order));
    }
}

impl Drop for Guard {
    /// The control pipe's end tells a living guard to sweep. In place of a dead one the sweep is done here and now.
    fn drop(&mut self) {
        if self.swept.is_some() {
            return;
        }
        if let Ok(Some(_)) = self.child.try_wait() {
            let mut orphans = Orphans::of(self.pid);
            while orphans.round() {
                std::thread::sleep(ROUND);
            }
        }
        Orphans::unregister(self.pid);
    }
}

const KILLED: ExitStatus = ExitStatus {
    code: None,
    signal: Some(Signal::SIGKILL as i32),
};

fn first_report(reports: &mut io::PipeReader, buffer: &mut Vec<u8>) -> io::Result<Report> {
    let mut chunk = [0; 1024];
    loop {
        if let Some(report) = take_line(buffer) {
            return report.map_err(io::Error::other);
        }
        match reports.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => buffer.extend_from_slice(&chunk[..n]),
        }
    }
}

/// Gives the guard a session of its own (no Ctrl-C reaches it, and nothing below it can touch the terminal) and lets
/// `fds` through its exec.
#[expect(unsafe_code, reason = "steps between fork and exec")]
fn apart(guard: &mut Command, fds: Vec<RawFd>) {
    let prepare = move || {
        nix::unistd::setsid()?;
        for &fd in &fds {
            // SAFETY: the caller keeps the descriptors open until the fork, and this is the only thread after it.
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only; it neither allocates nor locks.
    unsafe { guard.pre_exec(prepare) };
}
