//! The guard's own promises, driven through its handle.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rollbench::testing::process::{Guard, GuardedCommand, SpawnError};
use rollbench::testing::record::ExitStatus;

fn guarded(script: &str, log: &Path) -> GuardedCommand {
    GuardedCommand {
        program: "/bin/bash".into(),
        args: vec!["-c".into(), script.into()],
        env: BTreeMap::from([(
            OsString::from("PATH"),
            std::env::var_os("PATH").expect("PATH is set"),
        )]),
        cwd: None,
        log: log.into(),
        pass_fds: Vec::new(),
    }
}

fn spawn(command: GuardedCommand) -> Guard {
    Guard::spawn_with(Path::new(env!("CARGO_BIN_EXE_rollbench")), command).expect("it starts")
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

#[tokio::test]
async fn an_exit_code_comes_back_and_the_log_holds_both_streams() {
    let _alone = crate::ALONE.lock().await;
    let dir = tempfile::tempdir().expect("tempdir");
    let log = dir.path().join("log");
    let mut guard = spawn(guarded("echo out; echo err >&2; exit 7", &log));
    let exit = ExitStatus {
        code: Some(7),
        signal: None,
    };
    assert_eq!(guard.leader_exit().await, exit);
    let report = guard.sweep().await;
    assert_eq!(report.exit, Some(exit));
    assert_eq!((report.leaks, report.ended), (vec![], 0));
    assert_eq!(std::fs::read_to_string(&log).expect("log"), "out\nerr\n");
}

#[tokio::test]
async fn a_daemon_in_a_session_of_its_own_is_ended_and_named() {
    let _alone = crate::ALONE.lock().await;
    let dir = tempfile::tempdir().expect("tempdir");
    let log = dir.path().join("log");
    let mut guard = spawn(guarded(
        "setsid bash -c 'trap \"\" TERM; (exec -a daemon sleep 1000) & echo $!; wait' & sleep 0.2; exit 0",
        &log,
    ));
    guard.leader_exit().await;
    guard.signal_group(Signal::SIGTERM);
    let daemon: u32 = std::fs::read_to_string(&log)
        .expect("log")
        .trim()
        .parse()
        .expect("a pid");
    assert!(alive(daemon));
    let report = guard.sweep().await;
    assert!(!alive(daemon));
    assert_eq!(report.leaks.len(), 2, "{report:?}");
    assert!(
        report
            .leaks
            .iter()
            .any(|leak| leak.pid == daemon && leak.ended && leak.command == "daemon 1000")
    );
}

#[tokio::test]
async fn processes_that_end_by_themselves_in_time_are_no_leaks() {
    let _alone = crate::ALONE.lock().await;
    let dir = tempfile::tempdir().expect("tempdir");
    let mut guard = spawn(guarded("sleep 0.3 & exit 0", &dir.path().join("log")));
    guard.leader_exit().await;
    let begun = Instant::now();
    let report = guard.sweep_after(Duration::from_secs(10)).await;
    assert_eq!((report.leaks, report.ended), (vec![], 0));
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "it waits no longer than it must"
    );
}

#[tokio::test]
async fn a_sweep_at_once_ends_what_nobody_asked_and_calls_it_no_leak() {
    let _alone = crate::ALONE.lock().await;
    let dir = tempfile::tempdir().expect("tempdir");
    let mut guard = spawn(guarded("sleep 1000 & sleep 1000", &dir.path().join("log")));
    let leader = guard.leader();
    let report = guard.sweep().await;
    assert_eq!(report.exit.and_then(|e| e.signal), Some(9));
    assert_eq!(report.leaks, vec![]);
    assert!(report.ended >= 1);
    assert!(!alive(leader));
}

#[tokio::test]
async fn a_killed_guard_is_replaced() {
    let _alone = crate::ALONE.lock().await;
    let dir = tempfile::tempdir().expect("tempdir");
    let log = dir.path().join("log");
    let mut guard = spawn(guarded("setsid sleep 1000 & echo $!; sleep 1000", &log));
    while std::fs::read_to_string(&log).expect("log").is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let daemon: u32 = std::fs::read_to_string(&log)
        .expect("log")
        .trim()
        .parse()
        .expect("a pid");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(guard.guard()).expect("pid"));
    nix::sys::signal::kill(pid, Signal::SIGKILL).expect("ours");
    assert_eq!(guard.leader_exit().await.signal, Some(9));
    let report = guard.sweep().await;
    assert!(report.guard_lost);
    assert!(!alive(daemon) && !alive(guard.leader()));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_said_so() {
    let _alone = crate::ALONE.lock().await;
    let dir = tempfile::tempdir().expect("tempdir");
    let mut command = guarded("", &dir.path().join("log"));
    command.program = "/no/such/python".into();
    let error = Guard::spawn_with(Path::new(env!("CARGO_BIN_EXE_rollbench")), command)
        .expect_err("there is no such program");
    assert!(matches!(error, SpawnError::Program { errno: Some(2), .. }));
    assert_eq!(
        error.to_string(),
        "cannot start /no/such/python: No such file or directory (os error 2)"
    );
}

#[tokio::test]
async fn only_the_passed_descriptors_are_open_and_their_end_is_seen() {
    let _alone = crate::ALONE.lock().await;
    let dir = tempfile::tempdir().expect("tempdir");
    let log = dir.path().join("log");
    let (mut read, write) = std::io::pipe().expect("pipe");
    let mut command = guarded(
        "ls /proc/self/fd | tr '\\n' ' '; echo hello >&$EVENT_FD",
        &log,
    );
    command.pass_fds = vec![("EVENT_FD".into(), write.into())];
    let mut guard = spawn(command);
    let mut text = String::new();
    // Ends only once no process, the guard included, holds the writing end.
    tokio::task::spawn_blocking(move || read.read_to_string(&mut text).map(|_| text))
        .await
        .expect("no panic")
        .map(|text| assert_eq!(text, "hello\n"))
        .expect("pipe reads");
    guard.sweep().await;
    let open = std::fs::read_to_string(&log).expect("log");
    // 0, 1, 2, the passed one, and the one with which ls reads the folder.
    assert_eq!(open.split_whitespace().count(), 5, "{open}");
}

#[tokio::test]
async fn a_dropped_guard_sweeps() {
    let _alone = crate::ALONE.lock().await;
    let dir = tempfile::tempdir().expect("tempdir");
    let guard = spawn(guarded("sleep 1000", &dir.path().join("log")));
    let leader = guard.leader();
    drop(guard);
    let begun = Instant::now();
    while alive(leader) {
        assert!(begun.elapsed() < Duration::from_secs(5), "still there");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
