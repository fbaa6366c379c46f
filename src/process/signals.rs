//! Signals that ask rollbench to stop. The first asks for an orderly end with all results, the second for the end.

use std::io;

use nix::libc;
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Receives SIGINT, SIGTERM and SIGHUP. Clones see the same signals; every method may be called again and dropped.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    /// The signals so far, as numbers.
    received: watch::Receiver<Vec<i32>>,
}

impl Interrupt {
    /// Takes the signals over from now on. Must be called within a tokio runtime. A SIGHUP that whoever started
    /// rollbench has chosen to ignore (`nohup`) stays ignored.
    pub(crate) fn install() -> io::Result<Self> {
        let (sender, received) = watch::channel(Vec::new());
        for kind in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            if kind == Signal::SIGHUP && is_ignored(kind) {
                continue;
            }
            let mut signals = signal(SignalKind::from_raw(kind as i32))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    sender.send_modify(|received| received.push(kind as i32));
                }
            });
        }
        Ok(Self { received })
    }

    /// The first signal that came; absent so far.
    pub(crate) fn signal(&self) -> Option<i32> {
        self.received.borrow().first().copied()
    }

    /// Waits for the first signal and returns its number: stop in order.
    pub(crate) async fn first(&self) -> i32 {
        self.nth(0).await
    }

    /// Waits for the second signal and returns its number: stop at once.
    pub(crate) async fn second(&self) -> i32 {
        self.nth(1).await
    }

    async fn nth(&self, n: usize) -> i32 {
        let mut received = self.received.clone();
        let enough = received.wait_for(|received| received.len() > n).await;
        match enough {
            Ok(received) => received[n],
            // The runtime is shutting down, and with it whoever waits.
            Err(_) => std::future::pending().await,
        }
    }
}

#[expect(
    unsafe_code,
    reason = "nix cannot ask for a disposition without changing it"
)]
fn is_ignored(signal: Signal) -> bool {
    // SAFETY: with a null new action sigaction only fills in the old one, for which all zeroes is a valid value.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal as libc::c_int, std::ptr::null(), &raw mut old) == 0
            && old.sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::signal::raise;

    use super::*;

    #[tokio::test]
    async fn the_first_and_the_second_signal_are_told_apart() {
        let interrupt = Interrupt::install().expect("a runtime is there");
        assert_eq!(interrupt.signal(), None);
        raise(Signal::SIGINT).expect("to ourselves");
        assert_eq!(interrupt.first().await, 2);
        let second = tokio::time::timeout(Duration::from_millis(50), interrupt.second()).await;
        assert!(second.is_err(), "only one signal was sent");
        raise(Signal::SIGTERM).expect("to ourselves");
        assert_eq!(interrupt.second().await, 15);
        assert_eq!((interrupt.first().await, interrupt.signal()), (2, Some(2)));
    }
}
