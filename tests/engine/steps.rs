//! What a healthy engine yields.

use rollbench::testing::config::FanOut;
use rollbench::testing::engine::{Session, Urgency};
use rollbench::testing::event::Event;
use rollbench::testing::record::{FinishSource, Role, StepStatus};
use serde_json::json;

use crate::bench::{Bench, end, request};

#[tokio::test]
async fn facts_steps_and_a_polite_end() {
    let mut bench = Bench::new();
    let mut launch = bench.launch(&json!({}));
    launch.args.insert("max_num_seqs".to_owned(), json!(4096));
    // What vLLM keeps as objects of its own is no difference: a torch.dtype, enums by name or number, a part of a whole.
    for (name, value) in [
        ("dtype", json!("bfloat16")),
        ("attention_backend", json!("CPU_ATTN")),
        ("compilation_config", json!({"mode": 0})),
        ("hf_overrides", json!({"rope_theta": 1e6})),
        ("kv_cache_dtype", json!("auto")),
        ("gpu_memory_utilization", json!(0.4)),
    ] {
        launch.args.insert(name.to_owned(), value);
    }
    launch
        .args
        .insert("hf_token".to_owned(), json!("hf_secretsecretsecret"));
    let (facts, steps, mut session) = bench.measures(launch, 3).await;

    assert_eq!(facts.platform, "cpu");
    assert_eq!(facts.versions["vllm"], "0.32.0+fake");
    assert_eq!(facts.kv_tokens, Some(16 * 8192));
    assert_eq!(facts.weights_bytes, Some(1_610_612_736));
    assert_eq!(
        facts.kernels,
        ["FakeInt8ScaledMMLinearKernel for CompressedTensorsW8A8Int8"]
    );
    assert_eq!(facts.effective["dtype"], "bfloat16");
    assert_eq!(facts.effective["attention_backend"], "CPU_ATTN");
    assert_eq!(facts.effective["compilation_config"]["mode"], "NONE");
    assert_eq!(facts.effective["generation_config"], "vllm");
    assert_eq!(facts.requested["hf_token"], "***");
    let differing: Vec<_> = facts.difference.keys().collect();
    assert_eq!(differing, ["max_num_seqs"], "{:?}", facts.difference);
    assert_eq!(facts.difference["max_num_seqs"].effective, 1024);
    assert!(facts.load_s >= facts.import_s);

    for (index, step) in steps.into_iter().enumerate() {
        let step = step.expect("a step");
        assert_eq!(step.index as usize, index);
        assert_eq!(
            step.role,
            if index == 0 {
                Role::Warmup
            } else {
                Role::Measured
            }
        );
        assert_eq!((step.status, step.reasons.len()), (StepStatus::Ok, 0));
        assert_eq!(step.finish_source, FinishSource::RequestMetrics);
        assert_eq!(step.sequences.output_tokens, [32; 8]);
        assert_eq!(step.sequences.prompt_tokens, [8, 8, 9, 9, 10, 10, 11, 11]);
        assert_eq!(
            (step.submitted.requests, step.submitted.prompt_tokens),
            (8, 76)
        );
        assert_eq!(step.counters.prefix_queries, Some(76));
        assert!(step.counters.kv_peak.is_some());
        let finish = step
            .sequences
            .finish_ns
            .iter()
            .flatten()
            .max()
            .expect("finish times");
        assert!(*finish > 0 && *finish <= step.makespan_ns);
        let timeline = step.timeline.expect("a timeline");
        assert_eq!(timeline.tokens.last(), Some(&256));
        assert!(timeline.tokens.is_sorted() && timeline.t_ns.is_sorted());
    }
    let stop = session.stop(Urgency::Polite).await;
    assert!(stop.polite && stop.leaks.is_empty(), "{stop:?}");
    assert_eq!(
        session.stop(Urgency::Polite).await,
        stop,
        "stopping again changes nothing"
    );
    bench.stream.close();
    assert!(
        bench
            .stream
            .try_recv()
            .is_ok_and(|e| matches!(e.event, Event::Phase { .. }))
    );
}

#[tokio::test]
async fn one_request_with_n_samples_knows_each_samples_end() {
    let bench = Bench::new();
    let mut launch = bench.launch(&json!({"speed": 20_000}));
    launch.fan_out = FanOut::N;
    let (_, steps, session) = bench.measures(launch, 1).await;
    let step = steps.into_iter().next().expect("one").expect("a step");
    assert_eq!((step.status, &step.reasons[..]), (StepStatus::Ok, &[][..]));
    assert_eq!(step.finish_source, FinishSource::IterationStats);
    assert_eq!(
        (step.submitted.requests, step.submitted.prompt_tokens),
        (4, 38)
    );
    assert!(step.sequences.finish_ns.iter().all(Option::is_some));
    assert_eq!(step.sequences.output_tokens, [32; 8]);
    end(session).await;
}

#[tokio::test]
async fn progress_comes_while_a_step_runs() {
    let mut bench = Bench::new();
    let mut session = bench.start(bench.launch(&json!({"speed": 500}))).await;
    session.ready(&bench.events).await.expect("ready");
    let step = request(0, 100);
    session
        .prepare(std::slice::from_ref(&step))
        .await
        .expect("prepared");
    session
        .run_step(&step, &bench.events)
        .await
        .expect("a step");
    end(session).await;
    bench.stream.close();
    let mut tokens = Vec::new();
    while let Ok(envelope) = bench.stream.try_recv() {
        if let Event::Progress { tokens: made, .. } = envelope.event {
            tokens.push(made);
        }
    }
    assert!(
        !tokens.is_empty() && tokens.len() <= 5,
        "1.6 s at 2 Hz: {tokens:?}"
    );
    assert!(
        tokens.is_sorted() && tokens[0] > 0 && tokens.iter().all(|t| *t <= 800),
        "{tokens:?}"
    );
}

#[tokio::test]
async fn twenty_thousand_sequences_are_one_step() {
    use rollbench::testing::workload::{Batch, Sample};
    use std::sync::Arc;

    let bench = Bench::new();
    let mut session = bench
        .start(bench.launch(&json!({"speed": 20_000_000})))
        .await;
    session.ready(&bench.events).await.expect("ready");
    let mut step = request(0, 1);
    step.batch = Arc::new(Batch {
        prompts: (0..2500).map(|g| vec![g; 64]).collect(),
        samples: (0..20_000)
            .map(|row| Sample {
                group: row / 8,
                sample: row % 8,
                output_tokens: 16,
            })
            .collect(),
    });
    session
        .prepare(std::slice::from_ref(&step))
        .await
        .expect("prepared");
    let done = session
        .run_step(&step, &bench.events)
        .await
        .expect("a step");
    assert_eq!(done.status, StepStatus::Ok, "{:?}", done.reasons);
    assert_eq!(done.sequences.len(), 20_000);
    end(session).await;
}
