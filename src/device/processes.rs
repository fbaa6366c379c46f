//! Who a process id on a device belongs to, as far as that can be told from here.

use std::fs;

use jiff::Timestamp;

use super::Platform;
use crate::process::{RUN_VARIABLE, Snapshot, Stat, uid, user_name, variable};
use crate::record::{Holder, redact};

/// A process that we can see and that may well be the one on the device.
#[derive(Debug)]
pub(super) struct Resident(Stat);

impl Resident {
    /// Absent if there is no such process here, or it provably has no device open: in a container the device's tool
    /// reports the host's numbers, and a process of ours that happens to bear one must not be accused.
    pub(super) fn find(platform: Platform, pid: u32) -> Option<Self> {
        let stat = Stat::of(pid).filter(|stat| !stat.is_dead())?;
        (has_device_open(platform, pid) != Some(false)).then_some(Self(stat))
    }

    pub(super) fn command(&self) -> String {
        self.0.command()
    }

    fn user(&self) -> Option<String> {
        uid(self.0.pid).map(user_name)
    }

    fn since(&self) -> Option<Timestamp> {
        self.0.started()
    }

    /// Whether it bears the mark of the run `ours`, or is below us.
    pub(super) fn belongs_to(&self, ours: Option<&str>) -> bool {
        (ours.is_some() && variable(self.0.pid, RUN_VARIABLE).as_deref() == ours)
            || Snapshot::take()
                .descendants(std::process::id(), &[])
                .iter()
                .any(|stat| stat.pid == self.0.pid)
    }
}

/// A holder of device memory with all that can be told of it.
pub(super) fn holder(
    platform: Platform,
    pid: u32,
    memory_bytes: Option<u64>,
    ours: Option<&str>,
) -> Holder {
    let resident = Resident::find(platform, pid);
    Holder {
        pid,
        user: resident.as_ref().and_then(Resident::user),
        command: resident.as_ref().map(|r| redact::command(&r.command())),
        since: resident.as_ref().and_then(Resident::since),
        memory_bytes,
        ours: resident.as_ref().is_some_and(|r| r.belongs_to(ours)),
    }
}

/// The `count` processes with the most memory of their own, biggest first.
pub(super) fn biggest(count: usize) -> Vec<(u32, u64)> {
    let mut sizes: Vec<(u32, u64)> = Snapshot::take()
        .all()
        .filter_map(|stat| {
            let status = fs::read_to_string(format!("/proc/{}/status", stat.pid)).ok()?;
            let of = |key: &str| super::cpu::kilobytes(&status, key).unwrap_or(0);
            Some((stat.pid, of("RssAnon:") + of("RssShmem:")))
        })
        .filter(|(_, bytes)| *bytes > 0)
        .collect();
    sizes.sort_by_key(|&(pid, bytes)| (std::cmp::Reverse(bytes), pid));
    sizes.truncate(count);
    sizes
}

/// Absent if that may not be looked at.
fn has_device_open(platform: Platform, pid: u32) -> Option<bool> {
    let device = match platform {
        Platform::Cpu => return None,
        Platform::Cuda => "/dev/nvidia",
        Platform::Npu => "/dev/davinci",
    };
    let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    Some(
        open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .any(|target| target.to_string_lossy().starts_with(device)),
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn a_process_without_a_device_is_not_taken_for_a_holder() {
        let me = std::process::id();
        assert!(Resident::find(Platform::Npu, me).is_none());
        let unknown = holder(Platform::Npu, me, Some(5), None);
        assert_eq!(
            (unknown.pid, unknown.command, unknown.ours),
            (me, None, false)
        );
    }

    #[test]
    fn a_process_of_ours_is_known_as_ours_with_its_user_and_start() {
        let mut child = std::process::Command::new("cat")
            .arg("-u")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("cat exists");
        // Once it answers, its exec is over and `/proc` has its command line.
        let mut echo = [0];
        child
            .stdin
            .as_mut()
            .expect("a pipe")
            .write_all(b"?")
            .expect("it reads");
        child
            .stdout
            .as_mut()
            .expect("a pipe")
            .read_exact(&mut echo)
            .expect("it answers");
        let held = holder(Platform::Cpu, child.id(), None, None);
        child.kill().expect("ours");
        child.wait().expect("ours");
        assert!(held.ours && held.since.is_some());
        assert_eq!(held.command.as_deref(), Some("cat -u"));
        assert_eq!(
            held.user,
            Some(user_name(nix::unistd::Uid::effective().as_raw()))
        );
    }
}
