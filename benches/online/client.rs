//! The clients: how each is called, and where it says what it measured.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What a client is asked to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Requests, all sent at once.
    pub(crate) streams: u32,
    /// Tokens of each response, one a chunk.
    pub(crate) tokens: u32,
    pub(crate) ttft_ms: f64,
    pub(crate) itl_ms: f64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Client {
    /// One thread, epoll, read: no HTTP, no JSON.
    Reader,
    Rollbench,
    /// `vllm-rs bench serve`, a binary that vLLM's wheels for GPUs ship as `vllm/vllm-rs`.
    VllmRust {
        binary: PathBuf,
        tokenizer: PathBuf,
    },
    /// `vllm bench serve`, with a Python that has vLLM.
    VllmPython {
        python: PathBuf,
        tokenizer: PathBuf,
    },
}

/// What a client said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said {
    pub(crate) ttft_ms: f64,
    pub(crate) itl_p99_ms: f64,
    pub(crate) tokens_per_s: f64,
    /// Of 99 % of the requests; only rollbench tells.
    pub(crate) send_lag_p99_ms: Option<f64>,
    /// Whether it says of itself that it was too slow; only rollbench does.
    pub(crate) saturated: Option<bool>,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reader => "bare TCP reader",
            Self::Rollbench => "rollbench load",
            Self::VllmRust { .. } => "vllm-rs bench serve",
            Self::VllmPython { .. } => "vllm bench serve",
        })
    }
}

impl Client {
    /// The reader, rollbench, and the peers that `VLLM_RS`, `VLLM_PYTHON` and `TOKENIZER` name.
    pub(crate) fn all() -> Vec<Self> {
        let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let mut all = vec![Self::Reader, Self::Rollbench];
        if let Some(tokenizer) = path("TOKENIZER") {
            all.extend(path("VLLM_RS").map(|binary| Self::VllmRust {
                binary,
                tokenizer: tokenizer.clone(),
            }));
            all.extend(path("VLLM_PYTHON").map(|python| Self::VllmPython { python, tokenizer }));
        }
        all
    }

    /// Takes some twenty seconds to start: it is not run as often as the others.
    pub(crate) fn starts_slowly(&self) -> bool {
        matches!(self, Self::VllmPython { .. })
    }

    pub(crate) fn command(&self, url: &str, load: Load, out: &Path) -> Command {
        let streams = load.streams.to_string();
        let tokens = load.tokens.to_string();
        match self {
            Self::Reader => {
                let mut command = Command::new(std::env::current_exe().expect("a path"));
                command.args(["--sink", url, &streams, &tokens]);
                command
            }
            Self::Rollbench => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_rollbench"));
                command.args(["load", url, "--json", "--warmup", "0", "--input-len", "64"]);
                command.args(["--num-prompts", &streams, "--output-len", &tokens, "--out"]);
                command.arg(out);
                command
            }
            Self::VllmRust { binary, tokenizer } => {
                let mut command = Command::new(binary);
                command.args(["bench", "serve"]);
                vllm_flags(&mut command, url, &streams, &tokens, tokenizer, out);
                command
            }
            Self::VllmPython { python, tokenizer } => {
                let mut command = Command::new(python);
                command.args(["-m", "vllm.entrypoints.cli.main", "bench", "serve"]);
                vllm_flags(&mut command, url, &streams, &tokens, tokenizer, out);
                command
            }
        }
    }

    /// From what it printed or wrote.
    pub(crate) fn said(&self, stdout: &str, out: &Path) -> Result<Said, String> {
        let file = out.join("vllm.json");
        let values = match self {
            Self::Reader => parse(stdout)?,
            Self::Rollbench => parse(stdout)?["points"][0].clone(),
            Self::VllmRust { .. } | Self::VllmPython { .. } => parse(
                &std::fs::read_to_string(&file)
                    .map_err(|error| format!("{}: {error}", file.display()))?,
            )?,
        };
        let number = |key: &str| values[key].as_f64().ok_or_else(|| format!("no {key}"));
        Ok(Said {
            ttft_ms: number("mean_ttft_ms")?,
            itl_p99_ms: number("p99_itl_ms")?,
            tokens_per_s: number("output_throughput")?,
            send_lag_p99_ms: values["metrics"]["send_lag_ms"]["p99"].as_f64(),
            saturated: values["client"]["saturated"].as_bool(),
        })
    }
}

fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("no JSON ({error})"))
}

/// vLLM's two clients take the same ones.
fn vllm_flags(
    command: &mut Command,
    url: &str,
    streams: &str,
    tokens: &str,
    tokenizer: &Path,
    out: &Path,
) {
    command.args([
        "--backend",
        "openai",
        "--endpoint",
        "/v1/completions",
        "--model",
        "mock",
    ]);
    command.args([
        "--base-url",
        url,
        "--num-prompts",
        streams,
        "--disable-tqdm",
        "--ignore-eos",
    ]);
    command.args(["--dataset-name", "random", "--random-input-len", "64"]);
    command
        .args(["--random-output-len", tokens, "--tokenizer"])
        .arg(tokenizer);
    command
        .args([
            "--save-result",
            "--result-filename",
            "vllm.json",
            "--result-dir",
        ])
        .arg(out);
    command.env("VLLM_NO_USAGE_STATS", "1");
}
