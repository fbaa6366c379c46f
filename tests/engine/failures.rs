//! Every way in which an engine can fail is told apart, explained, and leaves nothing behind.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rollbench::testing::record::{FailureKind, Phase, StepStatus};
use serde_json::json;

use crate::bench::{Bench, end, is, shown};

/// Runs `fault` while loading; kind, a part of the message, a part of diagnosis or hint.
async fn loading(fault: &str, kind: FailureKind, message: &str, diagnosis: &str) {
    let bench = Bench::new();
    let (failure, session) = bench
        .fails_to_load(bench.launch(&json!({"fault": fault})))
        .await;
    let told = format!("{:?} {:?}", failure.diagnosis, failure.hint);
    assert!(is(&failure, kind), "{}", shown(&failure));
    assert!(failure.message.contains(message), "{}", shown(&failure));
    assert!(told.contains(diagnosis), "{}", shown(&failure));
    assert_eq!(failure.log, bench.log().display().to_string());
    end(session).await;
}

#[tokio::test]
async fn a_driver_that_dies_is_noticed_at_once() {
    loading("die_in_load", FailureKind::Exited, "exit code 1", "").await;
    loading(
        "killed_in_load",
        FailureKind::Exited,
        "signal 9 (SIGKILL)",
        "out-of-memory killer",
    )
    .await;
    loading("exit0_in_load", FailureKind::Exited, "exit code 0", "").await;
}

#[tokio::test]
async fn a_core_that_dies_while_loading_is_diagnosed_from_its_log() {
    let wrapper = "Engine core initialization failed";
    loading(
        "unknown_cause",
        FailureKind::Engine,
        wrapper,
        "qkv_proj.weight",
    )
    .await;
    loading("oom", FailureKind::Engine, wrapper, "device memory ran out").await;
    loading(
        "no_kernel",
        FailureKind::Engine,
        wrapper,
        "no kernel for this precision",
    )
    .await;
    loading(
        "too_long",
        FailureKind::Engine,
        wrapper,
        "set max_model_len = 21632",
    )
    .await;
}

#[tokio::test]
async fn an_engine_that_has_failed_and_lives_on_is_ended() {
    let bench = Bench::new();
    let launch = bench.launch(&json!({"fault": "failed_but_alive"}));
    let begun = std::time::Instant::now();
    let (failure, session) = bench.fails_to_load(launch).await;
    end(session).await;
    let took = begun.elapsed();
    assert!(is(&failure, FailureKind::Engine), "{}", shown(&failure));
    let told = format!("{:?} {:?}", failure.diagnosis, failure.hint);
    assert!(
        told.contains("CUBLAS_STATUS_EXECUTION_FAILED") && told.contains("fuse_allreduce_rms"),
        "{}",
        shown(&failure)
    );
    assert!(took > Duration::from_secs(10), "{took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test]
async fn a_silent_engine_that_handled_its_error_or_still_works_is_waited_for() {
    for fault in [
        json!({"fault": "handled_traceback", "silence": 13}),
        json!({"fault": "fatal_but_busy", "busy": 13}),
    ] {
        let bench = Bench::new();
        let (_, steps, session) = bench.measures(bench.launch(&fault), 1).await;
        assert!(steps[0].is_ok(), "{fault}");
        end(session).await;
    }
}

#[tokio::test]
async fn nonsense_on_the_pipe_is_quoted() {
    loading("garbage", FailureKind::Protocol, "this is no JSON", "").await;
    loading(
        "wrong_protocol",
        FailureKind::Protocol,
        "protocol 99, rollbench 1",
        "",
    )
    .await;
    loading("unknown_event", FailureKind::Protocol, "surprise", "").await;
}

#[tokio::test]
async fn a_pipe_that_a_child_holds_open_hides_no_death() {
    let bench = Bench::new();
    let launch = bench.launch(&json!({"faults": [{"fault": "hold_event_pipe"}]}));
    let (_, steps, session) = bench.measures(launch, 1).await;
    assert!(steps[0].is_ok());
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(session.leader()).expect("a pid")),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("killed");
    let mut session = session;
    let again = crate::bench::request(0, 32);
    let failure =
        rollbench::testing::engine::Session::run_step(&mut session, &again, &bench.events)
            .await
            .expect_err("it is dead");
    assert!(is(&failure, FailureKind::Exited), "{}", shown(&failure));
    assert_eq!(failure.exit.and_then(|e| e.signal), Some(9));
    end(session).await;
}

#[tokio::test]
async fn an_unknown_argument_is_refused_with_near_names() {
    let bench = Bench::new();
    let mut launch = bench.launch(&json!({}));
    launch.args.insert("max_num_seq".to_owned(), json!(8));
    let (failure, session) = bench.fails_to_load(launch).await;
    assert!(is(&failure, FailureKind::Arguments), "{}", shown(&failure));
    assert!(
        failure
            .message
            .contains("`max_num_seq` (near: max_num_seqs"),
        "{}",
        shown(&failure)
    );
    end(session).await;
}

#[tokio::test]
async fn time_limits_end_what_hangs() {
    let bench = Bench::new();
    let mut launch = bench.launch(&json!({"fault": "hang_before_ready"}));
    launch.limits.start = Duration::from_secs(1);
    launch.limits.stop = Duration::from_millis(200);
    let (failure, session) = bench.fails_to_load(launch).await;
    assert!(is(&failure, FailureKind::Timeout), "{}", shown(&failure));
    assert_eq!(failure.message, "the engine is not ready after 1 s");
    end(session).await;

    let mut launch = bench.launch(&json!({"fault": "hang_in_step", "step": 1, "speed": 5_000}));
    launch.limits.stall = Duration::from_secs(1);
    launch.limits.stop = Duration::from_millis(200);
    let (_, mut steps, session) = bench.measures(launch, 2).await;
    let failure = steps.remove(1).expect_err("it hangs");
    assert!(is(&failure, FailureKind::Timeout), "{}", shown(&failure));
    assert_eq!(failure.phase, Phase::Measure);
    end(session).await;
}

#[tokio::test]
async fn a_dead_core_is_noticed_in_mid_step() {
    let bench = Bench::new();
    let launch = bench.launch(&json!({"fault": "kill_core_in_step", "speed": 5_000}));
    let (_, mut steps, session) = bench.measures(launch, 1).await;
    let failure = steps.remove(0).expect_err("its core is dead");
    assert!(is(&failure, FailureKind::Exited), "{}", shown(&failure));
    assert!(failure.message.contains("EngineCore") && failure.message.contains("signal 9"));
    assert!(
        failure
            .diagnosis
            .as_deref()
            .is_some_and(|d| d.contains("SIGKILL")),
        "{}",
        shown(&failure)
    );
    end(session).await;
}

#[tokio::test]
async fn an_end_without_a_word_is_a_failure_even_with_code_0() {
    let bench = Bench::new();
    let (_, mut steps, session) = bench
        .measures(bench.launch(&json!({"fault": "exit0_without_done"})), 1)
        .await;
    let failure = steps.remove(0).expect_err("it ended");
    assert!(is(&failure, FailureKind::Exited), "{}", shown(&failure));
    assert_eq!(
        failure.message,
        "the engine ended by itself (exit code 0) during warm-up"
    );
    assert_eq!(failure.exit.and_then(|e| e.code), Some(0));
    end(session).await;
}

#[tokio::test]
async fn what_vllm_raises_in_a_step_is_the_message() {
    let bench = Bench::new();
    let (_, mut steps, session) = bench
        .measures(bench.launch(&json!({"fault": "raise_in_step"})), 1)
        .await;
    let failure = steps.remove(0).expect_err("it raised");
    assert!(is(&failure, FailureKind::Engine), "{}", shown(&failure));
    assert_eq!(
        failure.message,
        "ValueError: a made-up failure in the middle of a step"
    );
    assert!(
        failure.tail.iter().any(|line| line.contains("Traceback")),
        "{}",
        shown(&failure)
    );
    assert_eq!(failure.exit.and_then(|e| e.code), Some(1));
    end(session).await;
}

#[tokio::test]
async fn results_are_held_against_what_was_asked_for() {
    let bench = Bench::new();
    let (_, mut steps, session) = bench
        .measures(bench.launch(&json!({"fault": "short_counts"})), 1)
        .await;
    let step = steps.remove(0).expect("a step");
    assert_eq!(step.status, StepStatus::Invalid);
    assert!(
        step.reasons[0].contains("prompt 0 sample 0: 31 of 32 tokens"),
        "{:?}",
        step.reasons
    );
    end(session).await;

    let (_, mut steps, session) = bench
        .measures(bench.launch(&json!({"fault": "missing_sequence"})), 1)
        .await;
    let failure = steps.remove(0).expect_err("one is missing");
    assert!(is(&failure, FailureKind::Results), "{}", shown(&failure));
    assert_eq!(failure.message, "8 requests were submitted, 7 came back");
    end(session).await;
}

#[tokio::test]
async fn timestamps_of_another_clock_are_not_recorded() {
    let bench = Bench::new();
    let (_, mut steps, session) = bench
        .measures(bench.launch(&json!({"fault": "foreign_clock"})), 1)
        .await;
    let step = steps.remove(0).expect("a step");
    assert_eq!(
        step.finish_source,
        rollbench::testing::record::FinishSource::None
    );
    assert!(step.makespan_ns > 0);
    end(session).await;
}

#[tokio::test]
async fn an_interpreter_that_does_not_start_is_a_failure_of_the_launch() {
    let bench = Bench::new();
    let mut launch = bench.launch(&json!({}));
    launch.python = "/nowhere/python3".into();
    let failure = bench.refused(launch).await;
    assert!(is(&failure, FailureKind::Spawn), "{}", shown(&failure));
    assert!(
        failure.message.contains("/nowhere/python3"),
        "{}",
        shown(&failure)
    );
}

#[tokio::test]
async fn what_the_engine_wrote_is_private() {
    let bench = Bench::new();
    let launch = bench.launch(&json!({}));
    let scratch = launch.scratch.clone();
    let (_, _, session) = bench.measures(launch, 1).await;
    for file in [
        bench.log(),
        scratch.join("0.prompts"),
        scratch.join("driver.py"),
    ] {
        let mode = std::fs::metadata(&file)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    end(session).await;
}
