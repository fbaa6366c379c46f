//! What killed runs have left: processes that bear the mark of a run whose lock is free, and its files. Never by name,
//! never by port.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use nix::unistd::Uid;
use serde::Serialize;

use super::procfs::{Snapshot, Stat, uid, variable};
use super::rundir::{self, RUN_VARIABLE, RunInfo};
use super::sweep::Sweeper;
use crate::record::Leak;

/// Every run of this user that has left a trace.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Leftovers {
    /// Runs whose rollbench is gone.
    pub dead: Vec<DeadRun>,
    /// Runs that are going on; they are nobody's to clean.
    pub live: Vec<RunInfo>,
    /// Processes with the mark of a run that cannot be judged, because its folder is gone.
    pub unclaimed: Vec<Process>,
}

/// A run whose rollbench is gone.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DeadRun {
    /// Its id.
    pub id: String,
    /// What it said of itself; absent if it was killed before it could.
    pub info: Option<RunInfo>,
    /// Its folder.
    pub folder: PathBuf,
    /// Its processes that are still there.
    pub processes: Vec<Process>,
    /// Its segments in `/dev/shm`.
    pub shared_memory: Vec<PathBuf>,
}

/// A process as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Process {
    /// Its process id.
    pub pid: u32,
    /// The user it runs as; the number where there is no name.
    pub user: String,
    /// Its command line, cut to 200 characters.
    pub command: String,
    /// When it was started; absent if it cannot be told.
    pub since: Option<Timestamp>,
}

impl Process {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            pid: stat.pid,
            user: uid(stat.pid).map(user_name).unwrap_or_default(),
            command: stat.command(),
            since: stat.started(),
        }
    }
}

/// Looks for what killed runs of this user have left, and touches nothing.
pub(crate) fn leftovers() -> Leftovers {
    let mut marked = marked();
    let mut found = Leftovers::default();
    for folder in rundir::roots()
        .iter()
        .filter_map(|root| fs::read_dir(root).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
    {
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let (id, in_the_making) = rundir::read_name(name);
        let id = id.to_owned();
        if !rundir::is_dead(&folder) {
            marked.remove(&id);
            found.live.extend(rundir::read_info(&folder));
            continue;
        }
        if in_the_making {
            continue;
        }
        let info = rundir::read_info(&folder).filter(|info| info.id == id);
        let processes = marked
            .remove(&id)
            .unwrap_or_default()
            .iter()
            .filter(|stat| info.as_ref().is_some_and(|info| may_belong(stat, info)))
            .map(Process::of)
            .collect();
        found.dead.push(DeadRun {
            shared_memory: rundir::shared_memory(&id),
            id,
            info,
            folder,
            processes,
        });
    }
    found.unclaimed = marked.values().flatten().map(Process::of).collect();
    found.dead.sort_by(|a, b| a.id.cmp(&b.id));
    found
}

impl DeadRun {
    /// Ends its processes and removes its files. Returns the processes that were there; if one could not be ended, the
    /// files stay, so that it is found again.
    pub(crate) fn end(&self) -> Vec<Leak> {
        let mut sweeper = Sweeper::begin();
        if let Some(info) = &self.info {
            loop {
                let processes = marked().remove(&self.id).unwrap_or_default();
                let processes = processes.iter().filter(|stat| may_belong(stat, info));
                let targets: Vec<&Stat> = processes.collect();
                if targets.is_empty() || !rundir::is_dead(&self.folder) || !sweeper.round(targets) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let leaks = sweeper.leaks();
        if leaks.iter().all(|leak| leak.ended) {
            rundir::remove(&self.folder, self.info.as_ref());
        }
        leaks
    }
}

/// Processes of any user whose name and command line are `like` something, without those that bear a run's mark. For
/// listings only: nothing is ever ended because of its name.
pub(crate) fn others(like: impl Fn(&str, &str) -> bool) -> Vec<Process> {
    let snapshot = Snapshot::take();
    let mut others: Vec<Process> = snapshot
        .all()
        .filter(|stat| !stat.is_dead() && stat.pid != std::process::id())
        .filter(|stat| like(&stat.comm, &stat.command()))
        .filter(|stat| variable(stat.pid, RUN_VARIABLE).is_none())
        .map(Process::of)
        .collect();
    others.sort_by_key(|process| process.pid);
    others
}

/// The living processes of this user by the run that their environment names, with everything below them: a descendant
/// may have cleared its environment.
fn marked() -> BTreeMap<String, Vec<Stat>> {
    let snapshot = Snapshot::take();
    let me = Uid::effective().as_raw();
    let mut marked: BTreeMap<String, Vec<Stat>> = BTreeMap::new();
    let mut seen = HashSet::new();
    for stat in snapshot.all() {
        if stat.is_dead() || stat.pid == std::process::id() || uid(stat.pid) != Some(me) {
            continue;
        }
        let Some(run) = variable(stat.pid, RUN_VARIABLE) else {
            continue;
        };
        let tree = snapshot
            .descendants(stat.pid, &[])
            .into_iter()
            .chain([stat]);
        for stat in tree.filter(|stat| !stat.is_dead()) {
            if seen.insert(stat.pid) {
                marked.entry(run.clone()).or_default().push(stat.clone());
            }
        }
    }
    for processes in marked.values_mut() {
        processes.sort_by_key(|stat| stat.pid);
    }
    marked
}

/// Of the same boot, and not older than the rollbench that started the run.
fn may_belong(stat: &Stat, info: &RunInfo) -> bool {
    info.boot_id == crate::clock::boot_id() && stat.start_ticks >= info.start_ticks
}

/// The name of a user; the number where there is none.
pub(crate) fn user_name(uid: u32) -> String {
    nix::unistd::User::from_uid(Uid::from_raw(uid))
        .ok()
        .flatten()
        .map_or_else(|| uid.to_string(), |user| user.name)
}
