//! `rollbench summarize` through the real binary.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::site::Site;

/// A record with every field in use.
const RECORD: &str = include_str!("../../src/record/golden/cell-1.json");
const NAME: &str = "benchmark_results/demo_bf16.json";

fn site() -> Site {
    let site = Site::new();
    site.write(NAME, RECORD);
    site
}

fn stdout(output: &std::process::Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn every_format_goes_to_stdout_and_every_file_is_written() {
    let site = site();
    let run = |format: &[&str]| {
        let output = site.rollbench(&[&["summarize", "."], format].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        assert_eq!(stderr, "");
        stdout(&output)
    };
    assert!(run(&[]).starts_with("Offline: "));
    assert!(run(&["--markdown"]).starts_with("### Offline"));
    assert!(run(&["--csv"]).starts_with("model,precision,mode,"));
    let json: serde_json::Value = serde_json::from_str(&run(&["--json"])).expect("JSON");
    assert_eq!(json["cells"][0]["model"], "demo");
    for (file, format) in [
        ("summary.txt", &[][..]),
        ("summary.md", &["--markdown"]),
        ("summary.csv", &["--csv"]),
        ("summary.json", &["--json"]),
    ] {
        let written = site.read(&format!("benchmark_results/{file}"));
        assert_eq!(written, run(format).into_bytes(), "{file}");
    }
    assert!(!site.read("benchmark_results/steps.csv").is_empty());
}

#[test]
fn the_results_folder_itself_may_be_named() {
    let site = site();
    let whole = site.rollbench(&["summarize", "."]);
    let itself = site.rollbench(&["summarize", "benchmark_results"]);
    assert_eq!(whole, itself);
}

#[test]
fn bad_files_are_named_and_passed_over_and_nothing_is_touched() {
    let site = site();
    let half = &RECORD.as_bytes()[..RECORD.len() / 2];
    let bad: [(&str, &[u8]); 5] = [
        ("demo_w8a8.json", half),
        ("demo_fp8.json", b""),
        ("demo_w4a16.json", b"\xff\xfe{}"),
        ("demo_int8.json", br#"{"schema":"rollbench.cell/99"}"#),
        ("notes.json", br#"{"to": "self"}"#),
    ];
    for (name, bytes) in bad {
        site.write_bytes(&format!("benchmark_results/{name}"), bytes);
    }
    let output = site.rollbench(&["summarize", "."]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert_eq!(stderr.lines().count(), bad.len(), "{stderr}");
    assert!(stdout(&output).contains("DEMO"));
    for (name, bytes) in bad {
        assert!(
            stderr.contains(&format!("passed over {name}: ")),
            "{stderr}"
        );
        assert_eq!(site.read(&format!("benchmark_results/{name}")), bytes);
    }
    assert_eq!(site.read(NAME), RECORD.as_bytes());
}

#[test]
fn a_folder_that_is_not_there_is_an_error_of_the_environment() {
    let output = Site::new().rollbench(&["summarize", "nowhere"]);
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("cannot read nowhere"), "{stderr}");
    assert!(stderr.contains("hint: "), "{stderr}");
}

#[test]
fn files_that_cannot_be_written_do_not_keep_the_summary_from_being_shown() {
    let site = site();
    site.write("benchmark_results/summary.txt/in-the-way", "");
    let output = site.rollbench(&["summarize", "."]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("DEMO"));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("files were not written"), "{stderr}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let site = site();
    let status = Command::new("bash")
        .args([
            "-c",
            r#"set -o pipefail; "$0" summarize . --json | head -c 1"#,
        ])
        .arg(env!("CARGO_BIN_EXE_rollbench"))
        .current_dir(site.work())
        .status()
        .expect("bash runs");
    assert!(status.success(), "{status}");
}

/// `/dev/full` takes nothing, as a full disk.
#[test]
fn a_stdout_that_takes_nothing_is_what_the_environment_lacks() {
    let site = site();
    for args in [
        &["summarize", "."][..],
        &["completions", "bash"],
        &["schema", "config"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full");
        let output = site
            .command(args, "")
            .stdout(full.expect("Linux has it"))
            .output()
            .expect("runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {stderr}");
        assert_eq!(
            stderr,
            "error: cannot write to stdout\n  caused by: No space left on device (os error 28)\n"
        );
    }
}

/// A result of `vllm bench serve`.
fn serve(concurrency: u32, completed: u64, output_tokens: u64, duration: f64) -> String {
    let rate = |count: u64| count as f64 / duration;
    json!({
        "model_id": "org/m", "num_prompts": 64, "request_rate": "inf", "burstiness": 1.0,
        "max_concurrency": concurrency, "duration": duration, "completed": completed,
        "failed": 64 - completed, "total_input_tokens": 128 * completed,
        "total_output_tokens": output_tokens, "request_throughput": rate(completed),
        "output_throughput": rate(output_tokens), "mean_ttft_ms": 20.0, "p99_ttft_ms": 22.0,
    })
    .to_string()
}

#[test]
fn results_of_others_are_kept_apart_by_load_and_compared_at_equal_load() {
    let site = Site::new();
    let both = format!(
        "{}\n{}",
        serve(1, 64, 8192, 100.0),
        serve(64, 64, 8192, 5.0)
    );
    site.write("m_bf16.json", &both);
    site.write("m_w8a8.json", &serve(64, 64, 8192, 4.0));
    site.write("m_fp8.json", &serve(8, 64, 8192, 4.0));
    let shown = stdout(&site.rollbench(&["summarize", "."]));
    assert!(shown.contains("81.9") && shown.contains("1,638"), "{shown}");
    assert!(shown.contains("1.25x"), "{shown}");
    assert!(
        shown.contains("not compared: measured all at once, at most 8 at a time, the baseline all at once, at most 1 at a time"),
        "{shown}"
    );
}

#[test]
fn requests_that_all_failed_are_a_failed_cell() {
    let site = Site::new();
    site.write("m_bf16.json", &serve(1, 0, 0, 100.0));
    let output = site.rollbench(&["summarize", ".", "--csv"]);
    assert_eq!(output.status.code(), Some(1));
    let csv = stdout(&output);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().expect("a header").clone();
    let row = reader.records().next().expect("a row").expect("reads");
    let field = |name: &str| {
        let at = header
            .iter()
            .position(|column| column == name)
            .expect("a column");
        row[at].to_owned()
    };
    assert_eq!(field("outcome"), "failed");
    assert_eq!(field("failed_requests"), "64");
    assert_eq!(field("reason"), "64 of 64 requests failed");
    for blank in ["mean_ttft_ms", "p99_ttft_ms", "output_throughput_tok_s"] {
        assert_eq!(field(blank), "", "{blank}");
    }
    site.write("m_bf16.json", &serve(1, 64, 0, 100.0));
    let shown = stdout(&site.rollbench(&["summarize", "."]));
    assert!(
        shown.contains("64 requests were answered without a token"),
        "{shown}"
    );
}

#[test]
fn nothing_of_somebody_else_is_written_over() {
    let site = Site::new();
    site.write("m_bf16.json", &serve(1, 64, 8192, 100.0));
    let theirs = [
        ("summary.json", "[{\"a\": 1}]"),
        ("summary.csv", "a,b\n1,2\n"),
    ];
    for (name, text) in theirs {
        site.write(name, text);
    }
    let before = site.files();
    for args in [&["summarize", "."][..], &["summarize", ".", "--write"]] {
        let output = site.rollbench(args);
        assert_eq!(output.status.code(), Some(0));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains("written"), "{stderr}");
        assert_eq!(site.files(), before);
        for (name, text) in theirs {
            assert_eq!(
                std::fs::read_to_string(site.work().join(name)).expect("there"),
                text
            );
        }
    }
    // Beside records of rollbench too.
    let mixed = self::site();
    mixed.write("benchmark_results/summary.md", "# Mine\n");
    mixed.rollbench(&["summarize", "."]);
    let kept = std::fs::read_to_string(mixed.work().join("benchmark_results/summary.md"));
    assert_eq!(kept.expect("there"), "# Mine\n");
}

#[test]
fn a_folder_of_others_is_written_to_when_asked_and_again() {
    let site = Site::new();
    site.write("m_bf16.json", &serve(1, 64, 8192, 100.0));
    let asked = site.rollbench(&["summarize", "."]);
    assert!(String::from_utf8_lossy(&asked.stderr).contains("--write"));
    assert_eq!(site.files(), ["m_bf16.json"]);
    for _ in 0..2 {
        let output = site.rollbench(&["summarize", ".", "--write"]);
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
    assert_eq!(site.files().len(), 7);
    // Without the JSON their first lines tell whose they are.
    std::fs::remove_file(site.work().join("summary.json")).expect("removed");
    site.rollbench(&["summarize", ".", "--write"]);
    assert!(site.files().contains(&"summary.json".to_owned()));
}

#[test]
fn a_folder_without_results_is_left_alone() {
    let site = Site::new();
    site.write("notes.txt", "mine");
    let output = site.rollbench(&["summarize", ".", "--write"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(site.files(), ["notes.txt"]);
}

#[test]
fn a_sweep_is_read_by_its_folders() {
    let site = Site::new();
    for (served, seconds) in [("quantization=fp8", 4.0), ("quantization=None", 5.0)] {
        for run in 0..2 {
            let file = format!("SERVE--{served}-BENCH--max_concurrency=8/run={run}.json");
            site.write(&file, &serve(8, 64, 8192, seconds));
        }
        let repeats = format!("SERVE--{served}-BENCH--max_concurrency=8/summary.json");
        site.write(&repeats, "[]");
    }
    let output = site.rollbench(&["summarize", ".", "--csv"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let csv = stdout(&output);
    assert!(csv.contains("m,quantization=fp8,online"), "{csv}");
    assert_eq!(csv.lines().count(), 3, "{csv}");
    let one = "SERVE--quantization=fp8-BENCH--max_concurrency=8";
    let alone = stdout(&site.rollbench(&["summarize", one]));
    assert!(alone.contains("quantization=fp8"), "{alone}");
}
