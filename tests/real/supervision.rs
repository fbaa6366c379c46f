//! Each part of a real engine is killed in the middle of a step: nothing of it is left, and the run says what happened.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{
    left_in_shared_memory, machine, marked_processes, record, rollbench, shared_memory, wait_for,
};

/// Who is killed, by role; all of them are stopped first, so that none can act on another's death.
const BLOWS: &[&[&str]] = &[
    &["rollbench"],
    &["guard"],
    &["rollbench", "guard"],
    &["leader"],
    &["core"],
    &["worker"],
];

/// Parent and name of every process.
fn processes() -> BTreeMap<u32, (u32, String)> {
    let stat = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (open, close) = (stat.find('(')?, stat.rfind(')')?);
        let parent = stat[close + 2..].split(' ').nth(1)?.parse().ok()?;
        Some((pid, (parent, stat[open + 1..close].to_owned())))
    };
    fs::read_dir("/proc")
        .expect("/proc can be read")
        .filter_map(|entry| stat(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// The members of rollbench's tree by role.
fn roles(rollbench: u32) -> BTreeMap<&'static str, u32> {
    let all = processes();
    let child = |parent: u32| {
        all.iter()
            .find(|(_, (p, _))| *p == parent)
            .map(|(pid, _)| *pid)
    };
    let below = |pid: u32| {
        std::iter::successors(Some(pid), |pid| all.get(pid).map(|(parent, _)| *parent))
            .take(10)
            .any(|ancestor| ancestor == rollbench)
    };
    let named = |prefix: &str| {
        all.iter()
            .find(|(pid, (_, name))| name.starts_with(prefix) && below(**pid))
            .map(|(pid, _)| *pid)
    };
    let guard = named("rollbench-guard");
    [
        ("rollbench", Some(rollbench)),
        ("guard", guard),
        ("leader", guard.and_then(child)),
        ("core", named("VLLM::EngineCor")),
        ("worker", named("VLLM::Worker")),
    ]
    .into_iter()
    .filter_map(|(role, pid)| Some((role, pid?)))
    .collect()
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), signal).expect("it is there");
}

fn run(out: &Path) -> Command {
    let mut command = rollbench();
    command
        .args([
            "run", "--config", "cpu", "--quants", "bf16", "--steps", "30",
        ])
        .arg("--out")
        .arg(out)
        .env("ROLLBENCH_RUNTIME_DIR", out.join("runs"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

#[test]
fn any_part_of_a_real_engine_can_be_killed_and_nothing_is_left() {
    let _machine = machine();
    let shared_before = shared_memory();
    println!(
        "{:<20} {:>9} {:>12} {:>8}",
        "SIGKILL", "survivors", "all gone ms", "exit"
    );
    for blow in BLOWS {
        let out = tempfile::tempdir().expect("a temporary folder");
        let log = out.path().join("stderr");
        let stderr = fs::File::create(&log).expect("the log can be made");
        let mut child = run(out.path()).stderr(stderr).spawn().expect("starts");
        wait_for(
            "the first measured step",
            Duration::from_mins(5),
            &log,
            || {
                fs::read_to_string(&log)
                    .unwrap_or_default()
                    .contains(" step 1/30: ")
            },
        );
        let runs: Vec<_> = fs::read_dir(out.path().join("runs"))
            .expect("the run has a folder")
            .flatten()
            .collect();
        assert_eq!(runs.len(), 1);
        let id = runs[0].file_name().into_string().expect("plain");
        let roles = roles(child.id());
        assert_eq!(roles.len(), 5, "{roles:?}");

        for who in *blow {
            signal(roles[who], Signal::SIGSTOP);
        }
        for who in *blow {
            signal(roles[who], Signal::SIGKILL);
        }
        let begun = Instant::now();
        let mut status = None;
        wait_for(
            "the end of every process",
            Duration::from_mins(1),
            &log,
            || {
                status = child.try_wait().expect("ours");
                status.is_some() && marked_processes(&id).is_empty()
            },
        );
        let took = begun.elapsed();
        let code = status.and_then(|status| status.code());
        println!(
            "{:<20} {:>9} {:>12} {code:>8?}",
            blow.join(" + "),
            0,
            took.as_millis()
        );

        if blow.contains(&"rollbench") {
            // Nobody was left to remove the run's files.
            let clean = rollbench()
                .args(["clean", "--yes"])
                .env("ROLLBENCH_RUNTIME_DIR", out.path().join("runs"))
                .status()
                .expect("starts");
            assert!(clean.success());
        } else {
            let log = fs::read_to_string(&log).unwrap_or_default();
            assert_eq!(code, Some(1), "{log}");
            let cell = record(out.path(), "smollm2-135m_bf16");
            assert_eq!(cell["status"], "failed");
            assert_eq!(cell["starts"][0]["failure"]["phase"], "measure", "{cell}");
        }
        let left = fs::read_dir(out.path().join("runs"))
            .expect("there")
            .count();
        assert_eq!(left, 0, "the run's folder");
        let shared = left_in_shared_memory(&shared_before);
        assert!(shared.is_empty(), "{shared:?}");
    }
}
