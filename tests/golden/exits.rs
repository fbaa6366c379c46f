//! The exit code of every way in which a command line can end without an engine.

use std::fmt::Write as _;
use std::fs;

use crate::support::{Differences, goldens, transcript};

const CONFIGURATION: &str = r#"schema = 1
[[precision]]
name = "bf16"
baseline = true
[[model]]
name = "tiny"
checkpoints = { bf16 = "ck" }
"#;

const LINES: &[&str] = &[
    "--version",
    "--help",
    "",
    "walk",
    "run --no-such-flag",
    "run --config nowhere.toml",
    "run --config wrong.toml",
    "run --config cpu --gpu-mem-util 1.5",
    "run --python nowhere/python",
    "run --until 2% --blocks 3",
    "run --max-concurrency 2",
    "run --dry-run",
    "plan",
    "plan --json",
    "plan --quants w8a8",
    "plan --config lost.toml",
    "plan --config ascend",
    "plan --workload math4k",
    "diagnostic --python nowhere/python",
    "summarize done",
    "summarize nowhere",
    "summarize empty",
    "summarize damaged",
    "summarize done --step-time gen=100",
    "compare done done",
    "compare done slower",
    "compare done slower --fail-above 5%",
    "compare done slower --fail-above 90%",
    "compare done slower --fail-above 5",
    "compare done nowhere",
    "compare done stranger",
    "compare done damaged",
    "load",
    "load 127.0.0.1:1 --num-prompts 1",
    "predict done --num-prompts 3",
    "predict stranger",
    "import-verl nowhere.sh",
];

#[test]
fn every_line_exits_as_it_did() {
    let site = tempfile::tempdir().expect("a folder");
    let at = |name: &str| site.path().join(name);
    fs::create_dir_all(at("ck")).expect("made");
    let config = r#"{"dtype": "bfloat16", "vocab_size": 1000}"#;
    let lost = CONFIGURATION.replace("\"ck\"", "\"lost\"");
    for (name, text) in [
        ("ck/config.json", config),
        ("ck/model.safetensors", "weights"),
        ("rollbench.toml", CONFIGURATION),
        ("wrong.toml", "schema = 1\n[run]\nstep = 3\n"),
        ("lost.toml", &lost),
    ] {
        fs::write(at(name), text).expect("written");
    }
    fs::create_dir_all(at("empty/benchmark_results")).expect("made");
    for (name, kind) in [
        ("done", "offline"),
        ("slower", "offline-slower"),
        ("stranger", "load"),
        ("damaged", "offline"),
    ] {
        let results = at(name).join("benchmark_results");
        fs::create_dir_all(&results).expect("made");
        for entry in fs::read_dir(goldens().join(kind).join("records")).expect("records") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), results.join(entry.file_name())).expect("copied");
        }
    }
    fs::write(at("damaged/benchmark_results/tiny_w4a16.json"), "{").expect("written");

    let mut table = String::new();
    for line in LINES {
        let args: Vec<&str> = line.split_whitespace().collect();
        let told = transcript(site.path(), &args);
        let (_, code) = told.rsplit_once("--- exit ").expect("an exit code");
        let _ = writeln!(table, "{:>3}  rollbench {line}", code.trim());
    }
    let mut differences = Differences::default();
    differences.compare("exits.txt", table.as_bytes());
    differences.none();
}
