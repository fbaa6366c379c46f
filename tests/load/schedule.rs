//! When requests are sent, and how many at a time.

use std::time::Duration;

use rollbench::testing::load::{Api, Limit, LoadError, Pacing, Spread, Watch};

use crate::support::{Mock, assert_sound, load, requests, run};

#[test]
fn a_closed_loop_holds_its_concurrency_and_queueing_stands_apart() {
    let mock = Mock::start();
    let target = mock.target("ttft=20,itl=2", Api::Completions);
    let mut closed = load(target.clone(), 40);
    closed.max_concurrency = Some(8);
    let outcome = run(&closed, requests(&target, 40, 1, 10));
    assert_sound(&outcome);
    assert_eq!(mock.truth().peak, 8);
    assert_eq!(
        (outcome.client.peak_streams, outcome.client.asked_streams),
        (8, Some(8))
    );
    let online = &outcome.online;
    assert_eq!(online.scheduled_ns, [0; 40]);
    for row in 0..40 {
        let queued_ns = online.due_ns[row];
        let first_ns = outcome.sequences.first_ns[row].expect("it came");
        // Each wave takes 38 ms; the wait is not part of the latency that counts from `due_ns`.
        let wave = row as u64 / 8;
        assert!(queued_ns >= wave * 38_000_000, "row {row}: {queued_ns}");
        assert!(first_ns - queued_ns >= 20_000_000);
        assert!(first_ns - queued_ns < 38_000_000 + 20_000_000, "row {row}");
    }
}

#[test]
fn a_paced_run_is_sent_on_time_whatever_the_server_does() {
    let mock = Mock::start();
    let target = mock.target("ttft=100,itl=10", Api::Completions);
    let mut paced = load(target.clone(), 100);
    let spread = Spread::Burstiness(1.0);
    paced.pacing = Pacing::Rate {
        per_s: 200.0,
        spread,
    };
    let outcome = run(&paced, requests(&target, 100, 1, 5));
    assert_sound(&outcome);
    let schedule = paced
        .pacing
        .schedule(paced.limit, paced.seed)
        .expect("sound");
    assert_eq!(Some(&outcome.online.scheduled_ns), schedule.as_ref());
    assert_eq!(outcome.online.due_ns, outcome.online.scheduled_ns);
    // A client that waited for answers would be late by their 140 ms, and by more each time.
    let mut lags = outcome.client.send_lag_ns.clone();
    lags.sort_unstable();
    assert!(lags[50] < 50_000_000, "median send lag {} ns", lags[50]);
    assert_eq!(outcome.client.asked_streams, None);
}

#[test]
fn waiting_costs_no_processor_time() {
    let mock = Mock::start();
    let target = mock.target("ttft=100,itl=10", Api::Completions);
    let mut paced = load(target.clone(), 10);
    let spread = Spread::Constant;
    paced.pacing = Pacing::Rate {
        per_s: 10.0,
        spread,
    };
    let outcome = run(&paced, requests(&target, 10, 1, 5));
    assert_sound(&outcome);
    // 10 requests and 50 chunks in a second, with spare connections open all the time.
    let cpu_s = outcome.client.cpu_s;
    assert!(cpu_s < 0.1, "{cpu_s} s");
}

#[test]
fn a_duration_ends_sending_and_waits_for_what_is_in_flight() {
    let mock = Mock::start();
    let target = mock.target("ttft=20,itl=5", Api::Completions);
    let mut timed = load(target.clone(), 1);
    timed.limit = Limit::Duration(Duration::from_millis(300));
    timed.max_concurrency = Some(4);
    let outcome = run(&timed, requests(&target, 1000, 1, 5));
    assert_sound(&outcome);
    let last_due = outcome.online.due_ns.iter().max().expect("some");
    assert!(*last_due < 300_000_000);
    // The last one sent had all its time: 20 ms to the first token, 5 ms to each of four more.
    assert!(outcome.makespan_ns >= last_due + 40_000_000);
    assert!(outcome.sequences.len() >= 8 && outcome.sequences.len() < 1000);
    assert_eq!(outcome.online.due_ns, outcome.online.scheduled_ns);
}

#[test]
fn what_was_due_and_never_sent_is_counted() {
    let mock = Mock::start();
    let target = mock.target("ttft=100,itl=10", Api::Completions);
    let mut timed = load(target.clone(), 1);
    let spread = Spread::Constant;
    timed.pacing = Pacing::Rate {
        per_s: 100.0,
        spread,
    };
    timed.limit = Limit::Duration(Duration::from_millis(500));
    let everything = run(&timed, requests(&target, 1000, 1, 5)).arrivals;
    assert_eq!(
        (everything.sent, everything.unsent),
        (everything.offered, 0)
    );
    timed.max_concurrency = Some(1);
    let outcome = run(&timed, requests(&target, 1000, 1, 5));
    let arrivals = &outcome.arrivals;
    assert_eq!(arrivals.offered, everything.offered);
    assert_eq!(arrivals.offered, arrivals.sent + arrivals.unsent);
    // A request takes 140 ms: four begin within the half second.
    assert_eq!(arrivals.sent, outcome.sequences.len() as u64);
    assert!((1..=4).contains(&arrivals.sent), "{arrivals:?}");
    assert_eq!(arrivals.unsent_scheduled_ns.len() as u64, arrivals.unsent);
    assert!(arrivals.unsent_scheduled_ns.is_sorted());
    assert!(*arrivals.unsent_scheduled_ns.last().expect("some") < 500_000_000);
}

#[test]
fn a_run_can_be_stopped() {
    let mock = Mock::start();
    let target = mock.target("fault=stall", Api::Completions);
    let watch = Watch::default();
    let endless = load(target.clone(), 2);
    let stopped = std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            rollbench::testing::load::run(&endless, requests(&target, 2, 1, 5).into_iter(), &watch)
        });
        watch.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        run.join().expect("no panic")
    });
    assert!(matches!(stopped, Err(LoadError::Stopped)));
}
