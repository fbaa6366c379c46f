//! Signals that cannot hit a stranger: a pid is a number that is used again, a pidfd is the process itself.
#![expect(
    unsafe_code,
    reason = "nix wraps neither pidfd_open nor pidfd_send_signal"
)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;

use super::procfs::Stat;

/// A handle on one process.
#[derive(Debug)]
pub(crate) struct PidFd(OwnedFd);

impl PidFd {
    /// Opens exactly the process that `stat` was read of; absent if it is gone (or may not be seen).
    pub(crate) fn of(stat: &Stat) -> Option<Self> {
        let pid = libc::pid_t::try_from(stat.pid).ok()?;
        // SAFETY: pidfd_open takes two integers and touches no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = RawFd::try_from(Errno::result(fd).ok()?).ok()?;
        // SAFETY: the kernel has just made this descriptor (CLOEXEC) for us, and nothing else knows its number.
        let handle = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        // Between the scan and pidfd_open the number may have gone to another process.
        let now = Stat::of(stat.pid)?;
        (now.start_ticks == stat.start_ticks).then_some(handle)
    }

    /// Sends a signal. `ESRCH`: it has been reaped meanwhile.
    pub(crate) fn send(&self, signal: Signal) -> Result<(), Errno> {
        // SAFETY: a null siginfo means "as kill() would"; the other arguments are integers.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                signal as libc::c_int,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        Errno::result(result).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn it_signals_the_process_that_was_seen_and_never_a_successor() {
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .expect("sleep exists");
        let stat = Stat::of(child.id()).expect("it runs");
        let successor = Stat {
            start_ticks: stat.start_ticks + 1,
            ..stat.clone()
        };
        assert!(PidFd::of(&successor).is_none());

        let handle = PidFd::of(&stat).expect("it runs");
        handle.send(Signal::SIGKILL).expect("it is ours");
        assert_eq!(child.wait().expect("ours").signal(), Some(9));
        assert_eq!(handle.send(Signal::SIGKILL), Err(Errno::ESRCH));
        assert!(PidFd::of(&stat).is_none());
    }
}
