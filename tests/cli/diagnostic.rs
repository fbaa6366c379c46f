//! `rollbench diagnostic` on the fake vLLM, whose processes and pipes are real.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const CONFIG: &str = r#"
schema = 1
[engine]
python = "python3"
args = { dtype = "bfloat16" }
[[precision]]
name = "bf16"
label = "BF16"
baseline = true
[[model]]
name = "tiny"
label = "Tiny"
checkpoints.bf16 = "checkpoint"
"#;

const CHECKPOINT: &str = r#"{"architectures": ["LlamaForCausalLM"], "dtype": "bfloat16", "vocab_size": 1000,
    "max_position_embeddings": 2048}"#;

struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary");
        fs::create_dir(dir.path().join("checkpoint")).expect("made");
        let folder = Self { dir };
        folder.write("checkpoint/config.json", CHECKPOINT);
        folder.write("checkpoint/model.safetensors", "");
        folder.write("rollbench.toml", CONFIG);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    fn diagnose(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_rollbench"))
            .arg("diagnostic")
            .args(args)
            .current_dir(self.dir.path())
            .env("ROLLBENCH_CACHE", self.path("cache"))
            .env(
                "PYTHONPATH",
                concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes"),
            )
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("runs")
    }
}

/// Exit code, and of each stage its name and verdict.
fn verdicts(output: &Output) -> (i32, Vec<String>) {
    let error = String::from_utf8_lossy(&output.stderr);
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON; {error}"));
    let stages = report["stages"].as_array().expect("stages").iter();
    let code = output.status.code().expect("no signal");
    assert_eq!(report["exit"], code);
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let stages = stages.map(|s| format!("{} {}", text(&s["name"]), text(&s["verdict"])));
    (code, stages.collect())
}

#[test]
fn a_good_machine_passes_and_no_result_is_touched() {
    let folder = Folder::new();
    fs::create_dir(folder.path("benchmark_results")).expect("made");
    let result = "benchmark_results/tiny_bf16.json";
    folder.write(result, "an earlier result");

    let output = folder.diagnose(&[], &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{error}");
    assert!(text.ends_with("ready to run: 6 in order\n"), "{text}");
    assert!(text.contains("128 output tokens"), "{text}");
    assert!(
        folder
            .path("benchmark_results/diagnostic/tiny_bf16.json")
            .exists()
    );
    let kept = fs::read_to_string(folder.path(result)).expect("there");
    assert_eq!(kept, "an earlier result");
}

#[test]
fn a_failed_stage_decides_and_what_needs_it_is_not_run() {
    let broken = Folder::new();
    broken.write(
        "rollbench.toml",
        &CONFIG.replace("label = \"Tiny\"", "lable = 1"),
    );
    let (code, stages) = verdicts(&broken.diagnose(&["--json"], &[]));
    assert_eq!(code, 2);
    assert_eq!(stages[0], "configuration failed");
    assert_eq!(stages[5], "result not_run");

    let moved = Folder::new();
    fs::remove_dir_all(moved.path("checkpoint")).expect("removed");
    let expected = [
        "configuration ok",
        "checkpoint failed",
        "vllm ok",
        "device ok",
        "engine not_run",
        "result not_run",
    ];
    let (code, stages) = verdicts(&moved.diagnose(&["--json"], &[]));
    assert_eq!((code, stages), (3, expected.map(str::to_owned).to_vec()));

    let bare = Folder::new();
    let (code, stages) = verdicts(&bare.diagnose(&["--json"], &[("PYTHONPATH", "")]));
    assert_eq!(code, 3);
    assert_eq!(stages[1..3], ["checkpoint ok", "vllm failed"]);
    assert_eq!(stages[4], "engine not_run");
}

#[test]
fn an_engine_that_dies_is_diagnosed() {
    let folder = Folder::new();
    let fault = [("FAKE_VLLM", r#"{"fault": "oom"}"#)];
    let output = folder.diagnose(&[], &fault);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("engine         FAILED"), "{text}");
    assert!(text.contains("device memory ran out"), "{text}");
    assert!(text.contains("hint: "), "{text}");
    assert!(text.contains("needs the stage `engine`"), "{text}");
}

#[test]
fn an_argument_that_this_vllm_lacks_fails_before_the_engine() {
    let folder = Folder::new();
    folder.write(
        "rollbench.toml",
        &CONFIG.replace("dtype = \"bfloat16\"", "gpu_memory_utilisation = 0.4"),
    );
    let output = folder.diagnose(&[], &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("no engine argument `gpu_memory_utilisation`"),
        "{text}"
    );
    assert!(
        text.contains("near names: gpu_memory_utilization"),
        "{text}"
    );
}

/// Whatever a run can be told a diagnostic can be told too: it shrinks the plan, not the flags.
#[test]
fn every_flag_of_a_run_is_taken() {
    let folder = Folder::new();
    let config = CHECKPOINT.replace("2048", "65536");
    folder.write("checkpoint/config.json", &config);
    folder.write(
        "texts.jsonl",
        "{\"output\": \"a b c\"}\n{\"output\": \"d\"}\n",
    );
    folder.write("lengths.txt", "100\n900\n");
    let cases: [&[&str]; 7] = [
        &["--until", "2%", "--max-blocks", "8", "--calibrate"],
        &["--workload", "math-4k", "--replicas", "8"],
        &["--shared-prefix", "64", "--steps", "9", "--warmup", "3"],
        &["--lengths-from", "lengths.txt"],
        &["--lengths-from", "texts.jsonl"],
        &[
            "--workload",
            "gsm8k",
            "--fan-out",
            "requests",
            "--like-verl",
        ],
        &[
            "--online",
            "--duration",
            "60",
            "--request-rate",
            "0.01,inf",
            "--max-concurrency",
            "2,4",
        ],
    ];
    for args in cases {
        let output = folder.diagnose(args, &[]);
        let text = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {text}\n{error}");
        assert!(text.contains("128 output tokens"), "{args:?}: {text}");
    }
}
