//! Ending a tree of processes round by round, until the caller finds it empty.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::pidfd::PidFd;
use super::procfs::Stat;
use crate::record::Leak;

/// Then what is left is stuck in the kernel: it is named, not waited for.
const LIMIT: Duration = Duration::from_secs(30);
/// How long multiprocessing's tracker may outlive everything else. It unlinks the shared memory of the dead; ended
/// with the others, it leaves segments in `/dev/shm`.
const TRACKER_GRACE: Duration = Duration::from_secs(2);

/// One sweep: who was found, and since when.
#[derive(Debug)]
pub(super) struct Sweeper {
    begun: Instant,
    /// The last round in which something else than a tracker was alive.
    busy: Instant,
    found: HashMap<(u32, u64), Stray>,
}

#[derive(Debug)]
struct Stray {
    stat: Stat,
    command: String,
    killed: bool,
}

impl Stray {
    fn is_tracker(&self) -> bool {
        self.command.contains("multiprocessing.resource_tracker")
    }
}

impl Sweeper {
    pub(super) fn begin() -> Self {
        let now = Instant::now();
        Self {
            begun: now,
            busy: now,
            found: HashMap::new(),
        }
    }

    /// Sends SIGKILL to all `targets` but trackers that still have time. False once the time for the whole sweep is up.
    pub(super) fn round<'a>(&mut self, targets: impl IntoIterator<Item = &'a Stat>) -> bool {
        let now = Instant::now();
        let alive: Vec<(u32, u64)> = targets
            .into_iter()
            .filter(|stat| !stat.is_dead())
            .map(|stat| {
                let key = (stat.pid, stat.start_ticks);
                self.found.entry(key).or_insert_with(|| Stray {
                    stat: stat.clone(),
                    command: stat.command(),
                    killed: false,
                });
                key
            })
            .collect();
        if alive.iter().any(|key| !self.found[key].is_tracker()) {
            self.busy = now;
        }
        let trackers_too = now - self.busy >= TRACKER_GRACE;
        for key in alive {
            let Some(found) = self.found.get_mut(&key) else {
                continue;
            };
            if found.is_tracker() && !trackers_too {
                continue;
            }
            // Every round again: a handle that could not be opened (no descriptor left) may be had later.
            if let Some(handle) = PidFd::of(&found.stat)
                && handle.send(Signal::SIGKILL).is_ok()
            {
                found.killed = true;
            }
        }
        now - self.begun < LIMIT
    }

    /// Everything that had to be ended, and everything that could not be.
    pub(super) fn leaks(&self) -> Vec<Leak> {
        let mut leaks: Vec<Leak> = self
            .found
            .values()
            .filter_map(|found| {
                let alive = found.stat.is_alive();
                (found.killed || alive).then(|| Leak {
                    pid: found.stat.pid,
                    name: found.stat.comm.clone(),
                    command: found.command.clone(),
                    ended: !alive,
                })
            })
            .collect();
        leaks.sort_by_key(|leak| leak.pid);
        leaks
    }
}
