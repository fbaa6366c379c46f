//! What `/proc` tells of processes. `/proc/PID/task/TID/children` can be absent (and is unreliable while the tree
//! moves), so trees are built from every process's parent.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use jiff::Timestamp;

/// What of `/proc/PID/stat` supervision needs. A process is identified by `pid` and `start_ticks` together: the
/// number alone is used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Process id.
    pub(crate) pid: u32,
    /// Its name, cut to 15 bytes by the kernel; may hold blanks and brackets.
    pub(crate) comm: String,
    /// `R`, `S`, `D`, `Z` ...
    pub(crate) state: char,
    /// Its parent.
    pub(crate) ppid: u32,
    /// Its session.
    pub(crate) session: u32,
    /// The processor time that it used, in clock ticks, without its children's.
    pub(crate) cpu_ticks: u64,
    /// When it was started, in clock ticks since boot.
    pub(crate) start_ticks: u64,
}

impl Stat {
    /// Of a process; absent if there is none (or `/proc` hides it).
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Parses `pid (comm) state ppid ...`. The name may itself hold `)`, so the fields begin after the last one.
    fn parse(stat: &[u8]) -> Option<Self> {
        let open = memchr::memchr(b'(', stat)?;
        let close = memchr::memrchr(b')', stat)?;
        let pid = std::str::from_utf8(&stat[..open]).ok()?.trim_end();
        let comm = stat.get(open + 1..close)?;
        let mut fields = std::str::from_utf8(&stat[close + 1..])
            .ok()?
            .split_ascii_whitespace();
        let (pid, comm) = (
            pid.parse().ok()?,
            String::from_utf8_lossy(comm).into_owned(),
        );
        Some(Self {
            pid,
            comm,
            state: fields.next()?.chars().next()?,
            ppid: fields.next()?.parse().ok()?,
            session: fields.nth(1)?.parse().ok()?,
            // Fields 14, 15 and 22 of proc(5), counted from 1 with the pid.
            cpu_ticks: fields.nth(7)?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?,
            start_ticks: fields.nth(6)?.parse().ok()?,
        })
    }

    /// Whether it has ended and waits to be reaped.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// Whether this very process is still there (a zombie counts as gone).
    pub(crate) fn is_alive(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| now.start_ticks == self.start_ticks && !now.is_dead())
    }

    /// The processor time that it used, without its children's; zero where the length of a tick cannot be told.
    pub(crate) fn cpu_time(&self) -> Duration {
        ticks_per_second().map_or(Duration::ZERO, |ticks| {
            Duration::from_millis(self.cpu_ticks * 1000 / ticks)
        })
    }

    /// When it was started; absent where the boot time cannot be read.
    pub(crate) fn started(&self) -> Option<Timestamp> {
        let ticks = ticks_per_second()?;
        let boot: i64 = fs::read_to_string("/proc/stat")
            .ok()?
            .lines()
            .find_map(|line| line.strip_prefix("btime "))?
            .trim()
            .parse()
            .ok()?;
        let since_boot = i64::try_from(self.start_ticks / ticks).ok()?;
        Timestamp::from_second(boot + since_boot).ok()
    }

    /// Its command line, arguments joined by blanks, cut to 200 characters; its name in brackets where the kernel
    /// tells none. Not read of a process in state `D`: the read could get stuck on the same lock.
    pub(crate) fn command(&self) -> String {
        let raw = match self.state {
            'D' => Vec::new(),
            _ => fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default(),
        };
        // Of a stranger it may hold anything, and is shown on a terminal.
        let text = String::from_utf8_lossy(&raw).replace(char::is_control, " ");
        match text.trim_end() {
            "" => format!("[{}]", self.comm),
            text => text.chars().take(200).collect(),
        }
    }
}

fn ticks_per_second() -> Option<u64> {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    u64::try_from(ticks.ok().flatten()?).ok()
}

/// The variables of a process's environment as they stand in its memory; absent if it is another user's, or gone.
/// A process can overwrite them (`setproctitle` does).
pub(crate) fn environ(pid: u32) -> Option<Vec<OsString>> {
    let raw = fs::read(format!("/proc/{pid}/environ")).ok()?;
    Some(
        raw.split(|b| *b == 0)
            .filter(|entry| !entry.is_empty())
            .map(|entry| OsString::from_vec(entry.to_vec()))
            .collect(),
    )
}

/// The value of one variable in a process's environment.
pub(crate) fn variable(pid: u32, name: &str) -> Option<String> {
    environ(pid)?.into_iter().find_map(|entry| {
        let entry = entry.into_string().ok()?;
        let (key, value) = entry.split_once('=')?;
        (key == name).then(|| value.to_owned())
    })
}

/// The user a process runs as.
pub(crate) fn uid(pid: u32) -> Option<u32> {
    fs::metadata(format!("/proc/{pid}"))
        .ok()
        .map(|meta| meta.uid())
}

/// All processes at (nearly) one moment.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    processes: HashMap<u32, Stat>,
    children: HashMap<u32, Vec<u32>>,
}

impl Snapshot {
    /// Reads every `/proc/PID/stat`.
    pub(crate) fn take() -> Self {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Self::default();
        };
        Self::of(
            entries
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
                .filter_map(Stat::of),
        )
    }

    fn of(stats: impl IntoIterator<Item = Stat>) -> Self {
        let mut snapshot = Self::default();
        for stat in stats {
            snapshot
                .children
                .entry(stat.ppid)
                .or_default()
                .push(stat.pid);
            snapshot.processes.insert(stat.pid, stat);
        }
        snapshot
    }

    /// Everything below `root` (without it), parents first. `pruned` are left out with all that is below them.
    pub(crate) fn descendants(&self, root: u32, pruned: &[u32]) -> Vec<&Stat> {
        let mut found = Vec::new();
        // A snapshot is not of one instant: a reused number could make it a circle.
        let mut seen = HashSet::from([root]);
        let mut queue = vec![root];
        while let Some(parent) = queue.pop() {
            for &child in self.children.get(&parent).into_iter().flatten() {
                if !pruned.contains(&child) && seen.insert(child) {
                    found.extend(self.processes.get(&child));
                    queue.push(child);
                }
            }
        }
        found
    }

    /// All processes, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Stat> {
        self.processes.values()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(pid: u32, name: &str, state: char, ppid: u32, session: u32, ticks: u64) -> Vec<u8> {
        format!(
            "{pid} ({name}) {state} {ppid} 7 {session} 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 12 0 {ticks} 99 18446744073709551615 1\n"
        )
        .into_bytes()
    }

    fn stat(pid: u32, parent: u32) -> Stat {
        Stat::parse(&line(pid, "x", 'S', parent, 1, 1)).expect("well-formed")
    }

    #[test]
    fn this_process_is_found_with_its_parent_and_its_start() {
        let me = Stat::of(std::process::id()).expect("we exist");
        assert_eq!(me.ppid, std::os::unix::process::parent_id());
        let started = me.started().expect("boot time is readable");
        let age = Timestamp::now().as_second() - started.as_second();
        assert!((0..3600).contains(&age), "{age}");
        assert!(me.is_alive());
    }

    #[test]
    fn a_tree_is_found_whole_without_what_is_pruned_and_despite_a_circle() {
        let snapshot = Snapshot::of([
            stat(10, 1),
            stat(11, 10),
            stat(12, 11),
            stat(13, 10),
            stat(14, 13),
            stat(20, 1),
            stat(30, 31),
            stat(31, 30),
        ]);
        let pids = |root, pruned: &[u32]| {
            let mut pids: Vec<u32> = snapshot
                .descendants(root, pruned)
                .iter()
                .map(|s| s.pid)
                .collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(pids(10, &[]), [11, 12, 13, 14]);
        assert_eq!(pids(10, &[13]), [11, 12]);
        assert_eq!(pids(30, &[]), [31]);
        assert_eq!(pids(99, &[]), [0_u32; 0]);
    }

    proptest! {
        #[test]
        fn any_name_is_read_back(
            pid in 1_u32..5_000_000,
            comm in "[ -~]{0,15}",
            state in prop::char::range('A', 'Z'),
            ppid in 0_u32..5_000_000,
            session in 0_u32..5_000_000,
            start in any::<u64>(),
        ) {
            let parsed = Stat::parse(&line(pid, &comm, state, ppid, session, start));
            prop_assert_eq!(parsed, Some(Stat { pid, comm, state, ppid, session, cpu_ticks: 11, start_ticks: start }));
        }

        #[test]
        fn no_input_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Stat::parse(&bytes);
        }

        #[test]
        fn no_cut_makes_it_panic(cut in 0_usize..120) {
            let whole = line(1, "a) (b", 'S', 2, 3, 4);
            let _ = Stat::parse(&whole[..cut.min(whole.len())]);
        }
    }
}
