//! Evidence that the kernel's out-of-memory killer was at work: it leaves nothing in the victim's log.

use std::fs;
use std::path::{Path, PathBuf};

/// The counter of kills in our cgroup (the engine's too) as it was when the engine was started.
#[derive(Debug)]
pub(super) struct OomWatch {
    events: Option<PathBuf>,
    before: u64,
}

impl OomWatch {
    /// Reads the counter now.
    pub(super) fn begin() -> Self {
        let events = memory_events();
        let before = events.as_deref().and_then(kills).unwrap_or(0);
        Self { events, before }
    }

    /// What has happened since, in words; absent if nothing has, or if the kernel does not tell.
    pub(super) fn evidence(&self) -> Option<String> {
        let events = self.events.as_deref()?;
        let new = kills(events)?.saturating_sub(self.before);
        if new == 0 {
            return None;
        }
        let limit = fs::read_to_string(events.with_file_name("memory.max")).unwrap_or_default();
        let limit = match limit.trim().parse() {
            Ok(bytes) => format!(", limit {}", crate::units::Bytes(bytes)),
            Err(_) => String::new(),
        };
        Some(format!(
            "oom_kill rose by {new} in {}{limit}",
            events.display()
        ))
    }
}

/// `memory.events` of the cgroup (version 2) that we are in; the mount's own root in a container.
fn memory_events() -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    [root.join(path), root.to_owned()]
        .into_iter()
        .map(|folder| folder.join("memory.events"))
        .find(|file| file.is_file())
}

fn kills(events: &Path) -> Option<u64> {
    parse(&fs::read_to_string(events).ok()?)
}

fn parse(events: &str) -> Option<u64> {
    events
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_read_from_their_own_line() {
        let events = "low 0\nhigh 0\nmax 55\noom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(parse(events), Some(2));
        assert_eq!(parse("low 0\n"), None);
    }

    #[test]
    fn a_rise_is_evidence() {
        let dir = tempfile::tempdir().expect("a folder");
        let events = dir.path().join("memory.events");
        fs::write(&events, "oom_kill 2\n").expect("written");
        fs::write(dir.path().join("memory.max"), "17179869184\n").expect("written");
        let watch = OomWatch {
            before: 1,
            events: Some(events),
        };
        let told = watch.evidence().expect("one more kill");
        assert!(told.starts_with("oom_kill rose by 1 in ") && told.ends_with(", limit 17.2 GB"));
    }
}
