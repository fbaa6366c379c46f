//! Secrets reach nothing: twenty are planted wherever settings and the environment take them, before an engine that
//! prints its arguments and its environment, and every byte that is left or printed is searched.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::world::{Outcome, Running, World};

/// The first ten of the twenty are in the configuration.
const CONFIGURED: usize = 10;
const PLANTED: usize = 20;

fn secret(number: usize) -> String {
    format!("pLanted{number:02}zQ8xW4")
}

/// `@3@` stands for secret 3.
const TEMPLATE: &str = r#"schema = 1
[run]
steps = 1
[workload]
num_prompts = 4
n = 2
input_len = 16
output_len = 8
[engine.env]
HF_TOKEN = "@0@"
MY_API_KEY = "@1@"
HTTPS_PROXY = "http://user:@2@@proxy:3128"
[engine.args]
hf_token = "@3@"
[engine.args.additional_config]
password = "@4@"
endpoint = "https://user:@5@@host/x"
fetch = "https://host/x?n=1&token=@6@"
store = "https://bucket/x?X-Amz-Signature=@7@&X-Amz-Date=1"
headers = ["Authorization: Bearer @8@"]
[engine.args.additional_config.deep.er]
client_secret = "@9@"
[[precision]]
name = "bf16"
baseline = true
[[precision]]
name = "w8a8"
[[model]]
name = "tiny"
checkpoints = { bf16 = "ck/bf16", w8a8 = "ck/w8a8" }
"#;

fn configuration() -> String {
    (0..CONFIGURED).fold(TEMPLATE.to_owned(), |text, number| {
        text.replace(&format!("@{number}@"), &secret(number))
    })
}

/// In the environment of rollbench itself.
fn environment() -> [(&'static str, String); PLANTED - CONFIGURED] {
    let names = [
        "HUGGING_FACE_HUB_TOKEN",
        "OPENAI_API_KEY",
        "VLLM_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "WANDB_API_KEY",
        "DB_PASSWORD",
        "GIT_CREDENTIALS",
        "VLLM_COOKIE",
    ];
    let mut number = CONFIGURED;
    let mut next = || {
        number += 1;
        secret(number - 1)
    };
    let url = ("VLLM_MIRROR", format!("https://me:{}@mirror/", next()));
    let mut planted = names.map(|name| (name, next())).into_iter();
    std::array::from_fn(|at| match at {
        0 => url.clone(),
        _ => planted.next().expect("as many names"),
    })
}

/// Runs `rollbench ARGS` with the environment's secrets.
fn run(world: &World, fake: &Value, args: &[&str]) -> Outcome {
    let mut command = match args {
        ["run", rest @ ..] => world.run_command(fake, rest),
        _ => world.command(fake, args),
    };
    command.envs(environment());
    Running::of(command).end()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let kind = entry.file_type().expect("known");
        if kind.is_dir() {
            files(&entry.path(), found);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
}

fn assert_clean(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for number in 0..PLANTED {
        if let Some(at) = text.find(&secret(number)) {
            let around: String = text[..at].chars().rev().take(80).collect();
            let around: String = around.chars().rev().collect();
            panic!("secret {number} is in {what} after `{around}`");
        }
    }
}

#[test]
fn no_secret_is_in_anything_that_a_run_leaves_or_prints() {
    let world = World::new(&configuration());
    let fine = json!({"print_arguments": true});
    let fails = json!({"print_arguments": true,
        "faults": [{"fault": "raise_in_step", "model": "w8a8", "step": 1}]});
    let commands: [(&Value, &[&str]); 7] = [
        (&fine, &["plan"]),
        (&fine, &["plan", "--json"]),
        (&fine, &["run", "--dry-run"]),
        (&fails, &["run"]),
        (&fine, &["run", "--resume"]),
        (&fine, &["summarize", "benchmark_results", "--json"]),
        (&fine, &["clean"]),
    ];
    for (fake, args) in commands {
        let outcome = run(&world, fake, args);
        assert!(outcome.code <= 1, "{args:?}: {}", outcome.stderr);
        let retries = outcome
            .stderr
            .contains("to measure again what failed: rollbench run ");
        assert_eq!(retries, outcome.code == 1, "{}", outcome.stderr);
        assert_clean(&format!("{args:?}'s stdout"), outcome.stdout.as_bytes());
        assert_clean(&format!("{args:?}'s stderr"), outcome.stderr.as_bytes());
    }
    let mut left = Vec::new();
    files(world.root(), &mut left);
    left.retain(|path| {
        let ours = ["rollbench.toml", "rollbench"].map(|name| world.path(name));
        !ours.contains(path)
    });
    for path in &left {
        assert_clean(&path.display().to_string(), &fs::read(path).expect("read"));
    }
    // What is searched is what it should be: the logs hold what the engine printed, less the secrets.
    let log = left
        .iter()
        .find(|path| path.ends_with("benchmark_logs/tiny_bf16.0.log"))
        .expect("a log");
    let log = fs::read_to_string(log).expect("read");
    assert!(log.contains("'hf_token': '***'"), "{log}");
    assert!(log.contains("'HF_TOKEN': '***'"), "{log}");
}
