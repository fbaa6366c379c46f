//! Workloads shaped like real rollouts: what `plan` says of them before anything starts, and what cannot be.

use crate::site::Site;

fn site() -> Site {
    let site = Site::new();
    site.write(
        "rollbench.toml",
        r#"schema = 1
[engine]
python = "python3"
[[precision]]
name = "bf16"
baseline = true
[[model]]
name = "tiny"
checkpoints = { bf16 = "tiny" }
"#,
    );
    site.write(
        "tiny/config.json",
        r#"{"dtype": "bfloat16", "vocab_size": 1000, "max_position_embeddings": 65536}"#,
    );
    site
}

fn step_of(site: &Site, args: &[&str]) -> serde_json::Value {
    let output = site.rollbench(&[&["plan", "--json"], args].concat());
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    plan["workload"].clone()
}

fn mistake(site: &Site, args: &[&str]) -> String {
    let output = site.rollbench(&[&["plan"], args].concat());
    assert_eq!(output.status.code(), Some(2));
    site.shown(&String::from_utf8(output.stderr).expect("UTF-8"))
}

#[test]
fn a_preset_is_drawn_before_anything_starts() {
    let site = site();
    let output = site.rollbench(&["plan", "--workload", "math-4k", "--replicas", "2"]);
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    let step: Vec<&str> = shown
        .lines()
        .skip_while(|l| !l.starts_with("a step"))
        .take(5)
        .collect();
    insta::assert_snapshot!(step.join("\n"), @r"
a step      offline: samples of 32 prompts = 128 sequences, 200 tokens in, 1124 on average (up to 4,096) out
            responses: p50 889, p90 2351, p99 3815; 0.8 % at the longest; 143,892 tokens in all
            the share of one of 2 replicas of 32 prompts x 8, siblings scattered as by verl's balancer
            each sample is a request of its own, as in verl
steps       1 warm-up + 3 measured on each engine start; 1 engine start a cell
");
    let settings: Vec<&str> = shown
        .lines()
        .filter(|l| l.trim_start().starts_with("workload."))
        .collect();
    insta::assert_snapshot!(settings.join("\n"), @r#"
workload.preset = "math-4k"          flag --workload
workload.num_prompts = 32            default
workload.n = 8                       default
workload.input_len = 200             flag --workload
workload.response = {"kind":"lognormal","mean":1060.0,"sigma":0.7,"cap":4096}  flag --workload
workload.sibling_correlation = 0.5   flag --workload
workload.replicas = 2                flag --replicas
workload.sampling.temperature = 1.0  default
workload.sampling.top_p = 1.0        default
workload.sampling.top_k = -1         default
workload.sampling.logprobs = null    default
"#);
}

#[test]
fn observed_lengths_are_taken_as_they_are() {
    let site = site();
    site.write("lengths.txt", "100\n200\n300\n900\n");
    let step = step_of(
        &site,
        &[
            "--lengths-from",
            "lengths.txt",
            "--num-prompts",
            "4",
            "-n",
            "1",
        ],
    );
    assert_eq!(step["step"]["output_tokens"], 1500);
    assert_eq!(step["step"]["response"]["max"], 900);
}

#[test]
fn impossible_workloads_are_refused_with_the_reason() {
    let site = site();
    insta::assert_snapshot!(mistake(&site, &["--workload", "math4k"]), @r"
error: --workload math4k: there is no workload `math4k`; there are fixed, gsm8k, math-4k, dapo-8k, dapo-20k, cot-32k
 |
 = help: did you mean `math-4k`?

error: 1 mistake in the configuration; nothing was run
");
    insta::assert_snapshot!(mistake(&site, &["--workload", "math-4k", "--output-len", "9"]), @r"
error: --output-len and --workload both say how long responses are
 |
 = help: leave one of them out

error: 1 mistake in the configuration; nothing was run
");
    insta::assert_snapshot!(mistake(&site, &["--workload", "math-4k", "--fan-out", "n"]), @r"
error: one request with n samples cannot give them different lengths
 |
 = help: use --fan-out requests, or a sibling correlation of 1

error: 1 mistake in the configuration; nothing was run
");
    insta::assert_snapshot!(mistake(&site, &["--replicas", "1000"]), @r"
error: 256 requests cannot be spread over 1000 replicas

error: 1 mistake in the configuration; nothing was run
");
    insta::assert_snapshot!(mistake(&site, &["--shared-prefix", "512"]), @r"
error: shared_prefix of 512 tokens leaves no token of its own to a prompt of 512

error: 1 mistake in the configuration; nothing was run
");
    insta::assert_snapshot!(mistake(&site, &["--sibling-correlation", "2"]), @r"
error: sibling_correlation must be between 0 and 1, not 2

error: 1 mistake in the configuration; nothing was run
");
    insta::assert_snapshot!(mistake(&site, &["--lengths-from", "nowhere.jsonl"]), @r"
error: cannot read DIR/nowhere.jsonl
  caused by: No such file or directory (os error 2)
hint: --lengths-from takes files: verl's {step}.jsonl, a column of numbers, or ShareGPT-like JSON
");
    site.write("scores.jsonl", "{\"score\": 1.0, \"step\": 4}\n");
    insta::assert_snapshot!(mistake(&site, &["--lengths-from", "scores.jsonl"]), @"error: scores.jsonl: entry 1 has neither a response length (response_length, response_len, output_tokens, output_len, output_length, completion_tokens, num_output_tokens, length) nor a response text (output, response, completion, answer); it has score, step");
}

#[test]
fn a_distribution_in_the_file_is_checked_where_it_stands() {
    let site = site();
    let head = "schema = 1\n[[precision]]\nname = \"bf16\"\nbaseline = true\n[[model]]\nname = \"tiny\"\ncheckpoints = { bf16 = \"tiny\" }\n[workload]\n";
    let wrong = |text: &str| {
        site.write("rollbench.toml", &format!("{head}{text}\n"));
        mistake(&site, &[])
    };
    insta::assert_snapshot!(wrong("response = { kind = \"lognormal\", mean = 5000, sigma = 0.7, cap = 4096 }"), @r#"
error: a mean of 5000 tokens is impossible with a cap of 4096: lengths are cut at the cap, so their mean is below it
 --> rollbench.toml:9:12
  |
9 | response = { kind = "lognormal", mean = 5000, sigma = 0.7, cap = 4096 }
  |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

error: 1 mistake in the configuration; nothing was run
"#);
    insta::assert_snapshot!(wrong("response = { kind = \"lognorm\", mean = 500 }"), @r#"
error: `workload.response.kind` cannot be `lognorm`
 --> rollbench.toml:9:21
  |
9 | response = { kind = "lognorm", mean = 500 }
  |                     ^^^^^^^^^ one of `fixed`, `uniform`, `lognormal`, `bimodal` and `empirical`

error: 1 mistake in the configuration; nothing was run
"#);
    insta::assert_snapshot!(wrong("response = { kind = \"uniform\", min = 5 }"), @r#"
error: a uniform distribution also needs `max`
 --> rollbench.toml:9:14
  |
9 | response = { kind = "uniform", min = 5 }
  |              ^^^^

error: 1 mistake in the configuration; nothing was run
"#);
    insta::assert_snapshot!(wrong("output_len = 5\nresponse = { kind = \"fixed\", tokens = 5 }"), @r#"
error: both `output_len` and `response` say how long
  --> rollbench.toml:10:1
   |
 9 | output_len = 5
   | ---------- the other one
10 | response = { kind = "fixed", tokens = 5 }
   | ^^^^^^^^

error: 1 mistake in the configuration; nothing was run
"#);
    site.write(
        "rollbench.toml",
        &format!("{head}num_prompts = 4\nn = 1\nresponse = {{ kind = \"empirical\", lengths = [30, 10, 20, 40] }}\n"),
    );
    assert_eq!(step_of(&site, &[])["step"]["output_tokens"], 100);
}

#[test]
fn what_verl_would_do_differently_is_listed() {
    let site = site();
    site.write(
        "rollbench.toml",
        "schema = 1\n[engine]\nargs = { dtype = \"bfloat16\", max_num_seqs = 32, enforce_eager = true }\n[[precision]]\n\
         name = \"bf16\"\nbaseline = true\n[[model]]\nname = \"tiny\"\ncheckpoints = { bf16 = \"tiny\" }\n\
         [workload.sampling]\ntemperature = 0.7\n",
    );
    let output = site.rollbench(&["plan", "--like-verl"]);
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    let notes: Vec<&str> = shown
        .lines()
        .filter(|l| l.contains("as verl has it"))
        .collect();
    insta::assert_snapshot!(notes.join("\n"), @r#"
note: as verl has it: max_num_seqs = 256, instead of 32 (file rollbench.toml:3)
note: as verl has it: enforce_eager = false, instead of true (file rollbench.toml:3)
note: as verl has it: max_num_batched_tokens = 8192, instead of vLLM's default
note: as verl has it: enable_chunked_prefill = true, instead of vLLM's default
note: as verl has it: enable_prefix_caching = true, instead of vLLM's default
note: as verl has it: logprobs_mode = "processed_logprobs", instead of vLLM's default
note: as verl has it: workload.sampling.temperature = 1.0, instead of 0.7 (file rollbench.toml:11)
note: as verl has it: workload.sampling.logprobs = 0, instead of null (default)
"#);
}

/// Only a probe may start Python: what has to be counted is told.
#[test]
fn a_plan_of_texts_counts_nothing() {
    let site = site();
    site.write(
        "texts.jsonl",
        "{\"output\": \"a b c\"}\n{\"output\": \"d\"}\n",
    );
    site.write(
        "rollbench.toml",
        &String::from_utf8(site.read("rollbench.toml"))
            .expect("UTF-8")
            .replace("python3", "./nowhere/python"),
    );
    let output = site.rollbench(&["plan", "--lengths-from", "texts.jsonl"]);
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    let words = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(
        shown.contains("= 256 sequences; lengths are counted when the run begins"),
        "{shown}"
    );
    for unknown in ["estimate", "max_model_len", "output_len"] {
        assert!(!shown.contains(unknown), "{unknown}: {shown}");
    }
    let workload = step_of(&site, &["--lengths-from", "texts.jsonl"]);
    assert!(workload["step"].is_null() && workload["spec"].is_null());
    for args in [&["plan", "--probe"][..], &["run"]] {
        let output = site.rollbench(&[args, &["--lengths-from", "texts.jsonl"]].concat());
        assert_eq!(output.status.code(), Some(3));
        let words = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(words.contains("there is no Python at"), "{words}");
    }
}
