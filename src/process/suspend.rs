//! Whether rollbench or the machine stood still for a while: a time measured across that is not a measurement.
//!
//! Ctrl-Z stops rollbench alone. The engine, in a session of its own, runs on: stopping it would trip the time limits of
//! its own processes when it goes on, and the step is measured again anyway.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::clock::{boot_ns, mono_ns};

/// The clocks are read one after the other; a process that waits for its turn between them is not a machine that sleeps.
const NOISE_NS: u64 = 100_000_000;

/// How often this process was continued after a stop.
static CONTINUED: AtomicU64 = AtomicU64::new(0);

/// Notices stops (Ctrl-Z, SIGSTOP) of this process and suspends of the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SuspendWatch(());

/// A moment to look back to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SuspendMark {
    continued: u64,
    slept_ns: u64,
}

/// What stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// This process was stopped and continued.
    Stopped,
    /// The machine was suspended for so long.
    Suspended(Duration),
}

impl std::fmt::Display for Pause {
    /// As a reason for which a step is invalid.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stopped => f.write_str("rollbench was stopped and continued (Ctrl-Z or SIGSTOP)"),
            Self::Suspended(time) => {
                write!(
                    f,
                    "the machine was suspended for {:.1} s",
                    time.as_secs_f64()
                )
            }
        }
    }
}

#[expect(
    clippy::unused_self,
    clippy::trivially_copy_pass_by_ref,
    reason = "only who installed the watch may ask it"
)]
impl SuspendWatch {
    /// Begins to notice.
    pub(crate) fn install() -> std::io::Result<Self> {
        let action = SigAction::new(
            SigHandler::Handler(count),
            SaFlags::SA_RESTART,
            SigSet::empty(),
        );
        #[expect(unsafe_code, reason = "a signal handler")]
        // SAFETY: the handler only adds to an atomic, which is safe at any instant.
        unsafe { sigaction(Signal::SIGCONT, &action) }?;
        Ok(Self(()))
    }

    /// Now.
    pub(crate) fn mark(&self) -> SuspendMark {
        SuspendMark {
            continued: CONTINUED.load(Ordering::SeqCst),
            slept_ns: boot_ns().saturating_sub(mono_ns()),
        }
    }

    /// Whether anything stood still since `mark`. A SIGCONT that nothing stopped before (the shell's `fg`) counts: a step
    /// too many measured twice is better than a wrong one.
    pub(crate) fn since(&self, mark: &SuspendMark) -> Option<Pause> {
        self.mark().after(mark)
    }
}

impl SuspendMark {
    fn after(self, earlier: &Self) -> Option<Pause> {
        let slept = self.slept_ns.saturating_sub(earlier.slept_ns);
        if slept > NOISE_NS {
            Some(Pause::Suspended(Duration::from_nanos(slept)))
        } else if self.continued != earlier.continued {
            Some(Pause::Stopped)
        } else {
            None
        }
    }
}

extern "C" fn count(_: libc::c_int) {
    CONTINUED.fetch_add(1, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continuation_and_a_suspend_are_seen_and_time_alone_is_not() {
        let watch = SuspendWatch::install().expect("allowed");
        let before = watch.mark();
        assert_eq!(watch.since(&before), None);
        nix::sys::signal::raise(Signal::SIGCONT).expect("to ourselves");
        assert_eq!(watch.since(&before), Some(Pause::Stopped));
        assert_eq!(watch.since(&watch.mark()), None);

        let woken = SuspendMark {
            slept_ns: before.slept_ns + 2_000_000_000,
            ..before
        };
        let pause = Pause::Suspended(Duration::from_secs(2));
        assert_eq!(woken.after(&before), Some(pause));
        assert_eq!(pause.to_string(), "the machine was suspended for 2.0 s");
    }
}
