//! Synthetic records for tests: a sound cell in one expression, from which a test departs.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use jiff::Timestamp;

use super::{
    Arm, CellInfo, CellRecord, CellStatus, CheckpointInfo, ClockStamp, Counters, EngineFacts,
    EngineStart, Failure, FailureKind, Fingerprint, FinishSource, Gate, Host, Labels, MatrixInfo,
    Phase, PlanInfo, Role, SCHEMA, Sequences, Session, Skip, StartStatus, Step, StepStatus, Stop,
    Submitted, WorkloadInfo,
};
use crate::units::{CellId, Mode};
use crate::workload::WorkloadSpec;

/// Prompts of a synthetic step.
pub(crate) const PROMPTS: u32 = 4;
/// Samples per prompt.
pub(crate) const SAMPLES: u32 = 2;
/// Prompt length.
pub(crate) const INPUT: u32 = 64;
/// Response length.
pub(crate) const OUTPUT: u32 = 32;

/// `model_precision` as an id.
pub(crate) fn id(model: &str, precision: &str) -> CellId {
    CellId {
        model: model.parse().unwrap(),
        precision: precision.parse().unwrap(),
    }
}

/// The session called `id`: sessions named `s1`, `s2` ... started on the first, second ... of August.
pub(crate) fn session(id: &str) -> Session {
    let day: i64 = id
        .trim_start_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .unwrap_or(1);
    Session {
        id: id.to_owned(),
        rollbench: "0.1.0".to_owned(),
        argv: vec!["rollbench".to_owned(), "run".to_owned()],
        started: Timestamp::from_second(1_785_542_400 + (day - 1) * 86_400).unwrap(),
        resumes: None,
        matrix: MatrixInfo {
            source: "rollbench.toml".to_owned(),
            models: vec!["demo".parse().unwrap()],
            precisions: ["bf16", "w8a8", "w8a16"]
                .map(|p| p.parse().unwrap())
                .to_vec(),
            baseline: "bf16".parse().unwrap(),
        },
        order: Vec::new(),
        inference: crate::record::Inference::default(),
        plan: PlanInfo {
            blocks: 1,
            warmup: 1,
            warmup_at_each_point: false,
            steps: 3,
            points: 1,
        },
        seed: 0,
    }
}

/// A planned offline cell of session `s1` without starts.
pub(crate) fn planned(model: &str, precision: &str) -> CellRecord {
    let spec = WorkloadSpec::fixed(PROMPTS, SAMPLES, INPUT, OUTPUT);
    CellRecord {
        schema: SCHEMA.to_owned(),
        session: session("s1"),
        cell: CellInfo {
            id: id(model, precision),
            mode: Mode::Offline,
            labels: Labels {
                model: model.to_uppercase(),
                precision: precision.to_uppercase(),
            },
            checkpoint: Some(CheckpointInfo {
                path: format!("/models/{model}-{precision}"),
                format: Some(precision.to_uppercase()),
                bytes: Some(269_060_552),
                sha256_config: Some("c0ffee".to_owned()),
                shape_only: false,
                method: None,
                mismatch: None,
            }),
        },
        settings: IndexMap::new(),
        fingerprint: Fingerprint {
            config: "config-1".to_owned(),
            checkpoint: format!("checkpoint-{precision}"),
            engine: String::new(),
        },
        workloads: IndexMap::from([(
            "main".to_owned(),
            WorkloadInfo {
                spec: serde_json::to_value(spec).unwrap(),
                seed: 0,
                sha256: "abcdef0123456789".to_owned(),
            },
        )]),
        status: CellStatus::Planned,
        skip: None,
        starts: Vec::new(),
    }
}

/// A cell with one complete start per row of `makespans`: in seconds, of its measured steps.
pub(crate) fn done(model: &str, precision: &str, makespans: &[&[f64]]) -> CellRecord {
    let mut record = planned(model, precision);
    record.session.plan.blocks = u32::try_from(makespans.len()).unwrap();
    for (block, row) in (0..).zip(makespans) {
        record.starts.push(start(&record, block, row));
    }
    record.status = record.derived_status();
    record
}

/// A skipped cell.
pub(crate) fn skipped(model: &str, precision: &str) -> CellRecord {
    let mut record = planned(model, precision);
    record.status = CellStatus::Skipped;
    record.skip = Some(Skip::Unsupported {
        platform: "cpu".to_owned(),
        reason: "vLLM's CPU platform has no INT8 weight-only kernel".to_owned(),
    });
    record
}

/// A cell whose only engine start failed.
pub(crate) fn failed(model: &str, precision: &str) -> CellRecord {
    let mut record = planned(model, precision);
    let mut start = start(&record, 0, &[]);
    start.status = StartStatus::Failed;
    start.engine = None;
    start.steps.clear();
    start.failure = Some(Failure {
        phase: Phase::Load,
        kind: FailureKind::Engine,
        message: "Failed to find a kernel that can implement the WNA16 linear layer".to_owned(),
        diagnosis: Some("this precision has no kernel here".to_owned()),
        hint: Some("leave the precision out".to_owned()),
        exit: None,
        log: "benchmark_logs/demo_w8a16.0.log".to_owned(),
        tail: vec!["ValueError: Failed to find a kernel".to_owned()],
    });
    record.starts.push(start);
    record.status = record.derived_status();
    record
}

/// A complete start: a warm-up step twice as long as the first measured one, then the measured ones.
pub(crate) fn start(record: &CellRecord, block: u32, makespans: &[f64]) -> EngineStart {
    let warmup = makespans
        .first()
        .map(|first| step(0, Role::Warmup, first * 2.0));
    let measured = (1..)
        .zip(makespans)
        .map(|(i, s)| step(i, Role::Measured, *s));
    EngineStart {
        id: format!("{}-{}-{block}", record.session.id, record.cell.id),
        session: record.session.id.clone(),
        block,
        position: 0,
        arm: Arm::Main,
        attempt: 0,
        status: StartStatus::Complete,
        split: false,
        host: Host {
            name: "node1".to_owned(),
            kernel: "6.18.0".to_owned(),
            cpu: "Some CPU".to_owned(),
            cpus: 2,
            memory_bytes: 16_000_000_000,
        },
        devices: Vec::new(),
        env: BTreeMap::new(),
        neighbours: Vec::new(),
        clock: ClockStamp {
            boot_id: "boot".to_owned(),
            wall: record.session.started,
            mono_ns: 1_000_000_000,
        },
        gate: Gate::default(),
        engine: Some(EngineFacts {
            kind: "offline".to_owned(),
            platform: "cpu".to_owned(),
            versions: BTreeMap::from([
                ("torch".to_owned(), "2.13.0".to_owned()),
                ("vllm".to_owned(), "0.32.0+cpu".to_owned()),
            ]),
            kernels: vec!["SomeKernel for SomeScheme".to_owned()],
            kv_tokens: Some(123_456),
            weights_bytes: Some(270_000_000),
            import_s: 16.0,
            load_s: 40.0,
            ..EngineFacts::default()
        }),
        steps: warmup.into_iter().chain(measured).collect(),
        profile: None,
        stop: Some(Stop {
            polite: true,
            ms: 2_000,
            leaks: Vec::new(),
        }),
        failure: None,
    }
}

/// A sound step; its sequences finish at equal distances, the last one at the end.
pub(crate) fn step(index: u32, role: Role, makespan_s: f64) -> Step {
    let rows = PROMPTS * SAMPLES;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let makespan_ns = (makespan_s * 1e9).round() as u64;
    let at = |row: u32| makespan_ns * u64::from(row + 1) / u64::from(rows);
    let column = |value: u32| vec![value; rows as usize];
    Step {
        index,
        role,
        workload: "main".to_owned(),
        point: None,
        duration_s: None,
        status: StepStatus::Ok,
        reasons: Vec::new(),
        begin_mono_ns: 10_000_000_000 * (u64::from(index) + 1),
        makespan_ns,
        finish_source: FinishSource::RequestMetrics,
        submitted: Submitted {
            requests: u64::from(rows),
            prompt_tokens: u64::from(rows * INPUT),
        },
        arrivals: None,
        prefix_cache_reset: None,
        counters: Counters {
            preemptions: Some(0),
            prefix_queries: Some(u64::from(rows * INPUT)),
            prefix_hits: Some(u64::from((rows - PROMPTS) * INPUT) / 2),
            kv_peak: Some(0.25),
        },
        sequences: Sequences {
            group: (0..rows).map(|row| row / SAMPLES).collect(),
            sample: (0..rows).map(|row| row % SAMPLES).collect(),
            prompt_tokens: column(INPUT),
            requested_tokens: column(OUTPUT),
            output_tokens: column(OUTPUT),
            first_ns: (0..rows).map(|row| Some(at(row) / 10)).collect(),
            finish_ns: (0..rows).map(|row| Some(at(row))).collect(),
            error: Vec::new(),
        },
        online: None,
        client: None,
        server: None,
        timeline: None,
        detail: None,
        tokens: None,
    }
}

/// A measured online step of `requests` that arrive at equal distances, `rate` a second, each answered after `latency`
/// seconds, of which its first token takes a tenth.
pub(crate) fn paced(rate: f64, requests: usize, latency: impl Fn(usize) -> f64) -> Step {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let nanos = |seconds: f64| (seconds * 1e9).round() as u64;
    let column = |value: u32| vec![value; requests];
    let arrivals: Vec<u64> = (0..requests).map(|row| nanos(row as f64 / rate)).collect();
    let after = |part: f64| -> Vec<Option<u64>> {
        let rows = arrivals.iter().enumerate();
        rows.map(|(row, at)| Some(at + nanos(latency(row) * part)))
            .collect()
    };
    let finish_ns = after(1.0);
    let mut step = step(1, Role::Measured, 1.0);
    step.makespan_ns = finish_ns.iter().flatten().max().copied().unwrap_or(0);
    step.point = Some(crate::record::Point {
        rate: Some(rate),
        ..crate::record::Point::default()
    });
    step.submitted = Submitted {
        requests: requests as u64,
        prompt_tokens: requests as u64 * u64::from(INPUT),
    };
    step.online = Some(crate::record::OnlineColumns {
        scheduled_ns: arrivals.clone(),
        due_ns: arrivals.clone(),
        sent_ns: arrivals.iter().copied().map(Some).collect(),
        first_choice_ns: after(0.1),
        ..crate::record::OnlineColumns::default()
    });
    step.sequences = Sequences {
        group: (0..).take(requests).collect(),
        sample: column(0),
        prompt_tokens: column(INPUT),
        requested_tokens: column(OUTPUT),
        output_tokens: column(OUTPUT),
        first_ns: after(0.1),
        finish_ns,
        error: Vec::new(),
    };
    step
}
