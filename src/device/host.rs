//! The machine.

use std::fs;

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
        memory_bytes: super::cpu::kilobytes(&memory, "MemTotal:").unwrap_or(0),
    }
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
    fn a_processor_without_a_name_is_no_name() {
        let x86 = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Some CPU @ 2GHz\n";
        assert_eq!(cpu_model(x86).as_deref(), Some("Some CPU @ 2GHz"));
        assert_eq!(cpu_model("processor\t: 0\nCPU part\t: 0xd01\n"), None);
    }
}
