//! The host's memory as vLLM's CPU platform counts it.
//!
//! From 0.23 on it refuses to start unless its share (`gpu_memory_utilization`) of *all* memory of its NUMA node is free,
//! where free means free, or held by the page cache and reclaimable; a cgroup's limit caps both.

use std::fs;
use std::path::Path;

/// In bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostMemory {
    pub(super) total: u64,
    pub(super) available: u64,
}

impl HostMemory {
    /// Of the first NUMA node that this process may use; absent if `/sys` and `/proc` do not say.
    pub(super) fn read() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let node = first_node(&status).unwrap_or(0);
        let memory = fs::read_to_string(format!("/sys/devices/system/node/node{node}/meminfo"))
            .ok()
            .and_then(|text| Self::of_node(&text))
            .or_else(|| Self::of_host(&fs::read_to_string("/proc/meminfo").ok()?))?;
        Some(memory.capped(cgroup(Path::new("/sys/fs/cgroup"))))
    }

    /// `Node 0 MemTotal: 97421888 kB` ...
    fn of_node(text: &str) -> Option<Self> {
        let of = |key| kilobytes(text, key);
        Some(Self {
            total: of("MemTotal:")?,
            available: of("MemFree:")?
                + of("Active(file):")?
                + of("Inactive(file):")?
                + of("SReclaimable:")?,
        })
    }

    fn of_host(text: &str) -> Option<Self> {
        Some(Self {
            total: kilobytes(text, "MemTotal:")?,
            available: kilobytes(text, "MemAvailable:")?,
        })
    }

    fn capped(self, cgroup: Option<(u64, u64)>) -> Self {
        match cgroup {
            Some((limit, used)) if limit < self.total => Self {
                total: limit,
                available: self.available.min(limit.saturating_sub(used)),
            },
            _ => self,
        }
    }

    pub(super) fn used(self) -> u64 {
        self.total.saturating_sub(self.available)
    }
}

/// The value of a line `... KEY  123 kB`, in bytes.
pub(super) fn kilobytes(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line
            .split_ascii_whitespace()
            .skip_while(|word| *word != key);
        words.next()?;
        Some(words.next()?.parse::<u64>().ok()? * 1024)
    })
}

/// Limit and usage, of version 2 or 1; absent if there is no limit.
pub(super) fn cgroup(root: &Path) -> Option<(u64, u64)> {
    let number = |file: &str| -> Option<u64> {
        fs::read_to_string(root.join(file))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    let v1_limit = || number("memory/memory.limit_in_bytes").filter(|limit| *limit < 1 << 62);
    match number("memory.max") {
        Some(limit) => Some((limit, number("memory.current").unwrap_or(0))),
        None => Some((
            v1_limit()?,
            number("memory/memory.usage_in_bytes").unwrap_or(0),
        )),
    }
}

/// `Mems_allowed_list: 0-1,3` gives 0.
fn first_node(status: &str) -> Option<u32> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Mems_allowed_list:"))?;
    list.trim().split([',', '-']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_page_cache_counts_as_free() {
        let text = "\
Node 0 MemTotal:       1000 kB
Node 0 MemFree:         100 kB
Node 0 Active(file):     20 kB
Node 0 Inactive(file):    3 kB
Node 0 SReclaimable:      4 kB
";
        assert_eq!(
            HostMemory::of_node(text),
            Some(HostMemory {
                total: 1000 * 1024,
                available: 127 * 1024
            })
        );
    }

    #[test]
    fn a_cgroup_caps_total_and_available() {
        let host = HostMemory {
            total: 1000,
            available: 900,
        };
        let capped = host.capped(Some((500, 200)));
        assert_eq!(
            (capped.total, capped.available, capped.used()),
            (500, 300, 200)
        );
        assert_eq!(host.capped(Some((2000, 1500))), host);
        assert_eq!(host.capped(None), host);
    }

    #[test]
    fn limits_of_both_cgroup_versions_are_found() {
        let dir = tempfile::tempdir().expect("tempdir");
        assert_eq!(cgroup(dir.path()), None);
        fs::create_dir(dir.path().join("memory")).expect("made");
        let write =
            |file: &str, text: &str| fs::write(dir.path().join(file), text).expect("written");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(cgroup(dir.path()), None, "v1's way to say there is none");
        write("memory/memory.limit_in_bytes", "5000\n");
        write("memory/memory.usage_in_bytes", "4000\n");
        assert_eq!(cgroup(dir.path()), Some((5000, 4000)));
        write("memory.max", "max\n");
        assert_eq!(cgroup(dir.path()), Some((5000, 4000)));
        write("memory.max", "700\n");
        write("memory.current", "70\n");
        assert_eq!(cgroup(dir.path()), Some((700, 70)));
    }

    #[test]
    fn the_first_allowed_node_is_the_one() {
        assert_eq!(first_node("A:\t1\nMems_allowed_list:\t2-3,5\n"), Some(2));
        assert_eq!(first_node(""), None);
    }

    #[test]
    fn this_host_has_memory() {
        let memory = HostMemory::read().expect("on Linux");
        assert!(memory.available <= memory.total && memory.total > 1 << 26);
    }
}
