//! The guard: a small process between rollbench and the engine that outlives both and ends what they leave.
//!
//! It is this same binary, re-executed before anything of it has run: one thread, no runtime. Its standard input is the
//! control pipe, its standard output carries reports, its standard error is the engine's log.
#![expect(
    unsafe_code,
    reason = "signal dispositions, and the steps between fork and exec"
)]

use std::io::{self, Write};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::pidfd::PidFd;
use super::procfs::{Snapshot, Stat};
use super::rundir;
use super::sweep::Sweeper;
use super::wait::{self, Children};
use super::wire::{Order, Report, Start, line, take_line};
use crate::record::ExitStatus;

/// Signals that end a group or a session; the guard has to survive them.
const IGNORED: [Signal; 6] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Between two scans of a sweep. The dead are reaped as they come; a scan is for those who were born since the last.
const ROUND: Duration = Duration::from_millis(5);

/// The whole life of a guard: `rollbench __guard`. Not for people.
pub(crate) fn guard_main() -> ExitCode {
    match guard() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollbench guard: {error}");
            ExitCode::FAILURE
        }
    }
}

fn guard() -> io::Result<()> {
    for ignored in IGNORED {
        // SAFETY: SIG_IGN runs no code of ours.
        unsafe { signal(ignored, SigHandler::SigIgn) }?;
    }
    // Best effort: only a name in `ps`.
    let _ = prctl::set_name(c"rollbench-guard");
    prctl::set_child_subreaper(true)?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)?;

    let mut control = Control::default();
    let Some(start) = control.start()? else {
        return Ok(());
    };
    close_all_but(&start.pass_fds)?;
    let deaths = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let program = match launch(&start) {
        Ok(program) => program,
        Err(error) => {
            report(&Report::Failed {
                errno: error.raw_os_error(),
                message: error.to_string(),
            });
            return Ok(());
        }
    };
    for &fd in &start.pass_fds {
        let _ = nix::unistd::close(fd);
    }
    // The kernel's choice when memory runs out should be the engine, not the one who could tell. Best effort.
    let _ = std::fs::write(format!("/proc/{program}/oom_score_adj"), "500");
    report(&Report::Started { pid: program });
    Watch {
        interpreter: start.interpreter.then_some(program),
        leader: (!start.interpreter).then_some(program),
        exit: None,
        reaped: false,
        asked: false,
        sweep: None,
    }
    .run(&mut control, &deaths)?;
    // Not by asking who the parent is: a dying process closes its files some time before its children are orphans.
    if control.ended
        && let Some(folder) = start.run_dir
    {
        tidy(&folder);
    }
    Ok(())
}

/// Removes the files of a run whose rollbench is dead. Its lock is freed in the course of its death, which the end of the
/// control pipe may have been ahead of; if it lives, and only this handle was dropped, the lock stays.
fn tidy(folder: &std::path::Path) {
    for _ in 0..100 {
        if rundir::is_dead(folder) {
            rundir::remove(folder, rundir::read_info(folder).as_ref());
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts the engine's leader in a group of its own. It dies with the guard (and only with it: the guard's one thread
/// is the main one, so the parent-death signal cannot be triggered by the end of a mere thread).
fn launch(start: &Start) -> io::Result<u32> {
    let guard = Pid::this();
    let log = io::stderr().as_fd().try_clone_to_owned()?;
    let mut command = Command::new(&start.program);
    command
        .args(&start.args)
        .env_clear()
        .envs(start.env.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    if let Some(cwd) = &start.cwd {
        command.current_dir(cwd);
    }
    let prepare = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if nix::unistd::getppid() != guard {
            return Err(io::Error::from(Errno::ESRCH));
        }
        for ignored in IGNORED {
            // SAFETY: SIG_DFL runs no code of ours.
            unsafe { signal(ignored, SigHandler::SigDfl) }?;
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only; it neither allocates nor locks.
    unsafe { command.pre_exec(prepare) };
    Ok(command.spawn()?.id())
}

/// Descriptors that were left open across exec by whoever started rollbench would be inherited by the engine and keep
/// that one's pipes open.
fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open {
        if fd > 2 && !kept.contains(&fd) {
            // EBADF: it was the directory's own.
            let _ = nix::unistd::close(fd);
        }
    }
    Ok(())
}

/// Says something to rollbench. If it is gone nobody listens; the sweep does not depend on it.
fn report(report: &Report) {
    let _ = io::stdout().write_all(&line(report));
    let _ = io::stdout().flush();
}

/// The reading end of the control pipe.
#[derive(Default)]
struct Control {
    buffer: Vec<u8>,
    ended: bool,
}

impl Control {
    /// Waits for the first line; absent if rollbench is gone before it.
    fn start(&mut self) -> io::Result<Option<Start>> {
        loop {
            if let Some(start) = take_line(&mut self.buffer) {
                return start.map(Some).map_err(io::Error::other);
            }
            if self.ended {
                return Ok(None);
            }
            self.fill();
        }
    }

    /// Reads what is there. An error is as good as the end: there is nobody to take orders from.
    fn fill(&mut self) {
        let mut chunk = [0; 4096];
        // Not through `Stdin`: what it has buffered, poll does not see.
        match nix::unistd::read(io::stdin(), &mut chunk) {
            Err(Errno::EINTR) => {}
            Ok(0) | Err(_) => self.ended = true,
            Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
        }
    }

    /// The next order. After the end of the pipe, and instead of anything that is no order: to sweep.
    fn order(&mut self) -> Option<Order> {
        match take_line(&mut self.buffer) {
            Some(order) => Some(order.unwrap_or(Order::Sweep { grace_ms: 0 })),
            None => self.ended.then_some(Order::Sweep { grace_ms: 0 }),
        }
    }
}

/// The guard's view of the tree.
struct Watch {
    /// Outlives the starts that it forks; absent if there is none, or it has ended.
    interpreter: Option<u32>,
    /// Absent until the interpreter has forked one.
    leader: Option<u32>,
    /// How the leader ended; absent while it lives.
    exit: Option<ExitStatus>,
    /// Until then the leader's number, and with it that of its group, cannot be used again.
    reaped: bool,
    /// Whether anything was asked to end before the sweep. Only then are survivors leaks.
    asked: bool,
    sweep: Option<Sweep>,
}

struct Sweep {
    /// What is spared, with all that is below it.
    spared: Option<u32>,
    /// Until then processes may end by themselves.
    grace: Instant,
    /// Whether the tree had been asked to end before, so that survivors are leaks.
    polite: bool,
    /// Absent during the grace.
    sweeper: Option<Sweeper>,
    /// When to scan next.
    next: Instant,
}

impl Sweep {
    /// Ends everything below this process that is still there. False once nothing is, or the time for it is up.
    ///
    /// Where an interpreter is spared, the kernel's word that no child is left is not to be had. A scan that finds
    /// none is as good: only this thread reaps, so whatever is left has an ancestor that is a child of ours and
    /// stays in `/proc`, if only as a zombie, for the whole scan.
    fn round(&mut self) -> bool {
        let now = Instant::now();
        let gentle = self.sweeper.is_none() && now < self.grace;
        if now < self.next || (gentle && self.spared.is_none()) {
            return true;
        }
        let snapshot = Snapshot::take();
        let found = snapshot.descendants(std::process::id(), self.spared.as_slice());
        self.next = Instant::now() + ROUND;
        if found.is_empty() && self.spared.is_some() {
            return false;
        }
        gentle || self.sweeper.get_or_insert_with(Sweeper::begin).round(found)
    }

    fn report(&mut self) -> Report {
        let sweeper = self.sweeper.take();
        let mut leaks = sweeper.map(|s| s.leaks()).unwrap_or_default();
        let ended = leaks.iter().filter(|leak| leak.ended).count();
        if !self.polite {
            leaks.retain(|leak| !leak.ended);
        }
        Report::Swept {
            ended,
            leaks,
            rests: self.spared.is_some(),
        }
    }
}

impl Watch {
    fn run(mut self, control: &mut Control, deaths: &SignalFd) -> io::Result<()> {
        loop {
            while let Some(order) = control.order() {
                self.obey(order);
                if control.ended {
                    break;
                }
            }
            let left = self.reap()?;
            let mut timeout = PollTimeout::NONE;
            if let Some(mut sweep) = self.sweep.take() {
                if !left || !sweep.round() {
                    report(&sweep.report());
                    if sweep.spared.is_none() {
                        return Ok(());
                    }
                    self.rest();
                    continue;
                }
                self.sweep = Some(sweep);
                timeout = PollTimeout::try_from(ROUND).unwrap_or(PollTimeout::ZERO);
            }
            let stdin = io::stdin();
            let mut fds = [
                PollFd::new(deaths.as_fd(), PollFlags::POLLIN),
                PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
            ];
            // After its end the pipe is always readable: it would turn the wait into a spin.
            let watched = if control.ended { 1 } else { 2 };
            match poll(&mut fds[..watched], timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
            if ready(&fds[0]) {
                while let Ok(Some(_)) = deaths.read_signal() {}
            }
            if watched == 2 && ready(&fds[1]) {
                control.fill();
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::SignalLeader(number) => {
                self.asked = true;
                if self.exit.is_none()
                    && let Some(stat) = self.leader.and_then(Stat::of)
                    && let Some(handle) = PidFd::of(&stat)
                    && let Ok(signal) = Signal::try_from(number)
                {
                    let _ = handle.send(signal);
                }
            }
            Order::SignalGroup(number) => {
                self.asked = true;
                if !self.reaped
                    && let Ok(signal) = Signal::try_from(number)
                    && let Some(leader) = self.leader.and_then(|pid| i32::try_from(pid).ok())
                {
                    let _ = nix::sys::signal::killpg(Pid::from_raw(leader), signal);
                }
            }
            Order::Lead(pid) => self.leader = Some(pid),
            Order::Rest { grace_ms } => self.sweep(grace_ms, self.interpreter),
            Order::Sweep { grace_ms } => self.sweep(grace_ms, None),
        }
    }

    fn sweep(&mut self, grace_ms: u64, spared: Option<u32>) {
        let grace = Instant::now() + Duration::from_millis(grace_ms);
        let polite = self.asked || self.exit.is_some();
        let sweep = self.sweep.get_or_insert(Sweep {
            spared,
            grace,
            polite,
            sweeper: None,
            next: Instant::now(),
        });
        sweep.grace = sweep.grace.min(grace);
        sweep.spared = sweep.spared.and(spared);
    }

    /// Nothing is left but the interpreter: ready for its next leader.
    fn rest(&mut self) {
        self.leader = None;
        self.exit = None;
        self.reaped = false;
        self.asked = false;
    }

    /// Reaps the dead, and says when the leader is among them. False once no descendant is left.
    ///
    /// Until the sweep the leader itself is kept as a zombie; it comes first among the children, so that orphans that
    /// end after it wait for the sweep too.
    fn reap(&mut self) -> io::Result<bool> {
        loop {
            match wait::look()? {
                Children::None => return Ok(false),
                Children::Alive => return Ok(true),
                Children::Dead { pid, status } => {
                    if self.interpreter == Some(pid) {
                        self.interpreter = None;
                        report(&Report::InterpreterLost);
                    } else if self.interpreter.is_some()
                        && self.leader.is_none()
                        && self.sweep.is_none()
                    {
                        // It may be the leader that is about to be named.
                        return Ok(true);
                    }
                    if self.leader == Some(pid) {
                        if self.exit.is_none() {
                            self.exit = Some(status);
                            report(&Report::Exited(status));
                        }
                        if self.sweep.is_none() {
                            return Ok(true);
                        }
                        self.reaped = true;
                    }
                    wait::reap(pid);
                }
            }
        }
    }
}
