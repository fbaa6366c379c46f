//! Offline mode: the matrix, its records, its summary, a resume that has nothing to do; a kill that loses nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::profile;
use crate::support::{
    engine_python, left_in_shared_memory, machine, marked_processes, record, record_named,
    rollbench, shared_memory, start, wait_for,
};

/// The demo matrix at three precisions and one that the CPU has no kernel for, with profiles and its fidelity: measured,
/// recorded, summarised.
#[test]
fn the_matrix_is_measured_recorded_and_summarised() {
    let _machine = machine();
    let out = tempfile::tempdir().expect("a temporary folder");
    let shared_before = shared_memory();
    let matrix = [
        "--config",
        "cpu",
        "--quants",
        "bf16,w8a8,w4a16,w8a16",
        "--steps",
        "2",
        "--fidelity",
        "--fidelity-tokens",
        "2000",
        "--score",
        "--profile",
    ];

    let run = rollbench()
        .arg("run")
        .args(matrix)
        .arg("--out")
        .arg(out.path())
        .output()
        .expect("rollbench runs");
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{stderr}");
    let summary = String::from_utf8(run.stdout).expect("the summary is UTF-8");
    assert!(
        summary.contains("BF16") && summary.contains("W8A8"),
        "{summary}"
    );
    assert!(summary.contains("no INT8 weight-only kernel"), "{summary}");

    let cells = ["smollm2-135m_bf16", "smollm2-135m_w8a8"].map(|cell| record(out.path(), cell));
    for cell in &cells {
        sound(cell);
    }
    assert_eq!(
        cells[0]["workloads"]["main"]["sha256"],
        cells[1]["workloads"]["main"]["sha256"]
    );
    assert_eq!(cells[0]["cell"]["checkpoint"]["format"], "BF16");
    let w8a8 = cells[1]["cell"]["checkpoint"]["format"]
        .as_str()
        .expect("a format");
    assert!(w8a8.contains("int-quantized"), "{w8a8}");
    assert_eq!(
        record(out.path(), "smollm2-135m_w8a16")["status"],
        "skipped"
    );

    let steps =
        std::fs::read_to_string(out.path().join("benchmark_results/steps.csv")).expect("steps.csv");
    assert_eq!(
        steps.lines().count(),
        1 + 3 * 4,
        "a header, and a warm-up, two steps and a profiled one of three cells:\n{steps}"
    );
    fidelity(out.path());
    profile::explained(out.path(), &summary);
    let session = cells[0]["session"]["id"].as_str().expect("a session");
    assert_eq!(marked_processes(session), []);
    assert_eq!(left_in_shared_memory(&shared_before), Vec::<PathBuf>::new());

    // Rendered again, nothing changes; resumed, nothing is left to do.
    let json =
        std::fs::read(out.path().join("benchmark_results/summary.json")).expect("summary.json");
    let again = rollbench()
        .arg("summarize")
        .arg(out.path())
        .arg("--json")
        .output()
        .expect("rollbench runs");
    assert_eq!(again.status.code(), Some(0));
    assert_eq!(
        String::from_utf8_lossy(&again.stdout),
        String::from_utf8_lossy(&json)
    );
    let resumed = rollbench()
        .arg("run")
        .args(matrix)
        .arg("--resume")
        .arg("--out")
        .arg(out.path())
        .output()
        .expect("runs");
    assert_eq!(
        resumed.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&resumed.stderr)
    );
    assert_eq!(
        record(out.path(), "smollm2-135m_bf16")["starts"],
        cells[0]["starts"]
    );
}

/// The mismatch of the demo checkpoints is in the order of their bits, and beyond what trainers accept; a second
/// computation from the recorded columns gives every number again.
fn fidelity(out: &Path) {
    let summary = record_named(out, "summary.json");
    let cell = |precision: &str| {
        let cells = summary["cells"].as_array().expect("cells");
        let own = cells.iter().find(|cell| cell["precision"] == precision);
        own.map_or(Value::Null, |cell| cell["fidelity"].clone())
    };
    let number = |precision: &str, name: &str| {
        cell(precision)[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{precision} has no {name}: {summary:#}"))
    };
    let floor = number("w8a8", "floor_k3_kl");
    let (w8a8, w4a16) = (number("w8a8", "k3_kl"), number("w4a16", "k3_kl"));
    assert!(floor < w8a8 && w8a8 < w4a16, "{floor} {w8a8} {w4a16}");
    assert_eq!(cell("w8a8")["verdict"], "beyond");
    assert_eq!(cell("w4a16")["verdict"], "beyond");
    let text = std::fs::read_to_string(out.join("benchmark_results/summary.txt")).expect("written");
    assert!(text.contains("beyond what trainers accept"), "{text}");
    assert!(text.contains("too few for a claim"), "{text}");

    let again = std::process::Command::new(engine_python())
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/real/fidelity.py"
        ))
        .arg(out.join("benchmark_results"))
        .args(["bf16", "w8a8", "w4a16"])
        .output()
        .expect("the engine's Python runs");
    let said = [&again.stdout[..], &again.stderr[..]].map(String::from_utf8_lossy);
    assert!(again.status.success(), "{}", said.concat());
}

/// What every complete cell of that matrix must hold: 8 prompts x 4 samples, 64 tokens in, 32 out.
fn sound(cell: &Value) {
    assert_eq!(cell["status"], "done");
    let starts = cell["starts"].as_array().expect("starts");
    let [start] = starts.as_slice() else {
        panic!("{} starts", starts.len())
    };
    assert_eq!(start["status"], "complete");
    assert_eq!(start["stop"]["leaks"], serde_json::json!([]));
    let engine = &start["engine"];
    assert_eq!(engine["platform"], "cpu");
    assert_eq!(
        engine["versions"]["vllm"]
            .as_str()
            .map(|v| v.starts_with("0.32.0")),
        Some(true),
        "{engine}"
    );
    assert_eq!(engine["effective"]["enforce_eager"], true);
    assert_eq!(engine["difference"], serde_json::json!({}));
    assert!(
        engine["kv_tokens"]
            .as_u64()
            .is_some_and(|tokens| tokens > 1000),
        "{engine}"
    );
    assert!(
        engine["load_s"].as_f64() > engine["import_s"].as_f64(),
        "{engine}"
    );
    let steps = start["steps"].as_array().expect("steps");
    let roles: Vec<_> = steps
        .iter()
        .map(|step| step["role"].as_str().expect("a role"))
        .collect();
    assert_eq!(roles, ["warmup", "measured", "measured", "profiled"]);
    for step in steps {
        assert_eq!(step["status"], "ok", "{}", step["reasons"]);
        let makespan = step["makespan_ns"].as_u64().expect("a makespan");
        let sequences = &step["sequences"];
        let column = |name: &str| {
            sequences[name]
                .as_array()
                .unwrap_or_else(|| panic!("no column {name}"))
        };
        assert_eq!(column("output_tokens"), &vec![Value::from(32); 32]);
        assert_eq!(column("prompt_tokens"), &vec![Value::from(64); 32]);
        for (first, finish) in column("first_ns").iter().zip(column("finish_ns")) {
            let (first, finish) = (
                first.as_u64().expect("a time"),
                finish.as_u64().expect("a time"),
            );
            assert!(
                0 < first && first < finish && finish <= makespan,
                "{first} {finish} {makespan}"
            );
        }
        assert_eq!(
            step["submitted"],
            serde_json::json!({ "requests": 32, "prompt_tokens": 32 * 64 })
        );
        assert_eq!(step["counters"]["preemptions"], 0);
    }
}

/// Killed outright in the middle of a measured step, rollbench leaves no process, and a resumed run ends the job with
/// every acknowledged step still there.
#[test]
fn a_killed_run_leaves_no_process_and_loses_no_step() {
    let _machine = machine();
    let out = tempfile::tempdir().expect("a temporary folder");
    let log = out.path().join("stderr");
    let shared_before = shared_memory();
    let matrix = ["run", "--config", "cpu", "--quants", "bf16", "--steps", "3"];
    let mut run = start(&matrix, out.path(), &log);
    let told = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_for(
        "the first measured step",
        Duration::from_mins(5),
        &log,
        || told().contains(" step 1/3: "),
    );
    run.kill().expect("it can be killed");
    run.wait().expect("it can be waited for");

    let journal = out.path().join("benchmark_results/.journal");
    let journalled: String = std::fs::read_dir(&journal)
        .expect("a journal")
        .flatten()
        .map(|entry| std::fs::read_to_string(entry.path()).unwrap_or_default())
        .collect();
    let session = journalled
        .split("\"id\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a session");
    wait_for(
        "the end of every process",
        Duration::from_secs(10),
        &log,
        || marked_processes(session).is_empty(),
    );
    assert_eq!(left_in_shared_memory(&shared_before), Vec::<PathBuf>::new());

    let resumed = rollbench()
        .args(matrix)
        .arg("--resume")
        .arg("--out")
        .arg(out.path())
        .output()
        .expect("runs");
    assert_eq!(
        resumed.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&resumed.stderr)
    );
    let cell = record(out.path(), "smollm2-135m_bf16");
    let starts = cell["starts"].as_array().expect("starts");
    let statuses: Vec<_> = starts
        .iter()
        .map(|start| start["status"].as_str().expect("a status"))
        .collect();
    assert_eq!(statuses, ["interrupted", "complete"]);
    assert!(
        starts[0]["steps"]
            .as_array()
            .is_some_and(|steps| steps.len() >= 2),
        "{}",
        starts[0]["steps"]
    );
    assert_eq!(starts[1]["steps"].as_array().map(Vec::len), Some(4));
    assert_eq!(cell["status"], "done");
}
