//! What the tests on the real engine share.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary under test.
pub(crate) fn rollbench() -> Command {
    Command::new(env!("CARGO_BIN_EXE_rollbench"))
}

/// The machine, for one test alone, with the managed engine and the demo checkpoints made ready.
pub(crate) fn machine() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    static READY: OnceLock<()> = OnceLock::new();
    let machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    READY.get_or_init(|| {
        let status = rollbench().arg("setup").status().expect("rollbench starts");
        assert!(
            status.success(),
            "the real engine cannot be had here: `rollbench setup` ended with {status}"
        );
    });
    machine
}

/// The managed engine's Python, for what is computed a second time there.
pub(crate) fn engine_python() -> PathBuf {
    let told = rollbench()
        .args(["setup", "--check", "--json"])
        .output()
        .expect("rollbench runs");
    let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    let engine = told["parts"][0]["path"].as_str().expect("a path");
    Path::new(engine).join("bin/python")
}

/// An offline cell's record.
pub(crate) fn record(out: &Path, cell: &str) -> Value {
    record_named(out, &format!("{cell}.json"))
}

/// The record in the file `name`.
pub(crate) fn record_named(out: &Path, name: &str) -> Value {
    let path = out.join("benchmark_results").join(name);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Processes that carry the marker of any run whose results are below `out`.
pub(crate) fn marked_processes(session: &str) -> Vec<(u32, String)> {
    let marker = format!("ROLLBENCH_RUN={session}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")
        .expect("/proc can be read")
        .flatten()
    {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ
            .split(|&b| b == 0)
            .any(|variable| variable == marker.as_bytes())
        {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&command).replace('\0', " ")));
        }
    }
    found
}

/// Whether any process has it mapped: then it is in use, by a stranger, and not left.
fn is_in_use(path: &Path) -> bool {
    let path = path.to_string_lossy();
    let processes = std::fs::read_dir("/proc").expect("/proc can be read");
    processes.flatten().any(|process| {
        std::fs::read_to_string(process.path().join("maps")).is_ok_and(|maps| maps.contains(&*path))
    })
}

/// What lies in `/dev/shm`, was not there `before`, and belongs to nobody who lives.
pub(crate) fn left_in_shared_memory(before: &[PathBuf]) -> Vec<PathBuf> {
    let new = shared_memory()
        .into_iter()
        .filter(|path| !before.contains(path));
    new.filter(|path| path.exists() && !is_in_use(path))
        .collect()
}

/// Names in `/dev/shm`.
pub(crate) fn shared_memory() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/dev/shm").expect("/dev/shm can be read");
    entries.flatten().map(|entry| entry.path()).collect()
}

/// Starts a run whose stderr goes to a file, so that it can be watched.
pub(crate) fn start(arguments: &[&str], out: &Path, stderr: &Path) -> Child {
    let log = std::fs::File::create(stderr).expect("the log can be made");
    rollbench()
        .args(arguments)
        .arg("--out")
        .arg(out)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("rollbench starts")
}

/// Waits until `condition` holds; panics with the log after `limit`.
pub(crate) fn wait_for(
    what: &str,
    limit: Duration,
    log: &Path,
    mut condition: impl FnMut() -> bool,
) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < limit,
            "{what} did not happen within {limit:?}:\n{}",
            std::fs::read_to_string(log).unwrap_or_default()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
