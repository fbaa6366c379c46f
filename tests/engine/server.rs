//! The server engine with its real launcher, guard and client, on the fake `vllm serve`.

use std::time::Duration;

use rollbench::testing::config::FanOut;
use rollbench::testing::engine::{
    Engine, ServerEngine, ServerSession, Session, StepRequest, Urgency,
};
use rollbench::testing::event::Event;
use rollbench::testing::load::Api;
use rollbench::testing::record::{ChunkTokens, FailureKind, FinishSource, Phase, StepStatus};
use serde_json::{Value, json};

use crate::bench::{Bench, request, shown};

async fn start(
    bench: &Bench,
    fake: &Value,
    change: impl FnOnce(&mut rollbench::testing::engine::Launch),
) -> ServerSession {
    let mut launch = bench.launch(fake);
    change(&mut launch);
    server(bench)
        .launch(launch)
        .await
        .unwrap_or_else(|f| panic!("{f:#?}"))
}

fn server(bench: &Bench) -> ServerEngine {
    let rollbench = std::path::Path::new(env!("CARGO_BIN_EXE_rollbench"));
    ServerEngine::new(bench.run(), Api::Completions).with_guard(rollbench)
}

async fn end(mut session: ServerSession) {
    let stop = session.stop(Urgency::Polite).await;
    assert!(stop.polite && stop.leaks.is_empty(), "{stop:?}");
    assert_eq!(
        session.stop(Urgency::Polite).await,
        stop,
        "stopping again changes nothing"
    );
}

#[tokio::test]
async fn facts_steps_and_an_orderly_end() {
    let mut bench = Bench::new();
    let mut session = start(&bench, &json!({}), |launch| {
        launch.args.insert("max_num_seqs".to_owned(), json!(4096));
        launch.args.insert("dtype".to_owned(), json!("bfloat16"));
        launch.args.insert("enforce_eager".to_owned(), json!(true));
        launch
            .args
            .insert("enable_prefix_caching".to_owned(), json!(false));
        launch
            .args
            .insert("compilation_config".to_owned(), json!({"mode": 0}));
    })
    .await;
    let facts = session
        .ready(&bench.events)
        .await
        .unwrap_or_else(|f| panic!("{}", shown(&f)));
    assert_eq!(
        (facts.kind.as_str(), facts.platform.as_str()),
        ("server", "cpu")
    );
    assert_eq!(facts.versions["vllm"], "0.32.0+fake");
    assert_eq!(facts.kv_tokens, Some(16 * 8192));
    assert_eq!(facts.weights_bytes, Some(1_610_612_736));
    assert_eq!(
        facts.kernels,
        ["FakeInt8ScaledMMLinearKernel for CompressedTensorsW8A8Int8"]
    );
    assert_eq!(facts.effective["dtype"], "bfloat16");
    assert_eq!(facts.effective["enforce_eager"], true);
    assert_eq!(facts.effective["enable_prefix_caching"], false);
    assert_eq!(facts.effective["generation_config"], "vllm");
    let differing: Vec<_> = facts.difference.keys().collect();
    assert_eq!(differing, ["max_num_seqs"], "{:?}", facts.difference);
    assert!(facts.load_s >= facts.import_s);

    let steps: Vec<StepRequest> = (0..3).map(|index| request(index, 32)).collect();
    session.prepare(&steps).await.expect("prepared");
    for request in &steps {
        let step = session
            .run_step(request, &bench.events)
            .await
            .unwrap_or_else(|f| panic!("{}", shown(&f)));
        assert_eq!((step.index, step.role), (request.index, request.role));
        // A busy machine may make the client late, which it says; nothing else may be wrong.
        let other = step
            .reasons
            .iter()
            .filter(|r| !r.contains("client") && !r.contains("streams"));
        assert_eq!(other.count(), 0, "{:?}", step.reasons);
        assert_eq!(step.finish_source, FinishSource::Client);
        assert_eq!(step.sequences.group, [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(step.sequences.output_tokens, [32; 8]);
        assert_eq!(step.sequences.prompt_tokens, [8, 8, 9, 9, 10, 10, 11, 11]);
        assert_eq!(
            (step.submitted.requests, step.submitted.prompt_tokens),
            (8, 76)
        );
        assert_eq!(step.counters.preemptions, Some(0));
        let tokens = step.tokens.expect("token times");
        assert!(
            tokens
                .rows
                .iter()
                .all(|r| r.chunk_ns.len() == 32 && r.tokens == ChunkTokens::OneEach)
        );
    }
    end(session).await;
    bench.stream.close();
    let first = bench.stream.try_recv().expect("an event");
    assert!(matches!(first.event, Event::Phase { phase: Phase::Load }));
}

#[tokio::test]
async fn n_samples_in_one_request_are_streams_apart() {
    let bench = Bench::new();
    let mut session = start(&bench, &json!({}), |launch| launch.fan_out = FanOut::N).await;
    session
        .ready(&bench.events)
        .await
        .unwrap_or_else(|f| panic!("{}", shown(&f)));
    let step = request(0, 16);
    let done = session
        .run_step(&step, &bench.events)
        .await
        .expect("a step");
    assert_eq!(
        (done.submitted.requests, done.submitted.prompt_tokens),
        (4, 38)
    );
    assert_eq!(done.sequences.output_tokens, [16; 8]);
    assert_eq!(done.sequences.sample, [0, 1].repeat(4));
    let mut uneven = (*step.batch).clone();
    uneven.samples[1].output_tokens = 17;
    let uneven = StepRequest {
        batch: uneven.into(),
        ..step
    };
    let failure = session
        .prepare(&[uneven])
        .await
        .expect_err("one max_tokens");
    assert_eq!(failure.kind, FailureKind::Arguments);
    assert!(failure.hint.is_some(), "{}", shown(&failure));
    end(session).await;
}

#[tokio::test]
async fn a_bounded_concurrency_holds() {
    let bench = Bench::new();
    let server = server(&bench);
    let launched = server.launch(bench.launch(&json!({"speed": 2000}))).await;
    let mut session = launched.unwrap_or_else(|f| panic!("{f:#?}"));
    session
        .ready(&bench.events)
        .await
        .unwrap_or_else(|f| panic!("{}", shown(&f)));
    let mut asked = request(0, 16);
    asked.load.point.concurrency = Some(2);
    let step = session
        .run_step(&asked, &bench.events)
        .await
        .expect("a step");
    let client = step.client.expect("online");
    assert_eq!((client.peak_streams, client.asked_streams), (2, Some(2)));
    end(session).await;
}

/// The failure of `fake` while it becomes ready.
async fn unready(
    fake: &Value,
    change: impl FnOnce(&mut rollbench::testing::engine::Launch),
) -> (Bench, ServerSession, rollbench::testing::record::Failure) {
    let bench = Bench::new();
    let mut session = start(&bench, fake, change).await;
    let failure = session
        .ready(&bench.events)
        .await
        .expect_err("not to become ready");
    (bench, session, failure)
}

#[tokio::test]
async fn a_server_that_dies_while_loading_is_noticed_at_once_and_diagnosed() {
    let (_bench, session, failure) = unready(&json!({"fault": "no_kernel"}), |_| {}).await;
    assert_eq!(
        (failure.kind, failure.phase),
        (FailureKind::Exited, Phase::Load),
        "{}",
        shown(&failure)
    );
    assert!(
        failure.diagnosis.is_some() && failure.hint.is_some(),
        "{}",
        shown(&failure)
    );
    assert!(
        failure.tail.iter().any(|line| line.contains("WNA16")),
        "{}",
        shown(&failure)
    );
    end(session).await;
    let (_bench, session, failure) = unready(&json!({}), |launch| {
        launch.args.insert("max_len_model".to_owned(), json!(5));
    })
    .await;
    assert_eq!(
        failure.exit.and_then(|e| e.code),
        Some(2),
        "{}",
        shown(&failure)
    );
    assert!(failure.diagnosis.is_some(), "{}", shown(&failure));
    end(session).await;
}

#[tokio::test]
async fn health_alone_proves_nothing() {
    let (_bench, session, failure) = unready(&json!({"fault": "mute"}), |_| {}).await;
    assert_eq!(failure.kind, FailureKind::Engine, "{}", shown(&failure));
    assert!(
        failure
            .message
            .contains("a first completion failed: HTTP 500"),
        "{}",
        shown(&failure)
    );
    end(session).await;
    let short = |launch: &mut rollbench::testing::engine::Launch| {
        launch.limits.start = Duration::from_secs(1);
    };
    let (_bench, mut session, failure) =
        unready(&json!({"fault": "hang_before_ready"}), short).await;
    assert_eq!(failure.kind, FailureKind::Timeout, "{}", shown(&failure));
    session.stop(Urgency::Now).await;
}

#[tokio::test]
async fn what_breaks_in_a_step_has_a_kind_and_words() {
    for (fault, kind, words) in [
        (
            "exit_in_step",
            FailureKind::Exited,
            "the server ended by itself (exit code 1)",
        ),
        (
            "fail_in_step",
            FailureKind::Results,
            "8 of 8 sequences failed, the first: HTTP 500",
        ),
        (
            "hang_in_step",
            FailureKind::Results,
            "the first: no token within 500ms",
        ),
    ] {
        let bench = Bench::new();
        let mut session = start(&bench, &json!({"fault": fault}), |launch| {
            launch.limits.stall = Duration::from_millis(500);
        })
        .await;
        session
            .ready(&bench.events)
            .await
            .unwrap_or_else(|f| panic!("{}", shown(&f)));
        let failed = match session.run_step(&request(0, 8), &bench.events).await {
            Err(failed) => failed,
            // Nothing came back and the server lives: the step is kept, and its reason is the failure's.
            Ok(step) => {
                assert_eq!(step.status, StepStatus::Failed);
                session.fail(FailureKind::Results, &step.reasons[0])
            }
        };
        assert_eq!(failed.kind, kind, "{}", shown(&failed));
        assert_eq!(failed.phase, Phase::Warmup);
        assert!(failed.message.contains(words), "{}", shown(&failed));
        let stop = session.stop(Urgency::Polite).await;
        assert!(stop.leaks.iter().all(|leak| leak.ended), "{stop:?}");
    }
}

#[tokio::test]
async fn doubts_are_kept_with_the_step() {
    let mut bench = Bench::new();
    let mut session = start(&bench, &json!({"fault": "short_counts"}), |_| {}).await;
    session
        .ready(&bench.events)
        .await
        .unwrap_or_else(|f| panic!("{}", shown(&f)));
    let step = session
        .run_step(&request(0, 8), &bench.events)
        .await
        .expect("a step");
    assert_eq!(step.status, StepStatus::Invalid);
    assert_eq!(
        step.reasons[0],
        "8 of 8 sequences have another length than asked for"
    );
    end(session).await;

    let mut session = start(&bench, &json!({"fault": "no_reset"}), |_| {}).await;
    session
        .ready(&bench.events)
        .await
        .unwrap_or_else(|f| panic!("{}", shown(&f)));
    for index in 0..2 {
        session
            .run_step(&request(index, 8), &bench.events)
            .await
            .expect("a step");
    }
    end(session).await;
    bench.stream.close();
    let mut notes = 0;
    while let Ok(envelope) = bench.stream.try_recv() {
        if let Event::Note { text } = envelope.event {
            assert!(text.contains("prefix cache"), "{text}");
            notes += 1;
        }
    }
    assert_eq!(notes, 1, "said once, not at every step");
}
