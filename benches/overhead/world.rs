//! A folder with one model before the fake vLLM, and a rollbench that is watched while it runs there.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use rollbench::testing::clock::mono_ns;
use rollbench::testing::record::CellRecord;
use serde_json::Value;

/// The default workload: 32 prompts x 8, 512 in, 256 out.
const MATRIX: &str = r#"schema = 1
[[precision]]
name = "bf16"
baseline = true
[[precision]]
name = "w8a8"
[[model]]
name = "m"
checkpoints = { bf16 = "bf16", w8a8 = "w8a8" }
"#;

/// The binary of this build, or another one that `ROLLBENCH_BIN` names.
pub(crate) fn rollbench() -> Command {
    Command::new(path())
}

pub(crate) fn path() -> PathBuf {
    std::env::var_os("ROLLBENCH_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_rollbench").into(), PathBuf::from)
}

/// A folder with one model before the fake vLLM.
pub(crate) struct World {
    dir: tempfile::TempDir,
    fake: String,
}

impl World {
    /// With a vLLM that behaves as `fake` (the JSON of `FAKE_VLLM`) says.
    pub(crate) fn new(fake: &Value) -> Self {
        Self::with(MATRIX, fake)
    }

    /// With another matrix of the checkpoints `bf16` and `w8a8`.
    pub(crate) fn with(matrix: &str, fake: &Value) -> Self {
        // Short, for the names of sockets.
        let dir = tempfile::Builder::new()
            .prefix("rb")
            .tempdir_in("/tmp")
            .expect("a folder");
        for precision in ["bf16", "w8a8"] {
            let folder = dir.path().join(precision);
            let config = r#"{"dtype": "bfloat16", "vocab_size": 150000}"#;
            fs::create_dir(&folder).expect("made");
            fs::write(folder.join("config.json"), config).expect("written");
            fs::write(folder.join("model.safetensors"), "weights").expect("written");
        }
        fs::write(dir.path().join("rollbench.toml"), matrix).expect("written");
        Self {
            dir,
            fake: fake.to_string(),
        }
    }

    /// `rollbench run ARGS` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Seen {
        let log = fs::File::create(self.dir.path().join("stderr")).expect("a log");
        let child = rollbench()
            .args(["run", "--python", "python3"])
            .args(args)
            .current_dir(self.dir.path())
            .env(
                "PYTHONPATH",
                concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes"),
            )
            .env("FAKE_VLLM", &self.fake)
            .env("HOME", self.dir.path())
            .env("ROLLBENCH_RUNTIME_DIR", self.dir.path().join("runs"))
            .env_remove("ROLLBENCH_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("it starts");
        let (succeeded, seen) = watch(child, &self.dir.path().join("benchmark_results/.journal"));
        let said = fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default();
        assert!(succeeded, "rollbench failed:\n{said}");
        seen
    }

    pub(crate) fn record_path(&self, precision: &str) -> PathBuf {
        self.dir
            .path()
            .join(format!("benchmark_results/m_{precision}.json"))
    }

    pub(crate) fn record(&self, precision: &str) -> CellRecord {
        let json = fs::read(self.record_path(precision)).expect("a record");
        serde_json::from_slice(&json).expect("a record is JSON")
    }
}

/// What was seen of a run from outside.
#[derive(Default)]
pub(crate) struct Seen {
    /// `VmHWM` of rollbench alone. It only grows: the last look before the end counts.
    pub(crate) peak_bytes: u64,
    /// When its journal was written to, oldest first.
    pub(crate) journal: Vec<SystemTime>,
    /// Its guards, one after the other, oldest look first.
    pub(crate) guards: Vec<GuardSeen>,
}

/// A look at a guard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GuardSeen {
    /// The monotonic clock.
    pub(crate) at_ns: u64,
    /// Processor time since it began.
    pub(crate) cpu_ns: u64,
    /// Its pages in memory, each divided by the number of processes that share it: what the machine would have more
    /// without it.
    pub(crate) share_bytes: u64,
    /// All of its pages in memory; most are of the binary and the C library, which others have mapped too.
    pub(crate) resident_bytes: u64,
}

impl GuardSeen {
    /// The guard `pid`; absent once it is gone.
    fn look(pid: u32) -> Option<Self> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        let memory = read("smaps_rollup")?;
        Some(Self {
            at_ns: mono_ns(),
            cpu_ns: read("schedstat")?.split(' ').next()?.parse().ok()?,
            share_bytes: kilobytes(&memory, "Pss:")?,
            resident_bytes: kilobytes(&memory, "Rss:")?,
        })
    }
}

/// The guard below `rollbench`; absent between engines.
fn guard_of(rollbench: u32) -> Option<u32> {
    let is_it = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.split_once("(rollbench-guard) ").map(|(_, rest)| rest);
        rest.and_then(|rest| rest.split(' ').nth(1)) == Some(&rollbench.to_string())
    };
    let entries = fs::read_dir("/proc").ok()?;
    let mut pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.find(is_it)
}

/// Until it ends, and whether it succeeded.
fn watch(mut child: Child, journal: &Path) -> (bool, Seen) {
    let status = format!("/proc/{}/status", child.id());
    let mut seen = Seen::default();
    let (mut guard, mut looked) = (None, Instant::now());
    loop {
        seen.peak_bytes = seen.peak_bytes.max(high_water(&status).unwrap_or(0));
        // Now and then: looking costs something too.
        if looked.elapsed() > Duration::from_millis(50) {
            looked = Instant::now();
            let look = |pid| Some((pid, GuardSeen::look(pid)?));
            let found = guard.and_then(look);
            let found = found.or_else(|| guard_of(child.id()).and_then(look));
            guard = found.map(|(pid, _)| pid);
            seen.guards.extend(found.map(|(_, look)| look));
        }
        seen.journal.extend(last_write(journal));
        seen.journal.dedup();
        if let Some(ended) = child.try_wait().expect("it is our child") {
            return (ended.success(), seen);
        }
        sleep(Duration::from_millis(5));
    }
}

/// Of any file in `folder`; absent if there is none yet.
fn last_write(folder: &Path) -> Option<SystemTime> {
    let files = fs::read_dir(folder).ok()?;
    let times = files.filter_map(|file| file.ok()?.metadata().ok()?.modified().ok());
    times.max()
}

/// Bytes; absent once the process is gone.
fn high_water(status: &str) -> Option<u64> {
    kilobytes(&fs::read_to_string(status).ok()?, "VmHWM:")
}

/// A line of `/proc/PID/status` or `smaps_rollup`, in bytes.
fn kilobytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(1024 * kib)
}
