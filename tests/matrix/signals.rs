//! Signals in mid-run: what is complete is kept, the engine is ended, and the exit code says what happened.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rollbench::testing::record::{CellStatus, Role, StartStatus, StepStatus};
use serde_json::{Value, json};

use crate::processes::send;
use crate::world::{Running, TWO_CELLS, World, read_record};

/// 64 tokens a step: each takes a second and a half.
fn slow() -> Value {
    json!({"speed": 40})
}

/// A run in the second of its two measured steps.
fn in_a_step(world: &World, fake: &Value) -> Running {
    let mut run = world.start(fake, &[]);
    run.until_it_says("step 1/2:");
    run
}

#[test]
fn the_first_signal_saves_what_is_complete_stops_the_engine_and_renders_the_summary() {
    for (signal, code) in [
        (Signal::SIGINT, 130),
        (Signal::SIGTERM, 143),
        (Signal::SIGHUP, 129),
    ] {
        let world = World::new(TWO_CELLS);
        let run = in_a_step(&world, &slow());
        run.signal(signal);
        let outcome = run.end();
        world.is_empty();
        assert_eq!(outcome.code, code, "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains(signal.as_str()),
            "{}",
            outcome.stderr
        );
        let record = world.record("bf16");
        let start = &record.starts[0];
        assert_eq!(start.status, StartStatus::Interrupted);
        assert_eq!(start.steps.len(), 2, "the warm-up and the first step");
        let stop = start.stop.as_ref().expect("it was stopped");
        assert!(stop.polite && stop.leaks.is_empty(), "{stop:?}");
        assert_eq!(world.record("w8a8").status, CellStatus::Planned);
        assert!(
            outcome.stdout.contains("tiny"),
            "a summary: {}",
            outcome.stdout
        );
        assert!(world.result("summary.json").is_file());
    }
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let world = World::new(TWO_CELLS);
    let mut run = in_a_step(&world, &json!({"speed": 40, "fault": "hang_at_exit"}));
    run.signal(Signal::SIGINT);
    run.until_it_says("once more ends it at once");
    let begun = Instant::now();
    run.signal(Signal::SIGINT);
    let outcome = run.end();
    // An engine that hangs is waited for 15 s, and then asked again.
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    world.is_empty();
    assert_eq!(outcome.code, 130, "{}", outcome.stderr);
    let start = &world.record("bf16").starts[0];
    assert_eq!(start.steps.len(), 2);
    assert!(!start.stop.as_ref().expect("it was stopped").polite);
}

#[test]
fn a_signal_while_the_engine_loads_ends_it_too() {
    let world = World::new(TWO_CELLS);
    let mut run = world.start(&json!({"load_s": 60}), &[]);
    run.until_it_says("starting the engine");
    run.signal(Signal::SIGTERM);
    let outcome = run.end();
    world.is_empty();
    assert_eq!(outcome.code, 143, "{}", outcome.stderr);
    let start = &world.record("bf16").starts[0];
    assert_eq!(start.status, StartStatus::Interrupted);
    assert!(start.steps.is_empty() && start.failure.is_none());
}

#[test]
fn a_step_during_which_rollbench_was_stopped_is_measured_again() {
    let world = World::new(TWO_CELLS);
    let mut run = world.start(&slow(), &["--quants", "bf16"]);
    run.until_it_says("warm-up 1/1:");
    run.signal(Signal::SIGSTOP);
    run.until("it is stopped", |run| is_stopped(run.pid()));
    run.signal(Signal::SIGCONT);
    one_step_again(&world, run, "tiny_bf16.json");
}

/// As by a frozen container: the engine cannot get on, and no time limit may hold that against it.
#[test]
fn a_standstill_of_everything_is_longer_than_a_time_limit_and_no_stall() {
    stands_still(&slow(), &[], "tiny_bf16.json");
}

#[test]
fn nor_is_it_one_for_a_client_of_a_server() {
    // A token of each of the 8 responses every 0.4 s.
    let fake = json!({"speed": 20});
    stands_still(&fake, &["--online"], "tiny_bf16.online.json");
}

fn stands_still(fake: &Value, args: &[&str], record: &str) {
    let limit = "[engine]\nlimits = { stall_s = 2 }\n[run]\n";
    let world = World::new(&TWO_CELLS.replace("[run]\n", limit));
    let mut run = world.start(fake, &[&["--quants", "bf16"], args].concat());
    run.until_it_says("warm-up 1/1:");
    let all = world.survivors();
    for pid in &all {
        send(*pid, Signal::SIGSTOP);
    }
    run.until("all are stopped", |_| {
        all.iter().all(|pid| is_stopped(*pid))
    });
    // The standstill itself: longer than the limit.
    sleep(Duration::from_secs(3));
    let before = naps(run.pid());
    // Before the engine: now the limit is over by the clock, and nothing has come.
    run.signal(Signal::SIGCONT);
    run.until("it has looked at the clock, and waits again", |run| {
        naps(run.pid()) > before
    });
    for pid in &all {
        send(*pid, Signal::SIGCONT);
    }
    one_step_again(&world, run, record);
}

fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A process that has ended meanwhile stands still too.
    stat.rsplit_once(") ")
        .is_none_or(|(_, fields)| fields.starts_with(['T', 'Z']))
}

/// How often the process's main thread has waited of its own accord.
fn naps(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count
        .expect("Linux tells it")
        .trim()
        .parse()
        .expect("a count")
}

/// To the end of a run of one cell that stood still in its first measured step.
fn one_step_again(world: &World, run: Running, record: &str) {
    let outcome = run.end();
    world.is_empty();
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("measured again"),
        "{}",
        outcome.stderr
    );
    let record = read_record(&world.result(record));
    assert_eq!(record.status, CellStatus::Done);
    let steps = &record.starts[0].steps;
    let seen: Vec<(u32, Role, StepStatus)> = steps
        .iter()
        .map(|step| (step.index, step.role, step.status))
        .collect();
    assert_eq!(
        seen,
        [
            (0, Role::Warmup, StepStatus::Ok),
            (1, Role::Measured, StepStatus::Invalid),
            (1, Role::Measured, StepStatus::Ok),
            (2, Role::Measured, StepStatus::Ok),
        ]
    );
    assert_eq!(
        steps[1].reasons,
        ["rollbench was stopped and continued (Ctrl-Z or SIGSTOP)"]
    );
}
