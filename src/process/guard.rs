//! The orchestrator's handle on a guard and, through it, on everything that an engine has started.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::Signal;
use serde::Serialize;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::capture::{self, Capture};
use super::interpreter::{self, Interpreter};
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
    /// What the sweeps of this start have found so far.
    ended: usize,
    leaks: Vec<Leak>,
    swept: Option<SweepReport>,
    /// The last sweep is over: there is no guard any more.
    closed: bool,
    lost: bool,
    /// Whether there is, or was, an interpreter.
    forked: bool,
    /// A sweep that spares the interpreter was begun and not ended.
    resting: bool,
    /// What forks the leaders; absent if the leader is the program itself, or once it is gone.
    interpreter: Option<Interpreter>,
    /// Between the leader and its log; absent if it writes the log itself.
    capture: Option<Capture>,
}

impl Guard {
    /// Starts `command` under a guard. Must be called within a tokio runtime; blocks until the program has been
    /// executed (some milliseconds).
    pub fn spawn(command: GuardedCommand) -> Result<Self, SpawnError> {
        Self::spawn_with(Path::new("/proc/self/exe"), command)
    }

    /// As [`spawn`](Self::spawn), from a process that is not rollbench: `rollbench` is the path of its binary.
    pub fn spawn_with(rollbench: &Path, command: GuardedCommand) -> Result<Self, SpawnError> {
        Self::spawn_either(rollbench, command, None)
    }

    /// Starts an interpreter under a guard: no leader yet, but what forks them (see [`lead`](Self::lead)).
    pub fn spawn_interpreter(
        rollbench: &Path,
        mut command: GuardedCommand,
    ) -> Result<Self, SpawnError> {
        let (interpreter, end) = Interpreter::open().map_err(SpawnError::Guard)?;
        command
            .pass_fds
            .push((Interpreter::VARIABLE.to_owned(), end));
        Self::spawn_either(rollbench, command, Some(interpreter))
    }

    fn spawn_either(
        rollbench: &Path,
        command: GuardedCommand,
        interpreter: Option<Interpreter>,
    ) -> Result<Self, SpawnError> {
        let (log, capture) = capture::open(&command.log)?;
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
            interpreter: interpreter.is_some(),
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
            ended: 0,
            leaks: Vec::new(),
            swept: None,
            closed: false,
            lost: false,
            forked: interpreter.is_some(),
            resting: false,
            // That of an interpreter ends with it, not with a leader.
            capture: capture.filter(|_| interpreter.is_none()),
            interpreter,
        })
    }

    /// Has the interpreter fork a leader that runs the Python file `script`: its output goes to `log`, and it inherits
    /// `fds`, each with the environment variable that tells it the number. Otherwise the reason why not; then, and if
    /// this is dropped half-way, the tree is in an unknown state and to be swept.
    pub async fn lead(
        &mut self,
        script: &Path,
        log: &Path,
        fds: &[(String, OwnedFd)],
    ) -> Result<(), String> {
        let interpreter = self.interpreter.as_mut().ok_or(interpreter::GONE)?;
        let (log, capture) = capture::open(log).map_err(|error| error.to_string())?;
        self.capture = capture;
        (self.exit, self.swept, self.ended) = (None, None, 0);
        self.leaks.clear();
        self.leader = interpreter.lead(script, log.as_fd(), fds).await?;
        self.order(Order::Lead(self.leader));
        Ok(())
    }

    /// What of the running start was not forked, and why; absent if there is no interpreter to ask.
    pub async fn spawned(&mut self) -> Option<Vec<String>> {
        let spawned = self.interpreter.as_mut()?.rests().await;
        if spawned.is_none() {
            self.interpreter = None;
        }
        spawned
    }

    /// Whether the leader was forked by an interpreter.
    pub fn is_forked(&self) -> bool {
        self.forked
    }

    /// Whether the start is over and the interpreter can fork another.
    pub fn rests(&self) -> bool {
        self.interpreter.is_some() && self.swept.is_some() && !self.resting
    }

    /// Returns when the log holds what the program has printed until now.
    pub fn settle_log(&self) {
        if let Some(capture) = &self.capture {
            capture.settle();
        }
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
                Some(Report::Swept {
                    ended,
                    leaks,
                    rests,
                }) => {
                    self.add(ended, leaks, rests);
                    self.exit.get_or_insert(KILLED);
                }
                Some(report) => self.note(&report),
                // Its parent-death signal.
                None => self.exit = Some(KILLED),
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
    ///
    /// An interpreter is spared and rests afterwards; one that does not answer, or a stop that was given up, ends it too.
    pub async fn sweep_after(&mut self, grace: Duration) -> SweepReport {
        if self.swept.is_none() && !self.rest_after(grace).await {
            self.interpreter = None;
            while self
                .round(
                    Order::Sweep {
                        grace_ms: ms(grace),
                    },
                    grace,
                )
                .await
            {}
        }
        if let Some(mut capture) = self.capture.take() {
            capture.end().await;
        }
        let report = SweepReport {
            exit: self.exit,
            leaks: self.leaks.clone(),
            ended: self.ended,
            guard_lost: self.lost,
        };
        self.swept.insert(report).clone()
    }

    /// Ends the interpreter with everything else that there may be.
    pub async fn end(&mut self) -> SweepReport {
        self.resting = true;
        self.swept = None;
        self.sweep().await
    }

    /// Sweeps all but the interpreter. False if there is none (any more), or not all could be ended.
    async fn rest_after(&mut self, mut grace: Duration) -> bool {
        if self.interpreter.is_none() || std::mem::replace(&mut self.resting, true) {
            return false;
        }
        loop {
            let before = self.ended;
            if !self
                .round(
                    Order::Rest {
                        grace_ms: ms(grace),
                    },
                    grace,
                )
                .await
            {
                return false;
            }
            let asked = grace.is_zero();
            grace = Duration::ZERO;
            // What a process of the start asked for before it ended may have been forked since it was swept.
            let Some(interpreter) = &mut self.interpreter else {
                return false;
            };
            if asked && self.ended == before {
                break;
            }
            if interpreter.rests().await.is_none() {
                return false;
            }
        }
        self.resting = !self.leaks.iter().all(|leak| leak.ended);
        !self.resting
    }

    /// Gives an order to sweep and waits until the guard has reported that it is done, or sweeps in its place if it is
    /// dead. Whether an interpreter is left, and the guard with it.
    async fn round(&mut self, order: Order, grace: Duration) -> bool {
        self.order(order);
        let patience = grace + GUARD_PATIENCE;
        if let Ok(rests) = tokio::time::timeout(patience, self.answer()).await {
            return rests;
        }
        tracing::warn!(
            guard = self.pid,
            "the guard does not answer; sweeping in its place"
        );
        let _ = self.child.start_kill();
        self.answer().await
    }

    async fn answer(&mut self) -> bool {
        while !self.closed {
            match self.report().await {
                Some(Report::Swept {
                    ended,
                    leaks,
                    rests,
                }) => {
                    self.add(ended, leaks, rests);
                    if rests {
                        return true;
                    }
                }
                Some(report) => self.note(&report),
                None => {
                    self.exit.get_or_insert(KILLED);
                    let _ = self.child.wait().await;
                    let mut orphans = Orphans::of(self.pid);
                    while orphans.round() {
                        tokio::time::sleep(ROUND).await;
                    }
                    let (ended, leaks) = orphans.report();
                    self.add(ended, leaks, false);
                }
            }
        }
        // It exits right after its report.
        let _ = self.child.wait().await;
        Orphans::unregister(self.pid);
        false
    }

    /// Takes note of what a sweep has found.
    fn add(&mut self, ended: usize, leaks: Vec<Leak>, rests: bool) {
        self.ended += ended;
        self.leaks.extend(leaks);
        self.closed = !rests;
    }

    /// Takes note of who has ended.
    fn note(&mut self, report: &Report) {
        match report {
            Report::Exited(exit) => self.exit = Some(*exit),
            Report::InterpreterLost => self.interpreter = None,
            _ => {}
        }
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
        if self.closed {
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

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

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
