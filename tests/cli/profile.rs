//! `profile`: traces whose account is known exactly, in every form that a file comes in.

use serde_json::Value;

use super::site::Site;
use crate::trace::Model;

fn json(site: &Site, args: &[&str], code: i32) -> Value {
    let output = site.rollbench(args);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Microseconds a step of a category, over its paths.
fn mean_us(profile: &Value, category: &str) -> f64 {
    let columns = profile["decode"]["categories"].as_array().expect("columns");
    let ours = columns
        .iter()
        .filter(|column| column["category"] == category);
    let ns: Vec<f64> = ours
        .flat_map(|c| c["ns"].as_array().expect("times"))
        .filter_map(Value::as_f64)
        .collect();
    ns.iter().sum::<f64>()
        / 1e3
        / profile["decode"]["period_ns"]
            .as_array()
            .expect("steps")
            .len() as f64
}

fn sum(column: &Value) -> u64 {
    column
        .as_array()
        .expect("a column")
        .iter()
        .filter_map(Value::as_u64)
        .sum()
}

#[test]
fn the_account_of_two_precisions_is_exact() {
    let site = Site::new();
    let (bf16, w8a8) = (Model::bf16(), Model::w8a8());
    site.write("bf16/a_rank0.1.pt.trace.json", &bf16.chrome(20, 64));
    site.write("w8a8/a_rank0.2.pt.trace.json", &w8a8.chrome(20, 64));
    let report = json(
        &site,
        &["profile", "w8a8", "--against", "bf16", "--json"],
        0,
    );

    let base = &report["base"][0];
    assert_eq!(base["steps"]["decode"], 20);
    assert_eq!(base["decode"]["batch"], 64);
    for (category, us) in [
        ("linear", 17.0 * 9.0),
        ("attention", 56.0),
        ("norm", 16.0),
        ("rotary", 4.0),
        ("kv_cache", 4.0),
        ("activation", 8.0),
        ("sampling", 3.0),
    ] {
        assert!(
            (mean_us(base, category) - us).abs() < 1e-9,
            "{category}: {}",
            mean_us(base, category)
        );
    }
    for profile in [base, &report["profiles"][0]] {
        let decode = &profile["decode"];
        let columns = decode["categories"].as_array().expect("columns");
        let categories: u64 = columns.iter().map(|column| sum(&column["ns"])).sum();
        assert_eq!(
            categories + sum(&decode["idle_ns"]),
            sum(&decode["period_ns"])
        );
    }
    let explanation = &report["explanation"];
    let period = bf16.period() as f64;
    let change = |category: &str| {
        let rows = explanation["categories"].as_array().expect("rows");
        let row = rows
            .iter()
            .find(|row| row["category"] == category)
            .expect("a row");
        row["of_the_step"].as_f64().expect("a share")
    };
    assert!((change("linear") + 16.0 * 3000.0 / period).abs() < 1e-8);
    assert!((change("activation_quant") - 16.0 * 2000.0 / period).abs() < 1e-8);
    assert!((change("idle") - 16.0 * 700.0 / period).abs() < 1e-8);
    let roles: Vec<(&str, f64)> = explanation["roles"]
        .as_array()
        .expect("roles")
        .iter()
        .map(|role| {
            (
                role["role"].as_str().expect("a name"),
                role["other_us"].as_f64().expect("us"),
            )
        })
        .collect();
    assert_eq!(
        roles,
        [
            ("qkv", 24.0),
            ("o", 24.0),
            ("gate_up", 24.0),
            ("down", 24.0),
            ("lm_head", 9.0)
        ]
    );
    assert_eq!(explanation["aligned"], 1.0);
    assert_eq!(explanation["control"], 1.0);
    assert_eq!(explanation["verdict"], Value::Null);
    let shown = site.rollbench(&["profile", "w8a8", "--against", "bf16"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("linear layers 1.46x faster (-14.9 % of the step), activation quantization +9.9 %, idle +3.5 % (16 more kernels): 1.02x as profiled, 1.07x on the device"),
        "{shown}"
    );
}

#[test]
fn ascend_tells_the_same_without_annotations() {
    let site = Site::new();
    site.write(
        "bf16/x_ascend_pt/ASCEND_PROFILER_OUTPUT/kernel_details.csv",
        &Model::bf16().ascend(20, 64),
    );
    site.write("bf16/x_ascend_pt/ASCEND_PROFILER_OUTPUT/analyse.done", "");
    site.write("w8a8/kernel_details.csv", &Model::w8a8().ascend(20, 64));
    let report = json(
        &site,
        &["profile", "w8a8", "--against", "bf16", "--json"],
        0,
    );
    let base = &report["base"][0];
    assert_eq!(
        (&base["platform"], &base["steps_found_by"]),
        (&Value::from("npu"), &Value::from("period"))
    );
    assert_eq!(base["decode"]["batch"], 64);
    assert!((mean_us(base, "linear") - 17.0 * 9.0).abs() < 1e-9);
    assert_eq!(
        sum(&base["decode"]["period_ns"]) / base["steps"]["decode"].as_u64().expect("steps"),
        Model::bf16().period()
    );
    let rows = report["explanation"]["categories"]
        .as_array()
        .expect("rows");
    let linear = rows
        .iter()
        .find(|row| row["category"] == "linear")
        .expect("a row");
    assert_eq!(linear["other_paths"][0][0], "quantbatchmatmul");
    assert_eq!(linear["other_paths"][1][0], "matmul");
}

#[test]
fn what_cannot_be_read_is_said_with_its_place_and_the_rest_is_read() {
    let site = Site::new();
    let trace = Model::bf16().chrome(20, 64);
    site.write("cut.json", &trace[..trace.len() * 3 / 4]);
    let output = site.rollbench(&["profile", "cut.json"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("cut.json: truncated at byte"), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("Where a decode step goes"));

    site.write(
        "broken.json",
        &trace.replacen("\"ph\":\"X\"", "\"ph\":\"X", 1),
    );
    let report = json(&site, &["profile", "broken.json", "--json"], 1);
    assert_eq!(report["profiles"][0]["steps"]["decode"], 20);

    site.write("empty/readme.txt", "nothing");
    let output = site.rollbench(&["profile", "empty"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no profile in empty"));
    site.write("other.json", "{\"spans\": []}");
    assert_eq!(
        site.rollbench(&["profile", "other.json"]).status.code(),
        Some(3)
    );
    site.write("wrong.toml", "[[rule]]\ncategory = 'mine'\nre = '('\n");
    let output = site.rollbench(&["profile", "broken.json", "--rules", "wrong.toml"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn profiles_that_do_not_compare_claim_nothing() {
    let site = Site::new();
    site.write("bf16.json", &Model::bf16().chrome(20, 64));
    site.write("few.json", &Model::w8a8().chrome(6, 32));
    let report = json(
        &site,
        &["profile", "few.json", "--against", "bf16.json", "--json"],
        0,
    );
    assert_eq!(report["explanation"]["verdict"], "unreliable");
    let reasons = report["explanation"]["reasons"].to_string();
    assert!(
        reasons.contains("the batch differs: 64 and 32") && reasons.contains("6 decode steps"),
        "{reasons}"
    );
}
