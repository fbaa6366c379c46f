//! What is made of results without measuring: `compare`, `predict`, `--step-time`, `import-verl`; their exit codes and
//! how they refuse.

use std::process::Output;

use serde_json::{Value, json};

use super::site::Site;

/// A record with every field in use.
const RECORD: &str = include_str!("../../src/record/golden/cell-1.json");

/// A record of `demo_<precision>` whose makespans are `scale` times the golden ones, with one engine start.
fn single(precision: &str, scale: f64) -> String {
    let mut record: Value = serde_json::from_str(RECORD).expect("JSON");
    record["cell"]["precision"] = precision.into();
    for start in record["starts"].as_array_mut().expect("starts") {
        // The golden start has every flaw; this one has none.
        start["neighbours"] = json!([]);
        start["engine"]["difference"] = json!({});
        for step in start["steps"].as_array_mut().expect("steps") {
            // All at once, as a rollout is; the golden step is paced.
            step.as_object_mut().expect("a step").remove("point");
            step["sequences"]["error"] = json!([]);
            let makespan = step["makespan_ns"].as_f64().expect("a number") * scale;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "nanoseconds"
            )]
            let makespan = makespan as u64;
            step["makespan_ns"] = makespan.into();
        }
    }
    record.to_string()
}

/// The same with three engine starts that differ a little.
fn record(precision: &str, scale: f64) -> String {
    let mut record: Value = serde_json::from_str(&single(precision, scale)).expect("JSON");
    for (block, part) in [(1, 1.004), (2, 0.997)] {
        let other: Value = serde_json::from_str(&single(precision, scale * part)).expect("JSON");
        let mut start = other["starts"][0].clone();
        start["block"] = block.into();
        start["id"] = format!("start{block}").into();
        record["starts"].as_array_mut().expect("starts").push(start);
    }
    record.to_string()
}

fn site() -> Site {
    let site = Site::new();
    site.write(
        "base/benchmark_results/demo_bf16.json",
        &record("bf16", 1.0),
    );
    site.write(
        "same/benchmark_results/demo_bf16.json",
        &record("bf16", 1.01),
    );
    site.write(
        "slow/benchmark_results/demo_bf16.json",
        &record("bf16", 1.2),
    );
    site.write(
        "other/benchmark_results/demo_w8a8.json",
        &record("w8a8", 1.0),
    );
    site
}

fn said(site: &Site, output: &Output) -> String {
    site.shown(&String::from_utf8_lossy(&output.stderr))
}

#[test]
fn compare_exits_with_4_only_above_the_threshold() {
    let site = site();
    let code = |args: &[&str]| site.rollbench(args).status.code();
    assert_eq!(code(&["compare", "base", "slow"]), Some(0));
    assert_eq!(
        code(&["compare", "base", "slow", "--fail-above", "5%"]),
        Some(4)
    );
    assert_eq!(
        code(&["compare", "base", "slow", "--fail-above", "30%"]),
        Some(0)
    );
    assert_eq!(
        code(&["compare", "base", "same", "--fail-above", "5%"]),
        Some(0)
    );
    assert_eq!(
        code(&["compare", "slow", "base", "--fail-above", "5%"]),
        Some(0)
    );
    // One engine start has no interval: the gate decides nothing, and says what would.
    for scale in [1.0, 1.2] {
        let folder = format!("single{scale}");
        let file = format!("{folder}/benchmark_results/demo_bf16.json");
        site.write(&file, &single("bf16", scale));
        let undecided = site.rollbench(&["compare", "base", &folder, "--fail-above", "5%"]);
        assert_eq!(undecided.status.code(), Some(1));
        let shown = String::from_utf8_lossy(&undecided.stdout).into_owned();
        assert!(shown.contains("--blocks 6"), "{shown}");
    }
    // A gate that could look at nothing has not passed.
    let mut longer: Value = serde_json::from_str(&record("bf16", 1.0)).expect("JSON");
    for start in longer["starts"].as_array_mut().expect("starts") {
        for step in start["steps"].as_array_mut().expect("steps") {
            let rows = step["sequences"]["output_tokens"].as_array_mut();
            for tokens in rows.expect("tokens") {
                *tokens = (tokens.as_u64().expect("a number") + 1).into();
            }
        }
    }
    site.write(
        "longer/benchmark_results/demo_bf16.json",
        &longer.to_string(),
    );
    assert_eq!(code(&["compare", "base", "longer"]), Some(0));
    assert_eq!(
        code(&["compare", "base", "longer", "--fail-above", "5%"]),
        Some(1)
    );
    let shown = site.rollbench(&["compare", "base", "slow", "--fail-above", "5%", "--json"]);
    let json: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(json["rows"][0]["exceeds"], true);
    let markdown = site.rollbench(&["compare", "base", "slow", "--markdown"]);
    assert!(String::from_utf8_lossy(&markdown.stdout).starts_with("### NEW over BASE"));
}

#[test]
fn sets_without_a_common_cell_are_a_mistake_and_a_missing_folder_is_told() {
    let site = site();
    let strangers = site.rollbench(&["compare", "base", "other"]);
    assert_eq!(strangers.status.code(), Some(2));
    insta::assert_snapshot!(said(&site, &strangers), @r"
error: the two sets have no cell in common: base has demo bf16; other has demo w8a8
hint: cells match by model id, precision id and mode (offline, online)
");
    let missing = site.rollbench(&["compare", "base", "nowhere"]);
    assert_eq!(missing.status.code(), Some(3));
    let ambiguous = site.rollbench(&["compare", "base", "slow", "--fail-above", "5"]);
    assert_eq!(ambiguous.status.code(), Some(2));
}

#[test]
fn a_broken_file_is_named_and_the_rest_is_compared() {
    let site = site();
    site.write("slow/benchmark_results/demo_w4a16.json", "{");
    let output = site.rollbench(&["compare", "base", "slow"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&site, &output).contains("demo_w4a16.json"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("demo bf16"));
}

#[test]
fn predict_refuses_what_it_cannot_know() {
    let site = site();
    let output = site.rollbench(&["predict", "base", "--num-prompts", "2"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stdout).contains("have no spread"));
    let unknown = site.rollbench(&["predict", "base", "--workload", "math4k"]);
    assert_eq!(unknown.status.code(), Some(2));
    insta::assert_snapshot!(said(&site, &unknown), @r"
error: there is no workload `math4k`; there are fixed, gsm8k, math-4k, dapo-8k, dapo-20k, cot-32k
hint: did you mean `math-4k`?
");
}

#[test]
fn predict_takes_the_lengths_that_run_takes() {
    let site = site();
    site.write(
        "texts.jsonl",
        "{\"input\": \"a\", \"output\": \"b c\"}\n{\"input\": \"a\", \"output\": \"d\"}\n",
    );
    site.write("scores.jsonl", "{\"score\": 1.0}\n");
    let answer = |file: &str, python: &str| {
        let args = [
            "predict",
            "base",
            "--lengths-from",
            file,
            "--python",
            python,
        ];
        let output = site.rollbench(&args);
        (output.status.code(), said(&site, &output))
    };
    let (code, words) = answer("texts.jsonl", "nowhere/python");
    assert_eq!(code, Some(3));
    insta::assert_snapshot!(words, @r"
error: these files hold texts, and no record there names a tokenizer to count them with
hint: give a file with lengths instead of texts, one number a line
");
    let (code, words) = answer("scores.jsonl", "python3");
    assert_eq!(code, Some(2));
    insta::assert_snapshot!(words, @"error: scores.jsonl: entry 1 has neither a response length (response_length, response_len, output_tokens, output_len, output_length, completion_tokens, num_output_tokens, length) nor a response text (output, response, completion, answer); it has score");
}

#[test]
fn step_times_that_cannot_be_are_refused() {
    let site = site();
    for (times, words) in [
        (
            "gen=-1,rest=60",
            "gen=-1: a time is a number of seconds, 0 at least",
        ),
        (
            "gen=NaN,rest=60",
            "gen=NaN: a time is a number of seconds, 0 at least",
        ),
        ("gen=100", "`rest=SECONDS` is missing"),
        ("nowhere.log", "cannot read nowhere.log"),
    ] {
        let output = site.rollbench(&["summarize", "base", "--step-time", times]);
        assert_eq!(output.status.code(), Some(2), "{times}");
        assert!(
            said(&site, &output).contains(words),
            "{}",
            said(&site, &output)
        );
    }
}

#[test]
fn a_verl_script_becomes_a_configuration_that_plans() {
    let site = site();
    site.write(
        "run.sh",
        "python3 -m verl.trainer.main_ppo \\\n  data.train_batch_size=64 \\\n  actor_rollout_ref.model.path=/models/x \\\n  \
         actor_rollout_ref.rollout.n=8 actor_rollout_ref.rollout.tensor_model_parallel_size=1\n",
    );
    let output = site.rollbench(&["import-verl", "run.sh", "--out", "rollbench.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&site, &output));
    let again = site.rollbench(&["import-verl", "run.sh", "--out", "rollbench.toml"]);
    assert_eq!(
        again.status.code(),
        Some(2),
        "what is there is not overwritten"
    );
    let plan = site.rollbench(&["plan", "--json"]);
    let json: Value = serde_json::from_slice(&plan.stdout).expect("JSON");
    assert_eq!(json["workload"]["step"]["sequences"], 64);

    site.write(
        "odd.sh",
        "actor_rollout_ref.rollout.n=8 actor_rollout_ref.rollout.brand_new=1\n",
    );
    let odd = site.rollbench(&["import-verl", "odd.sh"]);
    assert_eq!(odd.status.code(), Some(1));
    insta::assert_snapshot!(said(&site, &odd), @r"
not understood:
  line 1: actor_rollout_ref.rollout.brand_new=1
");
    site.write_bytes("image.sh", b"\xff\xfe\x00");
    assert_eq!(
        site.rollbench(&["import-verl", "image.sh"]).status.code(),
        Some(2)
    );
}
