//! Processes as the kernel knows them: who belongs to a test's world, who is alive, and strangers that must stay so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Far above what anything here takes, far below what a person waits.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Python itself, not a launcher script of a version manager.
pub(crate) fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let output = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output()
            .expect("python3 is on PATH");
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    })
}

pub(crate) fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fakes/tree.py")
}

/// Pid and start time: a number alone is used again.
pub(crate) type Identity = (u32, u64);

/// Absent if there is no such process, or only what waits to be reaped.
pub(crate) fn identity(pid: u32) -> Option<Identity> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat[stat.rfind(')')? + 2..].split(' ').collect();
    (fields[0] != "Z" && fields[0] != "X").then_some(())?;
    Some((pid, fields[19].parse().ok()?))
}

fn pids() -> Vec<u32> {
    fs::read_dir("/proc")
        .expect("/proc is there")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Every live process that bears the path of `world` in its environment or command line, or runs a binary below it.
pub(crate) fn inhabitants(world: &Path) -> Vec<u32> {
    let mark = world.as_os_str().as_encoded_bytes();
    let lives_there = |pid: &u32| {
        let has = |file: &str| {
            fs::read(format!("/proc/{pid}/{file}"))
                .is_ok_and(|text| text.windows(mark.len()).any(|window| window == mark))
        };
        let runs =
            || fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.starts_with(world));
        identity(*pid).is_some() && (has("environ") || has("cmdline") || runs())
    };
    pids().into_iter().filter(lives_there).collect()
}

/// Ends them, for tests that failed.
pub(crate) fn end(pids: &[u32]) {
    for pid in pids {
        send(*pid, Signal::SIGKILL);
    }
}

/// Sends a signal, unless it has ended meanwhile.
pub(crate) fn send(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), signal);
}

/// The binary of this build, or another (a release) that `ROLLBENCH_BIN` names.
fn original() -> PathBuf {
    std::env::var_os("ROLLBENCH_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_rollbench").into(), PathBuf::from)
}

/// A copy of the binary in `world`, which nobody else runs.
pub(crate) fn install(world: &Path) {
    let binary = world.join("rollbench");
    let original = original();
    fs::hard_link(&original, &binary)
        .or_else(|_| fs::copy(&original, &binary).map(drop))
        .expect("the binary can be copied");
}

/// A tree with vLLM's names that rollbench has not started.
pub(crate) struct Bystander {
    child: Child,
    members: Vec<Identity>,
    _dir: tempfile::TempDir,
}

impl Bystander {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let list = dir.path().join("list");
        let child = Command::new(python())
            .arg(tree())
            .arg(&list)
            .stdin(Stdio::null())
            .spawn()
            .expect("python starts");
        let begun = Instant::now();
        let text = loop {
            let text = fs::read_to_string(&list).unwrap_or_default();
            if text.contains("ready") {
                break text;
            }
            assert!(begun.elapsed() < PATIENCE, "the bystander does not start");
            sleep(Duration::from_millis(10));
        };
        let members: Vec<Identity> = text
            .lines()
            .filter_map(|line| identity(line.split_once(' ')?.1.parse().ok()?))
            .collect();
        assert_eq!(members.len(), 4, "leader, core, two workers");
        Self {
            child,
            members,
            _dir: dir,
        }
    }

    /// How many of it are gone.
    pub(crate) fn harmed(&self) -> usize {
        let alive = |who: &&Identity| identity(who.0) != Some(**who);
        self.members.iter().filter(alive).count()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        for (pid, _) in &self.members {
            send(*pid, Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}
