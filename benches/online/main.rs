//! How good the load client is: its error and its cost beside a bare TCP reader and vLLM's own two clients, against a
//! server that keeps the truth. Prints the tables of `docs/online.md`.
//!
//!     cargo bench --bench online                       without peers, four minutes
//!     VLLM_RS=FILE VLLM_PYTHON=ENV/bin/python TOKENIZER=DIR cargo bench --bench online       with them, under ten
//!     cargo bench --bench online -- --quick            everything once and small: to see that it works
//!
//! `vllm/vllm-rs` is in vLLM's wheels for GPUs (0.22 and newer), runs without one, and can be taken out of the wheel;
//! `TOKENIZER` is the folder of any tokenizer that vLLM loads.
//!
//! The machine should have nothing else to do: every client shares its processors with the server.

mod client;
mod rounds;
mod run;
mod sink;
mod tables;
mod truth;

use std::process::ExitCode;
use std::time::Instant;

use client::Client;
use tables::Bench;
use truth::Mock;

/// How much is run.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// All at once.
    streams: Vec<u32>,
    repeats: usize,
    /// Of a client that takes long to start.
    slow_repeats: usize,
    /// Per response, where the streams are varied.
    tokens: u32,
    /// Per response, where the cost is measured.
    long_tokens: u32,
    /// Streams and tokens of the large runs.
    large: (u32, u32),
    many: (u32, u32),
}

impl Options {
    fn full() -> Self {
        Self {
            streams: vec![16, 128, 512, 1024],
            repeats: 5,
            slow_repeats: 1,
            tokens: 128,
            long_tokens: 384,
            large: (1024, 1024),
            many: (10_000, 8),
        }
    }

    fn quick() -> Self {
        Self {
            streams: vec![16, 128],
            repeats: 1,
            slow_repeats: 1,
            tokens: 32,
            long_tokens: 128,
            large: (256, 64),
            many: (2000, 4),
        }
    }

    fn parse(args: &[String]) -> Option<Self> {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut args = args.iter().filter(|a| **a != "--bench").peekable();
        let mut options = match args.next_if_eq(&&"--quick") {
            Some(_) => Self::quick(),
            None => Self::full(),
        };
        while let Some(flag) = args.next() {
            let value = args.next()?;
            match *flag {
                "--streams" => {
                    let streams = value.split(',').map(|s| s.parse().ok());
                    options.streams = streams.collect::<Option<_>>()?;
                }
                "--repeats" => options.repeats = value.parse().ok().filter(|n| *n > 0)?,
                "--slow-repeats" => options.slow_repeats = value.parse().ok()?,
                "--tokens" => options.tokens = value.parse().ok().filter(|n| *n > 1)?,
                _ => return None,
            }
        }
        Some(options)
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "--sink") {
        return sink::main(&args[1..]);
    }
    let Some(options) = Options::parse(&args) else {
        eprintln!(
            "usage: cargo bench --bench online -- [--quick] [--streams A,B,...] [--repeats N] [--slow-repeats N] [--tokens N]"
        );
        return ExitCode::from(2);
    };
    let begin = Instant::now();
    let bench = Bench::new(Mock::start(), Client::all(), options);
    println!("{}\n", machine());
    let accuracy = bench.accuracy();
    let cost = bench.cost();
    bench.peak();
    bench.many();
    let large = bench.large();
    tables::held(&accuracy, &cost, large.as_ref());
    eprintln!("{:.0} s in all", begin.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

/// What it was measured on, and how quiet that was.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find(|l| l.starts_with("model name"));
    let model = model
        .and_then(|l| l.split(": ").nth(1))
        .unwrap_or("unknown");
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{model}, {} CPUs, Linux {}; {}; load average before: {}",
        std::thread::available_parallelism().map_or(0, usize::from),
        kernel.trim(),
        jiff::Timestamp::now().strftime("%Y-%m-%d"),
        load.split(' ').next().unwrap_or("unknown"),
    )
}
