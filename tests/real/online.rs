//! Online mode: a real `vllm serve` for each cell, driven by the streaming client.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{
    left_in_shared_memory, machine, marked_processes, record_named, rollbench, shared_memory,
};

/// A run of both precisions with one measured step at each point, which succeeds; its summary.
fn run_online(out: &Path, flags: &[&str]) -> String {
    let run = rollbench()
        .args(["run", "--online", "--config", "cpu", "--steps", "1"])
        .args(["--quants", "bf16,w8a8", "--out"])
        .arg(out)
        .args(flags)
        .output()
        .expect("rollbench runs");
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{stderr}");
    String::from_utf8(run.stdout).expect("the summary is UTF-8")
}

/// The records of both.
fn records(out: &Path) -> [Value; 2] {
    ["bf16", "w8a8"]
        .map(|precision| record_named(out, &format!("smollm2-135m_{precision}.online.json")))
}

/// Both precisions answer the same requests over HTTP at both points of a sweep; every stream is timed, every token counted, nothing is left.
#[test]
fn a_server_is_started_driven_and_ended_for_each_cell() {
    let _machine = machine();
    let out = tempfile::tempdir().expect("a temporary folder");
    let shared_before = shared_memory();
    let summary = run_online(
        out.path(),
        &["--request-rate", "4,inf", "--goodput", "ttft:60000"],
    );
    for shown in ["TTFT", "Goodput/s", "4 requests/s", "all at once"] {
        assert!(summary.contains(shown), "{shown}: {summary}");
    }

    let cells = records(out.path());
    for cell in &cells {
        sound(cell);
    }
    assert_eq!(
        cells[0]["workloads"]["main"]["sha256"],
        cells[1]["workloads"]["main"]["sha256"]
    );
    let session = cells[0]["session"]["id"].as_str().expect("a session");
    assert_eq!(marked_processes(session), []);
    assert_eq!(left_in_shared_memory(&shared_before), Vec::<PathBuf>::new());
}

/// Chat as text, for a time: what came to an end meanwhile is what counts, and the throughput is what is compared.
#[test]
fn chat_is_driven_for_a_time() {
    let _machine = machine();
    let out = tempfile::tempdir().expect("a temporary folder");
    let shared_before = shared_memory();
    let chat = ["--api", "chat", "--duration", "8", "--max-concurrency", "8"];
    let summary = run_online(out.path(), &chat);
    assert!(summary.contains("at most 8 at a time"), "{summary}");

    for cell in records(out.path()) {
        assert_eq!(cell["status"], "done");
        let steps = cell["starts"][0]["steps"].as_array().expect("steps");
        assert_eq!(steps.len(), 2, "a warm-up and a step");
        let step = &steps[1];
        // That the machine was too busy for the client is the client's to say, and no test's to fail on.
        let reasons = step["reasons"].as_array().expect("a list");
        let about_client = |r: &Value| {
            r.as_str()
                .is_some_and(|r| r.starts_with("the load client "))
        };
        assert!(reasons.iter().all(about_client), "{reasons:?}");
        let column = |name: &str| {
            let column = &step["online"][name];
            column.as_array().unwrap_or_else(|| panic!("no {name}"))
        };
        let time = |value: &Value| value.as_u64().expect("a time");
        // Sent for eight seconds, and then waited for.
        let sent = column("sent_ns").iter().map(time);
        assert!(sent.max().is_some_and(|last| last < 8_100_000_000));
        assert!(time(&step["makespan_ns"]) >= 8_000_000_000);
        let (role, first) = (column("role_ns"), column("first_choice_ns"));
        assert_eq!(role, first, "chat opens with a chunk that names the role");
        let content = step["sequences"]["first_ns"].as_array().expect("a column");
        for (role, content) in role.iter().zip(content) {
            assert!(time(role) <= time(content), "{role} {content}");
        }
        let tokens = step["sequences"]["output_tokens"]
            .as_array()
            .expect("tokens");
        assert!(
            tokens.len() > 8 && tokens.iter().all(|t| *t == 32),
            "{tokens:?}"
        );
        // Text of about 64 tokens, and the template around it, as the server counted them.
        let prompts = step["sequences"]["prompt_tokens"]
            .as_array()
            .expect("tokens");
        assert!(prompts.iter().all(|t| time(t) > 64), "{prompts:?}");
    }
    assert_eq!(left_in_shared_memory(&shared_before), Vec::<PathBuf>::new());
}

/// 8 prompts x 4 samples unless online says 1, 64 tokens in, 32 out: what every request must show.
fn sound(cell: &Value) {
    assert_eq!(cell["status"], "done");
    let start = &cell["starts"][0];
    assert_eq!(start["stop"]["leaks"], serde_json::json!([]));
    let steps = start["steps"].as_array().expect("steps");
    let rates: Vec<&Value> = steps.iter().map(|step| &step["point"]["rate"]).collect();
    assert_eq!(
        rates,
        [
            &Value::from(4.0),
            &Value::from(4.0),
            &Value::Null,
            &Value::Null
        ],
        "a warm-up and a step at each of the two points"
    );
    for step in steps {
        assert_eq!(step["status"], "ok", "{}", step["reasons"]);
        let makespan = step["makespan_ns"].as_u64().expect("a makespan");
        let sequences = step["sequences"]["output_tokens"]
            .as_array()
            .expect("a column");
        assert!(
            !sequences.is_empty() && sequences.iter().all(|tokens| *tokens == 32),
            "{sequences:?}"
        );
        let column = |name: &str| {
            step["online"][name]
                .as_array()
                .unwrap_or_else(|| panic!("no column {name}"))
        };
        assert!(column("http_status").iter().all(|status| *status == 200));
        assert_eq!(column("usage_tokens"), sequences);
        let first = column("first_choice_ns");
        assert_eq!(first.len(), sequences.len());
        for (first, close) in first.iter().zip(column("close_ns")) {
            let (first, close) = (
                first.as_u64().expect("a time"),
                close.as_u64().expect("a time"),
            );
            assert!(
                0 < first && first < close && close <= makespan + 1_000_000_000,
                "{first} {close} {makespan}"
            );
        }
        assert_eq!(step["client"]["saturated"], false);
    }
}
