//! The machine.

use std::fs;
use std::path::Path;

use nix::libc::RLIM_INFINITY;
use nix::sys::resource::{Resource, getrlimit};

use super::cpu;
use crate::record::Host;

/// Describes this machine.
pub(crate) fn host() -> Host {
    let uname = nix::sys::utsname::uname().ok();
    let text = |part: Option<&std::ffi::OsStr>| {
        part.map(|text| text.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    Host {
        name: text(uname.as_ref().map(nix::sys::utsname::UtsName::nodename)),
        kernel: text(uname.as_ref().map(nix::sys::utsname::UtsName::release)),
        cpu: cpu_model(&info)
            .unwrap_or_else(|| text(uname.as_ref().map(nix::sys::utsname::UtsName::machine))),
        cpus: std::thread::available_parallelism()
            .ok()
            .and_then(|count| u32::try_from(count.get()).ok())
            .unwrap_or(1),
        memory_bytes: cpu::kilobytes(&memory, "MemTotal:").unwrap_or(0),
    }
}

/// What this process can still take, in bytes, and what limits it; absent if nothing says.
pub(crate) fn memory_left() -> Option<(u64, &'static str)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let free = cpu::kilobytes(&read("/proc/meminfo"), "MemAvailable:");
    let group = Path::new(CGROUP);
    // What files are kept in memory for gives way.
    let files = cached(&read(&format!("{CGROUP}/memory.stat")))
        .or_else(|| cached(&read(&format!("{CGROUP}/memory/memory.stat"))));
    let allowed = cpu::cgroup(group)
        .map(|(limit, used)| limit.saturating_sub(used.saturating_sub(files.unwrap_or(0))));
    let taken = cpu::kilobytes(&read("/proc/self/status"), "VmSize:").unwrap_or(0);
    let addresses = match getrlimit(Resource::RLIMIT_AS) {
        Ok((soft, _)) if soft != RLIM_INFINITY => Some(soft.saturating_sub(taken)),
        _ => None,
    };
    let limits = [
        (free, "this machine has left"),
        (allowed, "its cgroup leaves"),
        (addresses, "`ulimit -v` leaves"),
    ];
    limits
        .into_iter()
        .filter_map(|(bytes, whose)| Some((bytes?, whose)))
        .min()
}

const CGROUP: &str = "/sys/fs/cgroup";

/// `file 4096` of version 2, `cache 4096` of version 1.
fn cached(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| match line.split_once(' ')? {
        ("file" | "cache", bytes) => bytes.parse().ok(),
        _ => None,
    })
}

/// Absent on most ARM machines, whose kernel knows only numbers.
fn cpu_model(info: &str) -> Option<String> {
    info.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        let value = value.trim();
        (matches!(key.trim(), "model name" | "Model Name") && !value.is_empty())
            .then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_says_what_it_is() {
        let host = host();
        assert!(!host.name.is_empty() && !host.kernel.is_empty() && !host.cpu.is_empty());
        assert!(host.cpus > 0 && host.memory_bytes > 0);
    }

    #[test]
    fn memory_is_left_and_files_in_it_give_way() {
        let (left, whose) = memory_left().expect("known here");
        assert!(left > 0, "{whose}");
        assert_eq!(cached("anon 1\nfile 4096\nfile_mapped 2\n"), Some(4096));
        assert_eq!(cached("cache 7\nrss 1\n"), Some(7));
    }

    #[test]
    fn a_processor_without_a_name_is_no_name() {
        let x86 = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Some CPU @ 2GHz\n";
        assert_eq!(cpu_model(x86).as_deref(), Some("Some CPU @ 2GHz"));
        assert_eq!(cpu_model("processor\t: 0\nCPU part\t: 0xd01\n"), None);
    }
}
