//! How good the load client is: its error and its cost beside a bare TCP reader and `vllm bench serve`, against a
//! server that keeps the truth. Prints the tables of `docs/online-client.md`.
//!
//!     cargo bench --bench online                      everything, about half an hour
//!     cargo bench --bench online -- --repeats 1 --streams 16,128
//!     VLLM_PYTHON=ENV/bin/python TOKENIZER=DIR cargo bench --bench online
//!
//! The machine should have nothing else to do: every client shares its processors with the server. Clients take
//! turns in every round, so that a disturbance meets all of them.

mod client;
mod sink;
mod truth;

use std::process::ExitCode;

use client::{Client, Run};
use truth::Mock;

/// As a small model on an accelerator: 50 tokens a second and stream.
const TTFT_MS: f64 = 50.0;
const ITL_MS: f64 = 20.0;

struct Options {
    streams: Vec<u32>,
    repeats: usize,
    tokens: u32,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "--sink") {
        return sink::main(&args[1..]);
    }
    let Some(options) = options(&args) else {
        eprintln!(
            "usage: cargo bench --bench online -- [--repeats N] [--streams A,B,...] [--tokens N]"
        );
        return ExitCode::from(2);
    };
    let mock = Mock::start();
    let mut clients = vec![Client::Sink, Client::Rollbench];
    clients.extend(Client::vllm_from_env());
    accuracy(&mock, &clients, &options);
    cost(&mock, &clients, &options);
    size(&mock);
    ExitCode::SUCCESS
}

fn options(args: &[String]) -> Option<Options> {
    let mut options = Options {
        streams: vec![16, 128, 512, 1024],
        repeats: 5,
        tokens: 256,
    };
    let mut args = args.iter().filter(|a| *a != "--bench");
    while let Some(flag) = args.next() {
        let value = args.next()?;
        match flag.as_str() {
            "--streams" => {
                options.streams = value
                    .split(',')
                    .map(|s| s.parse().ok())
                    .collect::<Option<_>>()?;
            }
            "--repeats" => options.repeats = value.parse().ok().filter(|n| *n > 0)?,
            "--tokens" => options.tokens = value.parse().ok().filter(|n| *n > 1)?,
            _ => return None,
        }
    }
    Some(options)
}

/// What each client reported against what the server did, the median over the rounds.
fn accuracy(mock: &Mock, clients: &[Client], options: &Options) {
    println!(
        "### Accuracy: TTFT {TTFT_MS} ms, ITL {ITL_MS} ms, {} tokens; median of {} rounds, clients in turn\n",
        options.tokens, options.repeats
    );
    println!(
        "| streams | client | mean TTFT, error | p99 ITL, error | TTFT at the server | spread of the error |"
    );
    println!("| ---: | --- | ---: | ---: | ---: | ---: |");
    for streams in &options.streams {
        let mut runs: Vec<Vec<Run>> = clients.iter().map(|_| Vec::new()).collect();
        for _ in 0..options.repeats {
            for (client, runs) in clients.iter().zip(&mut runs) {
                runs.push(client.run(mock, *streams, options.tokens, TTFT_MS, ITL_MS));
            }
        }
        for (client, runs) in clients.iter().zip(&runs) {
            let of = |value: fn(&Run) -> f64| median(runs.iter().map(value).collect());
            let errors = || runs.iter().map(Run::ttft_error_ms);
            let low = errors().fold(f64::INFINITY, f64::min);
            let high = errors().fold(f64::NEG_INFINITY, f64::max);
            println!(
                "| {streams} | {client} | {:+.2} ms | {:+.2} ms | {:.2} ms | {low:+.2} to {high:+.2} ms |",
                of(Run::ttft_error_ms),
                of(Run::itl_p99_error_ms),
                of(|run| run.true_ttft_ms),
            );
        }
    }
    println!();
}

/// Processor time per event, with nearly one read for each.
fn cost(mock: &Mock, clients: &[Client], options: &Options) {
    const STREAMS: u32 = 256;
    println!(
        "### Cost: {STREAMS} streams, ITL {ITL_MS} ms, {} tokens; median of {} rounds\n",
        options.tokens, options.repeats
    );
    println!(
        "| client | CPU s per million events | CPU s in all | memory at most | start to first request |"
    );
    println!("| --- | ---: | ---: | ---: | ---: |");
    let mut runs: Vec<Vec<Run>> = clients.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.repeats {
        for (client, runs) in clients.iter().zip(&mut runs) {
            runs.push(client.run(mock, STREAMS, options.tokens, TTFT_MS, ITL_MS));
        }
    }
    for (client, runs) in clients.iter().zip(&runs) {
        let of = |value: fn(&Run) -> f64| median(runs.iter().map(value).collect());
        println!(
            "| {client} | {:.1} | {:.2} | {:.0} MB | {:.3} s |",
            of(Run::cpu_s_per_million),
            of(|run| run.cpu_s),
            of(|run| run.memory_mb),
            of(|run| run.first_request_s),
        );
    }
    println!();
}

/// A million tokens in flight at once.
fn size(mock: &Mock) {
    let run = Client::Rollbench.run(mock, 1024, 1024, TTFT_MS, ITL_MS);
    println!("### Size: 1,024 streams x 1,024 tokens\n");
    println!(
        "{} events; memory at most {:.0} MB; {:.1} CPU s per million events; mean TTFT {:+.2} ms, p99 ITL {:+.2} ms off",
        run.events,
        run.memory_mb,
        run.cpu_s_per_million(),
        run.ttft_error_ms(),
        run.itl_p99_error_ms()
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    rollbench::stats::quantile(&values, 0.5).unwrap_or(f64::NAN)
}
