//! `run --profile` on the real engine, as the shared run of the demo matrix leaves it. How long anything takes is left open:
//! the machine may have much else to do.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{record, record_named, rollbench};

/// Every precision has a profile that adds up, and two of them an account, also from the folders alone.
pub(crate) fn explained(out: &Path, summary: &str) {
    assert!(summary.contains("why: "), "{summary}");
    let json = record_named(out, "summary.json");
    for precision in ["bf16", "w8a8", "w4a16"] {
        let cell = format!("smollm2-135m_{precision}");
        let profile = &record(out, &cell)["starts"][0]["profile"];
        assert_eq!(profile["status"], "complete", "{profile}");
        let sidecar = profile["digest"]["file"].as_str().expect("a digest");
        assert!(
            out.join("benchmark_results").join(sidecar).is_file(),
            "{sidecar}"
        );
        let report = read(&folder(out, &cell));
        sound(&report["profiles"][0]);
        let cells = json["cells"].as_array().expect("cells");
        let own = cells.iter().find(|cell| cell["precision"] == precision);
        let why = own.map(|cell| !cell["why"].is_null());
        assert_eq!(why, Some(precision != "bf16"), "{precision}");
    }
    let folders = ["smollm2-135m_w8a8", "smollm2-135m_bf16"].map(|cell| folder(out, cell));
    let text = rollbench()
        .arg("profile")
        .arg(&folders[0])
        .arg("--against")
        .arg(&folders[1])
        .output()
        .expect("rollbench runs");
    let text = String::from_utf8_lossy(&text.stdout);
    println!("{text}");
    assert!(text.contains("linear layers"), "{text}");
    assert!(text.contains("that no rule matches"), "{text}");
}

fn folder(out: &Path, cell: &str) -> PathBuf {
    out.join("benchmark_profiles").join(cell)
}

fn read(folder: &Path) -> Value {
    let read = rollbench()
        .args(["profile", "--json"])
        .arg(folder)
        .output()
        .expect("rollbench runs");
    serde_json::from_slice(&read.stdout).expect("JSON")
}

/// Decode at the whole batch was recorded, nearly all of it is known, and the account adds up.
fn sound(profile: &Value) {
    let decode = &profile["decode"];
    assert_eq!(decode["batch"], 32);
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
    let roles = decode["roles"].as_array().expect("roles");
    let names: Vec<&str> = roles.iter().filter_map(|r| r["role"].as_str()).collect();
    assert_eq!(names, ["qkv", "o", "gate_up", "down", "lm_head"]);
    // The smallest, o, has 3 % of the weights.
    for role in roles {
        assert!(sum(&role["ns"]) * 100 > of("linear"), "{role}");
    }
}
