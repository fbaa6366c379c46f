//! `rollbench summarize` through the real binary.

use std::process::Command;

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
