//! What a results folder costs: summarising a thousand records (under 1 s), writing one step of 20,000 sequences and
//! the record that holds it (under 1 s).
//!
//! `cargo bench --bench summarize -- --generate DIR` only writes the thousand records, for `/usr/bin/time -v`.

use std::fs;
use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion};
use rollbench::testing::record::{CellRecord, EngineStart, Sequences, StartStatus, Step, Store};
use rollbench::testing::report::{self, Format};
use serde_json::json;

const RECORDS: u32 = 1_000;
const SEQUENCES: u32 = 256;

fn record(model: u32, precision: &str) -> CellRecord {
    let session = json!({
        "id": "bench", "rollbench": "0.1.0", "argv": ["rollbench", "run"], "started": "2026-08-01T00:00:00Z",
        "matrix": {"source": "bench", "models": (0..RECORDS / 2).map(|m| format!("m{m}")).collect::<Vec<_>>(),
                   "precisions": ["bf16", "w8a8"], "baseline": "bf16"},
        "order": [], "plan": {"blocks": 1, "warmup": 1, "steps": 3}, "seed": 0,
    });
    let workload = json!({"num_prompts": 32, "n": 8, "prompt": {"kind": "fixed", "tokens": 512},
        "response": {"kind": "fixed", "tokens": 256},
        "sampling": {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "logprobs": null}});
    let record = json!({
        "schema": "rollbench.cell/1", "session": session,
        "cell": {"model": format!("m{model}"), "precision": precision, "mode": "offline",
                 "labels": {"model": format!("M{model}"), "precision": precision}, "checkpoint": null},
        "settings": {}, "fingerprint": {"config": "", "checkpoint": "", "engine": ""},
        "workloads": {"main": {"spec": workload, "seed": 0, "sha256": "ab"}},
        "status": "done", "starts": [],
    });
    serde_json::from_value(record).expect("the bench's record follows the schema")
}

fn start() -> EngineStart {
    let start = json!({
        "id": "start", "block": 0, "position": 0, "arm": "main", "attempt": 0, "status": "complete", "split": false,
        "host": {"name": "h", "kernel": "k", "cpu": "c", "cpus": 2, "memory_bytes": 1}, "devices": [], "env": {},
        "neighbours": [], "clock": {"boot_id": "b", "wall": "2026-08-01T00:00:00Z", "mono_ns": 0}, "gate": {},
        "engine": null, "steps": [], "stop": null,
    });
    serde_json::from_value(start).expect("the bench's start follows the schema")
}

fn step(index: u32, sequences: u32) -> Step {
    let step = json!({
        "index": index, "role": if index == 0 { "warmup" } else { "measured" }, "workload": "main", "status": "ok",
        "reasons": [], "begin_mono_ns": u64::from(index) * 20_000_000_000, "makespan_ns": 9_200_000_000_u64,
        "finish_source": "request_metrics", "submitted": {"requests": sequences, "prompt_tokens": 512 * sequences},
        "counters": {"preemptions": 0, "prefix_queries": null, "prefix_hits": null, "kv_peak": 0.5},
        "sequences": {"group": [], "sample": [], "prompt_tokens": [], "requested_tokens": [], "output_tokens": [],
                      "first_ns": [], "finish_ns": []},
    });
    let mut step: Step = serde_json::from_value(step).expect("the bench's step follows the schema");
    let spread = |row: u32| u64::from(row).wrapping_mul(2_654_435_761) % 9_000_000_000;
    step.sequences = Sequences {
        group: (0..sequences).map(|row| row / 8).collect(),
        sample: (0..sequences).map(|row| row % 8).collect(),
        prompt_tokens: vec![512; sequences as usize],
        requested_tokens: vec![256; sequences as usize],
        output_tokens: vec![256; sequences as usize],
        first_ns: (0..sequences).map(|row| Some(spread(row) / 10)).collect(),
        finish_ns: (0..sequences).map(|row| Some(spread(row))).collect(),
        error: Vec::new(),
    };
    step
}

/// A thousand records of three measured steps and a warm-up.
fn generate(results: &Path) {
    fs::create_dir_all(results).expect("the folder can be made");
    for model in 0..RECORDS / 2 {
        for precision in ["bf16", "w8a8"] {
            let mut record = record(model, precision);
            let steps = (0..4).map(|index| step(index, SEQUENCES)).collect();
            record.starts = vec![EngineStart { steps, ..start() }];
            let json = serde_json::to_vec(&record).expect("records are JSON");
            let path = results.join(format!("m{model}_{precision}.json"));
            fs::write(path, json).expect("the record can be written");
        }
    }
}

fn summarize(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    generate(dir.path());
    criterion.bench_function("summarize 1,000 records of 256 sequences x 3 steps", |b| {
        b.iter(|| {
            let summary = report::read(dir.path()).expect("the folder can be read");
            assert_eq!(summary.cells.len(), RECORDS as usize);
            black_box(report::render(&summary, Format::Text { width: None }).expect("it renders"))
        });
    });
}

fn write(criterion: &mut Criterion) {
    let record = record(0, "bf16");
    let cell = &record.cell;
    let step = step(1, 20_000);
    criterion.bench_function(
        "journal a step of 20,000 sequences, then write its record",
        |b| {
            b.iter_batched(
                || {
                    let dir = tempfile::tempdir().expect("a temporary folder");
                    let mut store =
                        Store::open(dir.path(), &record.session).expect("the folder is ours");
                    let _ = store.put_cell(record.clone());
                    (dir, store)
                },
                |(dir, mut store)| {
                    let mut writer = store
                        .begin(&cell.id, cell.mode, start())
                        .expect("announced");
                    let _ = black_box(writer.step(step.clone()));
                    let _ = black_box(writer.end(StartStatus::Complete));
                    let _ = black_box(store.fold());
                    (dir, store)
                },
                BatchSize::PerIteration,
            );
        },
    );
}

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--generate");
    if let Some(dir) = arguments.nth(1) {
        generate(Path::new(&dir));
        return;
    }
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    summarize(&mut criterion);
    write(&mut criterion);
    criterion.final_summary();
}
