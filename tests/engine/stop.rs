//! Ending an engine: politely, by force, in mid-step, and against resistance.

use std::time::{Duration, Instant};

use rollbench::testing::engine::{Session, Urgency};
use serde_json::json;

use crate::bench::{Bench, request};

#[tokio::test]
async fn a_running_step_is_ended_politely() {
    let bench = Bench::new();
    // 8 x 5,000 tokens at 2,000 tokens/s: 20 s if it were not ended.
    let mut session = bench.start(bench.launch(&json!({"speed": 2_000}))).await;
    session.ready(&bench.events).await.expect("ready");
    let request = request(0, 5_000);
    session
        .prepare(std::slice::from_ref(&request))
        .await
        .expect("prepared");
    let begin = Instant::now();
    let outcome = tokio::time::timeout(
        Duration::from_millis(300),
        session.run_step(&request, &bench.events),
    )
    .await;
    assert!(outcome.is_err(), "it takes longer");
    let stop = session.stop(Urgency::Polite).await;
    assert!(stop.polite && stop.leaks.is_empty(), "{stop:?}");
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn loading_is_ended_politely() {
    let bench = Bench::new();
    let mut session = bench.start(bench.launch(&json!({"load_s": 30}))).await;
    let waited = tokio::time::timeout(Duration::from_secs(1), session.ready(&bench.events)).await;
    assert!(waited.is_err(), "it loads longer");
    let stop = session.stop(Urgency::Polite).await;
    assert!(
        stop.polite && stop.leaks.is_empty() && stop.ms < 5_000,
        "{stop:?}"
    );
}

#[tokio::test]
async fn a_hanging_engine_is_swept_at_once_when_it_must_be() {
    let bench = Bench::new();
    let mut session = bench
        .start(bench.launch(&json!({"fault": "hang_before_ready"})))
        .await;
    let waited =
        tokio::time::timeout(Duration::from_millis(300), session.ready(&bench.events)).await;
    assert!(waited.is_err(), "it hangs");
    let stop = session.stop(Urgency::Now).await;
    assert!(!stop.polite && stop.ms < 3_000, "{stop:?}");
}

#[tokio::test]
async fn an_engine_that_does_not_end_is_ended() {
    let bench = Bench::new();
    let mut launch = bench.launch(&json!({"fault": "hang_at_exit"}));
    launch.limits.stop = Duration::from_millis(500);
    let (_, steps, mut session) = bench.measures(launch, 1).await;
    assert!(steps[0].is_ok());
    let stop = session.stop(Urgency::Polite).await;
    assert!(stop.leaks.iter().all(|leak| leak.ended), "{stop:?}");
}

#[tokio::test]
async fn what_outlives_the_polite_stop_is_ended_and_named() {
    for (fault, survivors) in [
        ("ignore_sigterm_worker", 1),
        ("double_fork_daemon", 1),
        ("fork_burst", 0),
    ] {
        let bench = Bench::new();
        let launch = bench.launch(&json!({"fault": fault, "count": 50}));
        let (_, steps, mut session) = bench.measures(launch, 1).await;
        assert!(steps[0].is_ok(), "{fault}");
        let stop = session.stop(Urgency::Polite).await;
        assert!(stop.polite, "{fault}: {stop:?}");
        assert!(stop.leaks.len() >= survivors, "{fault}: {stop:?}");
        assert!(
            stop.leaks.iter().all(|leak| leak.ended),
            "{fault}: {stop:?}"
        );
    }
}

#[tokio::test]
async fn an_engine_that_prints_without_end_is_measured_and_ended() {
    let bench = Bench::new();
    let (_, steps, mut session) = bench
        .measures(bench.launch(&json!({"fault": "print_forever"})), 1)
        .await;
    assert!(steps[0].is_ok(), "{:?}", steps[0]);
    let stop = session.stop(Urgency::Polite).await;
    assert!(stop.leaks.iter().all(|leak| leak.ended), "{stop:?}");
}
