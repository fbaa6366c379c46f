//! Every key of the configuration: the names that each table takes, and what `plan` makes of them.

use std::fmt::Write as _;

use crate::support::{Differences, transcript};

/// A matrix without a mistake, whose tables a test adds to.
const MATRIX: &str = r#"schema = 1
[[precision]]
name = "bf16"
baseline = true
PRECISION
[[model]]
name = "tiny"
checkpoints = { bf16 = "ck" }
MODEL
"#;

/// Every table at the top, and how a document has it with the key `zz`, which none knows.
const TABLES: &[(&str, &str)] = &[
    ("(top)", "zz = 1\n"),
    ("select", "[select]\nzz = 1\n"),
    ("run", "[run]\nzz = 1\n"),
    ("online", "[online]\nzz = 1\n"),
    ("online.goodput", "[online.goodput]\nzz = 1\n"),
    ("workload", "[workload]\nzz = 1\n"),
    ("workload.prompt", "[workload.prompt]\nkind = \"zz\"\n"),
    (
        "workload.response, fixed",
        "[workload.response]\nkind = \"fixed\"\nzz = 1\n",
    ),
    (
        "workload.response, uniform",
        "[workload.response]\nkind = \"uniform\"\nzz = 1\n",
    ),
    (
        "workload.response, lognormal",
        "[workload.response]\nkind = \"lognormal\"\nzz = 1\n",
    ),
    (
        "workload.response, bimodal",
        "[workload.response]\nkind = \"bimodal\"\nzz = 1\n",
    ),
    (
        "workload.response, empirical",
        "[workload.response]\nkind = \"empirical\"\nzz = 1\n",
    ),
    ("workload.sampling", "[workload.sampling]\nzz = 1\n"),
    ("engine", "[engine]\nzz = 1\n"),
    ("engine.limits", "[engine.limits]\nzz = 1\n"),
];

/// Every key at a value that is not its default, but for those that exclude each other.
const EVERY_KEY: &str = r#"schema = 1
[select]
models = ["tiny"]
precisions = ["bf16", "w8a8"]
[run]
steps = 4
warmup = 2
blocks = 7
calibrate = true
smallest_effect = 0.03
seed = 5
fan_out = "requests"
gate_timeout_s = 90
[online]
request_rate = [2, inf]
max_concurrency = [8, 16]
burstiness = 0.5
goodput = { ttft_ms = 500, tpot_ms = 50, e2el_ms = 9000 }
api = "completions"
[workload]
num_prompts = 6
n = 3
prompt = { kind = "uniform", min = 10, max = 20 }
response = { kind = "lognormal", mean = 60, sigma = 0.7, cap = 128 }
sibling_correlation = 0.25
shared_prefix = 4
replicas = 2
sampling = { temperature = 0.9, top_p = 0.95, top_k = 50, logprobs = 0 }
[engine]
python = "/usr/bin/env"
args = { gpu_memory_utilization = 0.5, max_num_seqs = 64 }
env = { OMP_NUM_THREADS = "4", HF_TOKEN = "secret" }
limits = { start_s = 100, stall_s = 200, stop_s = 30, profile_flush_s = 40 }
[[precision]]
name = "bf16"
label = "BF16"
baseline = true
[[precision]]
name = "w8a8"
label = "W8A8"
args = { enforce_eager = true }
env = { OMP_NUM_THREADS = "2" }
unset = ["max_num_seqs"]
limits = { stop_s = 31 }
unsupported = { cuda = "no kernel" }
[[model]]
name = "tiny"
label = "Tiny"
args = { max_num_batched_tokens = 2048 }
checkpoints = { bf16 = "ck", w8a8 = { path = "ck", tokenizer = "ck" } }
cells.w8a8 = { args = { block_size = 32 }, env = {}, unset = [], limits = { start_s = 101 } }
"#;

/// A folder with a checkpoint `ck`.
fn site() -> tempfile::TempDir {
    let site = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(site.path().join("ck")).expect("made");
    let config = r#"{"dtype": "bfloat16", "vocab_size": 1000}"#;
    std::fs::write(site.path().join("ck/config.json"), config).expect("written");
    std::fs::write(site.path().join("ck/model.safetensors"), "weights").expect("written");
    site
}

#[test]
fn every_table_takes_the_keys_that_it_took() {
    let site = site();
    let plain = MATRIX.replace("PRECISION", "").replace("MODEL", "");
    let (head, rest) = plain.split_once('\n').expect("lines");
    let mut documents: Vec<(&str, String)> = Vec::new();
    for (name, table) in TABLES {
        documents.push((name, format!("{head}\n{table}{rest}")));
    }
    let nested = |precision: &str, model: &str| {
        MATRIX
            .replace("PRECISION", precision)
            .replace("MODEL", model)
    };
    documents.push(("precision", nested("zz = 1", "")));
    documents.push(("model", nested("", "zz = 1")));
    documents.push(("model.cells.*", nested("", "[model.cells.bf16]\nzz = 1")));
    let checkpoint = plain.replace(r#""ck""#, r#"{ path = "ck", zz = 1 }"#);
    documents.push(("model.checkpoints.*", checkpoint));

    let mut text = String::new();
    for (name, document) in documents {
        std::fs::write(site.path().join("rollbench.toml"), document).expect("written");
        let told = transcript(site.path(), &["plan"]);
        assert!(told.contains("zz"), "{name}: {told}");
        let _ = writeln!(text, "## {name}\n{told}");
    }
    let mut differences = Differences::default();
    differences.compare("keys/tables.txt", text.as_bytes());
    differences.none();
}

#[test]
fn every_key_has_its_place_in_the_plan() {
    let site = site();
    std::fs::write(site.path().join("rollbench.toml"), EVERY_KEY).expect("written");
    let mut differences = Differences::default();
    for (file, args) in [
        ("keys/offline.txt", &["plan", "--json"][..]),
        ("keys/online.txt", &["plan", "--json", "--online"]),
        ("keys/text.txt", &["plan", "--online"]),
    ] {
        let told = transcript(site.path(), args);
        let folder = site.path().canonicalize().expect("there");
        let told = told.replace(&folder.display().to_string(), "DIR");
        // Columns are as wide as the folder's name.
        let aligned = |line: &str| {
            let indent = line.len() - line.trim_start().len();
            let words: Vec<&str> = line.split_whitespace().collect();
            format!("{:indent$}{}", "", words.join(" "))
        };
        let told: String = told.lines().map(|line| aligned(line) + "\n").collect();
        differences.compare(file, told.as_bytes());
    }
    differences.none();
}
