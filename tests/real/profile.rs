//! `run --profile` on the real engine: two precisions on CPU, profiled offline and explained.

use serde_json::Value;

use crate::support::{machine, record, rollbench};

#[test]
fn two_precisions_are_profiled_and_explained() {
    let _machine = machine();
    let out = tempfile::tempdir().expect("a temporary folder");
    let small = [
        "--steps",
        "1",
        "--num-prompts",
        "8",
        "-n",
        "2",
        "--input-len",
        "64",
        "--output-len",
        "64",
    ];
    let run = rollbench()
        .args([
            "run",
            "--profile",
            "--config",
            "cpu",
            "--quants",
            "bf16,w8a8",
        ])
        .args(small)
        .arg("--out")
        .arg(out.path())
        .output()
        .expect("rollbench runs");
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{stderr}");
    let summary = String::from_utf8_lossy(&run.stdout);
    assert!(summary.contains("why: linear layers"), "{summary}");
    for precision in ["bf16", "w8a8"] {
        let record = record(out.path(), &format!("smollm2-135m_{precision}"));
        let profile = &record["starts"][0]["profile"];
        assert_eq!(profile["status"], "complete", "{stderr}");
        let folder = out
            .path()
            .join("benchmark_profiles")
            .join(format!("smollm2-135m_{precision}"));
        let read = rollbench()
            .args(["profile", "--json"])
            .arg(&folder)
            .output()
            .expect("rollbench runs");
        let report: Value = serde_json::from_slice(&read.stdout).expect("JSON");
        sound(&report["profiles"][0]);
    }
}

/// Decode at the whole batch was recorded, nearly all of it is known, and the account adds up.
fn sound(profile: &Value) {
    let decode = &profile["decode"];
    assert_eq!(decode["batch"], 16);
    let sum = |column: &Value| -> u64 {
        column
            .as_array()
            .expect("a column")
            .iter()
            .filter_map(Value::as_u64)
            .sum()
    };
    let steps = decode["period_ns"].as_array().expect("steps").len();
    assert!(steps >= 10, "{steps} steps, {}", profile["steps"]);
    let columns = decode["categories"].as_array().expect("categories");
    let of = |category: &str| -> u64 {
        columns
            .iter()
            .filter(|c| c["category"] == category)
            .map(|c| sum(&c["ns"]))
            .sum()
    };
    let busy: u64 = columns.iter().map(|column| sum(&column["ns"])).sum();
    assert_eq!(busy + sum(&decode["idle_ns"]), sum(&decode["period_ns"]));
    assert!(
        of("linear") > busy / 10 && of("attention") > 0,
        "{columns:?}"
    );
    assert!(of("other") * 100 < busy * 3, "{:?}", profile["kernels"]);
    let roles: Vec<&str> = decode["roles"]
        .as_array()
        .expect("roles")
        .iter()
        .filter_map(|r| r["role"].as_str())
        .collect();
    assert_eq!(roles, ["qkv", "o", "gate_up", "down", "lm_head"]);
}
