//! `rollbench plan` through the real binary.

use super::site::Site;

const TINY: &str = r#"schema = 1
[workload]
num_prompts = 4
n = 2
input_len = 16
output_len = 8
[[precision]]
name = "bf16"
baseline = true
[[precision]]
name = "w8a8"
[[model]]
name = "tiny"
checkpoints = { bf16 = "${MODEL_BASE}/tiny", w8a8 = "${MODEL_BASE}/tiny-W8A8" }
"#;

fn site() -> Site {
    let site = Site::new();
    site.write("rollbench.toml", TINY);
    site.write(
        "m/tiny/config.json",
        r#"{"dtype": "bfloat16", "vocab_size": 100}"#,
    );
    site.write("m/tiny/model.safetensors", "weights");
    site
}

#[test]
fn the_first_line_says_which_matrix_and_why() {
    let site = Site::new();
    let output = site.rollbench(&["plan", "--config", "cpu"]);
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        stdout.lines().next(),
        Some("matrix      built-in cpu (flag --config)")
    );
    assert_eq!(site.files(), Vec::<String>::new(), "a plan writes nothing");
}

#[test]
fn json_goes_to_stdout_with_flags_and_variables_as_origins() {
    let site = site();
    let output = site.rollbench(&["plan", "--json", "--model-base", "m", "--steps", "7"]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(plan["settings"]["run.steps"]["value"], 7);
    assert_eq!(plan["settings"]["run.steps"]["origin"], "flag --steps");
    assert_eq!(
        plan["settings"]["model_base"]["origin"],
        "flag --model-base"
    );
    assert_eq!(plan["cells"][1]["skip"]["kind"], "checkpoint_missing");
    assert_eq!(plan["cells"][0]["checkpoint"]["format"], "BF16");
}

#[test]
fn dry_run_is_the_plan() {
    let site = site();
    let plan = site.rollbench(&["plan", "--model-base", "m"]);
    let dry = site.rollbench(&["run", "--dry-run", "--model-base", "m"]);
    assert_eq!(plan.stdout, dry.stdout);
    assert_eq!(plan.status.code(), dry.status.code());
    assert!(!plan.stdout.is_empty());
}

#[test]
fn a_plan_of_skips_alone_is_shown_and_exits_with_3() {
    let site = site();
    let output = site.rollbench(&["plan", "--model-base", "elsewhere"]);
    assert_eq!(output.status.code(), Some(3));
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(stdout.contains("skipped: tiny_bf16: checkpoint does not exist: "));
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    insta::assert_snapshot!(site.shown(&stderr), @"
    error: every selected cell is skipped
    hint: checkpoints are missing: check MODEL_BASE (or --model-base) and the paths in the configuration
    ");
}

#[test]
fn a_truncated_checkpoint_is_an_error_of_the_environment() {
    let site = site();
    site.write("m/tiny/config.json", r#"{"dtype": "bflo"#);
    let output = site.rollbench(&["plan", "--model-base", "m"]);
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    insta::assert_snapshot!(site.shown(&stderr), @"
    error: the checkpoint of tiny_bf16 cannot be used: DIR/m/tiny/config.json is not valid JSON: EOF while parsing a string at line 1 column 15
    hint: the file is damaged or half copied: copy the checkpoint again; or leave the cell out with --models or --quants (tiny_bf16)
    ");
}
