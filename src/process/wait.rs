//! Waiting for children without taking their status away, and reaping exactly one.
#![expect(
    unsafe_code,
    reason = "nix's waitid refuses a child that was ended by a real-time signal, and would never get past it"
)]

use nix::errno::Errno;
use nix::libc;

use crate::record::ExitStatus;

/// What the kernel says of all children of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Children {
    /// There are none, dead or alive. Under a subreaper this proves that no descendant is left.
    None,
    /// There are some, and none of them is dead.
    Alive,
    /// This one has ended and waits to be reaped.
    Dead { pid: u32, status: ExitStatus },
}

/// Looks without reaping.
pub(super) fn look() -> Result<Children, Errno> {
    match wait(libc::P_ALL, 0, libc::WNOWAIT) {
        Ok(None) => Ok(Children::Alive),
        Ok(Some((pid, status))) => Ok(Children::Dead { pid, status }),
        Err(Errno::ECHILD) => Ok(Children::None),
        Err(errno) => Err(errno),
    }
}

/// Reaps the child `pid` if it has ended. Absent if it has not, or is not our child.
pub(super) fn reap(pid: u32) -> Option<ExitStatus> {
    wait(libc::P_PID, pid, 0).ok().flatten().map(|(_, s)| s)
}

fn wait(
    kind: libc::idtype_t,
    id: u32,
    flags: libc::c_int,
) -> Result<Option<(u32, ExitStatus)>, Errno> {
    loop {
        // SAFETY: siginfo_t is plain data, for which all zeroes is a valid value; the kernel fills it in.
        let (result, info) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let result = libc::waitid(
                kind,
                id,
                &raw mut info,
                libc::WEXITED | libc::WNOHANG | flags,
            );
            (result, info)
        };
        match Errno::result(result) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => {
                // SAFETY: waitid has filled in the SIGCHLD form of the union, or left it zero: no child has ended.
                let (pid, value) = unsafe { (info.si_pid(), info.si_status()) };
                let status = match info.si_code {
                    libc::CLD_EXITED => ExitStatus {
                        code: Some(value),
                        signal: None,
                    },
                    _ => ExitStatus {
                        code: None,
                        signal: Some(value),
                    },
                };
                let pid = u32::try_from(pid).unwrap_or(0);
                return Ok((pid != 0).then_some((pid, status)));
            }
        }
    }
}
