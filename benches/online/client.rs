//! The clients, each run as a process of its own, and what came of it.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use rollbench::clock::mono_ns;
use rollbench::stats::quantile;
use serde_json::Value;

use super::truth::{Mock, Truth};

#[derive(Debug, Clone)]
pub(crate) enum Client {
    /// One thread, epoll, read: no HTTP, no JSON.
    Sink,
    Rollbench,
    /// `vllm bench serve`, with a Python that has vLLM and the folder of a tokenizer.
    Vllm {
        python: PathBuf,
        tokenizer: PathBuf,
    },
}

/// One run: what the client said, what the server did, what it cost.
#[derive(Debug)]
pub(crate) struct Run {
    ttft_ms: f64,
    itl_p99_ms: f64,
    pub(crate) true_ttft_ms: f64,
    true_itl_p99_ms: f64,
    pub(crate) events: usize,
    pub(crate) cpu_s: f64,
    pub(crate) memory_mb: f64,
    pub(crate) first_request_s: f64,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sink => "bare TCP reader",
            Self::Rollbench => "rollbench load",
            Self::Vllm { .. } => "vllm bench serve",
        })
    }
}

impl Client {
    /// If `VLLM_PYTHON` and `TOKENIZER` name them.
    pub(crate) fn vllm_from_env() -> Option<Self> {
        Some(Self::Vllm {
            python: std::env::var_os("VLLM_PYTHON")?.into(),
            tokenizer: std::env::var_os("TOKENIZER")?.into(),
        })
    }

    pub(crate) fn run(&self, mock: &Mock, streams: u32, tokens: u32, ttft: f64, itl: f64) -> Run {
        let url = format!("http://127.0.0.1:{}/ttft={ttft},itl={itl}", mock.port);
        let out = tempfile::tempdir().expect("a folder");
        let mut command = self.command(&url, streams, tokens, out.path());
        mock.truth();
        let cpu_before = children_cpu();
        let begin_ns = mono_ns();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{self}: {error}"));
        let pid = child.id();
        let watcher = std::thread::spawn(move || peak_memory(pid));
        let mut stdout = child.stdout.take().expect("piped");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stdout, &mut text).expect("UTF-8");
        let status = child.wait().expect("ours");
        assert!(status.success(), "{self} failed: {text}");
        let cpu_s = children_cpu().saturating_sub(cpu_before).as_secs_f64();
        let memory_mb = watcher.join().expect("no panic") as f64 / 1e6;
        let (ttft_ms, itl_p99_ms) = self.said(&text, out.path());
        let mut truth = mock.truth();
        let first = truth.requests.iter().map(|r| r.received_ns).min();
        // Probes and test requests before the run are shorter or came alone: the run is what came last.
        truth.requests.sort_by_key(|r| r.received_ns);
        let skip = truth.requests.len() - streams as usize;
        truth.requests.drain(..skip);
        let mut run = Run {
            ttft_ms,
            itl_p99_ms,
            true_ttft_ms: 0.0,
            true_itl_p99_ms: 0.0,
            events: 0,
            cpu_s,
            memory_mb,
            first_request_s: (first.expect("a request") - begin_ns) as f64 / 1e9,
        };
        run.compare(&truth);
        run
    }

    fn command(&self, url: &str, streams: u32, tokens: u32, out: &std::path::Path) -> Command {
        let streams = streams.to_string();
        let tokens = tokens.to_string();
        match self {
            Self::Sink => {
                let mut command = Command::new(std::env::current_exe().expect("a path"));
                command.args(["--sink", url, &streams, &tokens]);
                command
            }
            Self::Rollbench => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_rollbench"));
                command.args([
                    "load",
                    url,
                    "--json",
                    "--warmup",
                    "0",
                    "--num-prompts",
                    &streams,
                ]);
                command.args(["--input-len", "64", "--output-len", &tokens, "--out"]);
                command.arg(out);
                command
            }
            Self::Vllm { python, tokenizer } => {
                let mut command = Command::new(python);
                command.args([
                    "-m",
                    "vllm.entrypoints.cli.main",
                    "bench",
                    "serve",
                    "--backend",
                    "openai",
                ]);
                command.args([
                    "--base-url",
                    url,
                    "--model",
                    "mock",
                    "--endpoint",
                    "/v1/completions",
                    "--tokenizer",
                ]);
                command.arg(tokenizer);
                command.args(["--dataset-name", "random", "--random-input-len", "64"]);
                command.args([
                    "--random-output-len",
                    &tokens,
                    "--num-prompts",
                    &streams,
                    "--disable-tqdm",
                ]);
                command.args([
                    "--save-result",
                    "--result-filename",
                    "vllm.json",
                    "--result-dir",
                ]);
                command.arg(out);
                command.env("VLLM_NO_USAGE_STATS", "1");
                command
            }
        }
    }

    /// Mean TTFT and p99 ITL in ms, as the client reports them.
    fn said(&self, stdout: &str, out: &std::path::Path) -> (f64, f64) {
        let parse = |text: &str| -> Value { serde_json::from_str(text).expect("JSON") };
        let values = match self {
            Self::Sink => parse(stdout),
            Self::Rollbench => parse(stdout)["points"][0].clone(),
            Self::Vllm { .. } => {
                parse(&std::fs::read_to_string(out.join("vllm.json")).expect("a result"))
            }
        };
        let number = |key: &str| {
            values[key]
                .as_f64()
                .unwrap_or_else(|| panic!("{self}: no {key}"))
        };
        (number("mean_ttft_ms"), number("p99_itl_ms"))
    }
}

impl Run {
    fn compare(&mut self, truth: &Truth) {
        let mut gaps = Vec::new();
        let mut waits = Vec::new();
        for request in &truth.requests {
            let writes = &request.write_ns[0];
            waits.push((writes[0] - request.received_ns) as f64 / 1e6);
            gaps.extend(writes.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e6));
            self.events += writes.len();
        }
        gaps.sort_unstable_by(f64::total_cmp);
        self.true_ttft_ms = waits.iter().sum::<f64>() / waits.len() as f64;
        self.true_itl_p99_ms = quantile(&gaps, 0.99).unwrap_or(f64::NAN);
    }

    pub(crate) fn ttft_error_ms(&self) -> f64 {
        self.ttft_ms - self.true_ttft_ms
    }

    pub(crate) fn itl_p99_error_ms(&self) -> f64 {
        self.itl_p99_ms - self.true_itl_p99_ms
    }

    pub(crate) fn cpu_s_per_million(&self) -> f64 {
        self.cpu_s / self.events as f64 * 1e6
    }
}

/// Processor time of all children that have ended.
fn children_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("always allowed");
    let duration = |time: TimeVal| {
        Duration::from_micros(
            u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or(0),
        )
    };
    duration(usage.user_time()) + duration(usage.system_time())
}

/// The most memory that the process had, in bytes, looked at until it ends.
fn peak_memory(pid: u32) -> u64 {
    let mut peak = 0;
    while let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) {
        let kib = status.lines().find_map(|line| {
            let rest = line.strip_prefix("VmHWM:")?;
            rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        });
        match kib {
            Some(kib) => peak = peak.max(kib * 1024),
            // Ended, and not yet waited for.
            None => break,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    peak
}
