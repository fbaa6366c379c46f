//! The second line behind the guard: rollbench is a subreaper too. If a guard is killed, what it watched becomes
//! rollbench's own, and is swept here.
//!
//! `waitpid(-1)` would steal exit statuses from the runtime, so only processes that were found by a scan are reaped. They
//! are told apart by their session: a guard begins a new one before it starts anything, and rollbench's other children
//! (`npu-smi`, a Python that is probed) stay in rollbench's.

use std::sync::Mutex;

use super::procfs::{Snapshot, Stat};
use super::sweep::Sweeper;
use super::wait;
use crate::record::Leak;

/// The guards that are not known to be dead. What is below them is theirs.
static GUARDS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// The sweep in a dead guard's place.
pub(super) struct Orphans {
    session: u32,
    guards: Vec<u32>,
    sweeper: Sweeper,
}

impl Orphans {
    /// Notes a guard as alive.
    pub(super) fn register(guard: u32) {
        with_guards(|guards| guards.push(guard));
    }

    /// Notes a guard as dead and reaped.
    pub(super) fn unregister(guard: u32) {
        with_guards(|guards| guards.retain(|&g| g != guard));
    }

    /// Begins the sweep of what `guard`, which is dead and reaped, has left.
    pub(super) fn of(guard: u32) -> Self {
        Self::unregister(guard);
        Self {
            session: Stat::of(std::process::id()).map_or(0, |me| me.session),
            guards: with_guards(|guards| guards.clone()),
            sweeper: Sweeper::begin(),
        }
    }

    /// One round; false once nothing is left, or the time is up.
    pub(super) fn round(&mut self) -> bool {
        let snapshot = Snapshot::take();
        let orphans: Vec<&Stat> = snapshot
            .descendants(std::process::id(), &self.guards)
            .into_iter()
            .filter(|stat| stat.session != self.session)
            .collect();
        for dead in orphans.iter().filter(|stat| stat.is_dead()) {
            // Only succeeds for our own children; a deeper one is reaped by its parent, or here once that is dead.
            wait::reap(dead.pid);
        }
        !orphans.is_empty() && self.sweeper.round(orphans)
    }

    /// How many were ended, and the leaks. Nothing had been asked to end politely by a guard that was killed, but a guard
    /// that dies is a fault: all that outlived it are named.
    pub(super) fn report(self) -> (usize, Vec<Leak>) {
        let leaks = self.sweeper.leaks();
        (leaks.iter().filter(|leak| leak.ended).count(), leaks)
    }
}

fn with_guards<T>(f: impl FnOnce(&mut Vec<u32>) -> T) -> T {
    // A panic elsewhere leaves a list of numbers as good as it was.
    f(&mut GUARDS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner))
}
