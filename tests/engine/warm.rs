//! Warm starts: engines forked from an interpreter that rests between them.

use std::time::Duration;

use rollbench::testing::engine::{OfflineSession, Session, Urgency};
use rollbench::testing::record::StartKind;
use serde_json::{Value, json};

use crate::bench::{Bench, request, shown};
use crate::processes::{PATIENCE, identity, inhabitants, send};

use nix::sys::signal::Signal;

/// A start that measures a step.
async fn measure(bench: &Bench, fake: &Value) -> OfflineSession {
    let (facts, steps, session) = bench.measures(warm(bench, fake), 1).await;
    assert!(steps[0].is_ok(), "{:?}", steps[0]);
    let starting = facts.starting.expect("always told");
    assert_eq!(starting.kind, StartKind::Warm, "{:?}", starting.reason);
    session
}

fn warm(bench: &Bench, fake: &Value) -> rollbench::testing::engine::Launch {
    let mut launch = bench.launch(fake);
    launch.warm = true;
    launch
}

fn interpreters(bench: &Bench) -> Vec<u32> {
    let is_one = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.contains("warm.py"))
    };
    let mut all = inhabitants(bench.run().scratch());
    all.retain(is_one);
    all
}

/// The interpreter of the block: the parent of those for children, or alone.
fn block(bench: &Bench) -> u32 {
    let is_block = |pid: &&u32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split('\0').any(|arg| arg == "driver"))
    };
    let resting = interpreters(bench);
    *resting.iter().find(is_block).expect("it rests")
}

#[tokio::test]
async fn two_starts_are_forked_from_one_interpreter_and_nothing_outlives_the_block() {
    let bench = Bench::new();
    let mut parents = Vec::new();
    for _ in 0..2 {
        let mut session = measure(&bench, &json!({})).await;
        let stop = session.stop(Urgency::Polite).await;
        assert!(stop.polite && stop.leaks.is_empty(), "{stop:?}");
        assert!(identity(session.leader()).is_none());
        bench.keep(session).await;
        // What rests: the block's interpreter, and the one for the engine core.
        let mut resting = interpreters(&bench);
        resting.sort_unstable();
        assert_eq!(resting.len(), 2);
        parents.push(resting);
    }
    assert_eq!(parents[0], parents[1]);
    bench.end_block().await;
    assert_eq!(inhabitants(bench.run().scratch()), Vec::<u32>::new());
}

#[tokio::test]
async fn what_outlives_a_warm_start_is_ended_and_named_and_the_next_is_warm() {
    let bench = Bench::new();
    for (fault, survivors) in [
        ("ignore_sigterm_worker", 1),
        ("double_fork_daemon", 1),
        ("fork_burst", 0),
    ] {
        let mut session = measure(&bench, &json!({"fault": fault, "count": 50})).await;
        let stop = session.stop(Urgency::Polite).await;
        assert!(stop.polite, "{fault}: {stop:?}");
        assert!(stop.leaks.len() >= survivors, "{fault}: {stop:?}");
        assert!(
            stop.leaks.iter().all(|leak| leak.ended),
            "{fault}: {stop:?}"
        );
        bench.keep(session).await;
        assert_eq!(
            interpreters(&bench).len(),
            inhabitants(bench.run().scratch()).len()
        );
    }
    bench.end_block().await;
    assert_eq!(inhabitants(bench.run().scratch()), Vec::<u32>::new());
}

#[tokio::test]
async fn a_core_that_dies_is_told_with_its_signal() {
    let bench = Bench::new();
    let fake = json!({"fault": "kill_core_in_step", "speed": 5_000});
    let (_, steps, mut session) = bench.measures(warm(&bench, &fake), 1).await;
    let failure = steps[0].as_ref().expect_err("its core was killed");
    assert!(
        failure.message.contains("was killed by signal 9"),
        "{}",
        shown(failure)
    );
    session.stop(Urgency::Polite).await;
    bench.keep(session).await;
    bench.end_block().await;
    assert_eq!(inhabitants(bench.run().scratch()), Vec::<u32>::new());
}

#[tokio::test]
async fn an_interpreter_killed_between_two_starts_is_replaced() {
    let bench = Bench::new();
    let mut session = measure(&bench, &json!({})).await;
    session.stop(Urgency::Polite).await;
    bench.keep(session).await;
    send(block(&bench), Signal::SIGKILL);
    let mut session = measure(&bench, &json!({})).await;
    session.stop(Urgency::Polite).await;
    bench.end_block().await;
    drop(session);
    gone(&bench).await;
}

#[tokio::test]
async fn an_interpreter_killed_during_a_start_takes_nothing_with_it() {
    let bench = Bench::new();
    let mut session = measure(&bench, &json!({})).await;
    send(block(&bench), Signal::SIGKILL);
    let request = request(1, 32);
    session
        .prepare(std::slice::from_ref(&request))
        .await
        .expect("prepared");
    session
        .run_step(&request, &bench.events)
        .await
        .expect("unharmed");
    let stop = session.stop(Urgency::Polite).await;
    assert!(stop.polite, "{stop:?}");
    assert_eq!(inhabitants(bench.run().scratch()), Vec::<u32>::new());
    // Nothing rests any more; the next start has a new one.
    bench.keep(session).await;
    let mut session = measure(&bench, &json!({})).await;
    session.stop(Urgency::Polite).await;
    drop(session);
    gone(&bench).await;
}

#[tokio::test]
async fn what_cannot_be_forked_is_started_cold_and_says_why() {
    let bench = Bench::new();
    let launch = warm(&bench, &json!({"thread_at_import": true}));
    let (facts, steps, mut session) = bench.measures(launch, 1).await;
    assert!(steps[0].is_ok());
    let starting = facts.starting.expect("always told");
    assert_eq!(starting.kind, StartKind::Cold);
    let reason = starting.reason.expect("asked for");
    assert!(reason.contains("left 2 threads running"), "{reason}");
    session.stop(Urgency::Polite).await;
    assert_eq!(inhabitants(bench.run().scratch()), Vec::<u32>::new());
}

#[tokio::test]
async fn a_launch_given_up_while_its_interpreter_imports_leaves_nothing_after_the_block() {
    let bench = Bench::new();
    let launch = warm(&bench, &json!({"import_s": 30}));
    let launched = tokio::time::timeout(Duration::from_millis(700), bench.start(launch)).await;
    assert!(launched.is_err(), "it imports");
    bench.end_block().await;
    assert_eq!(inhabitants(bench.run().scratch()), Vec::<u32>::new());
}

/// A guard whose handle was dropped sweeps by itself, in its own time.
async fn gone(bench: &Bench) {
    let all_gone = async {
        while !inhabitants(bench.run().scratch()).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_gone)
        .await
        .expect("swept");
}
