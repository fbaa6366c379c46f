//! rollbench answers, for people who train LLMs with reinforcement learning: does low-precision inference make my
//! rollout faster on this device, by how much, is the number real, and is it safe?
//!
//! Data flows one way: `cli` -> `config` -> `plan` -> `execute` -> events and `record` -> `stats` -> `report`.
//! `docs/architecture.md` is the map of the rooms.

pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod device;
mod dispatch;
pub mod engine;
pub mod error;
pub mod event;
pub mod execute;
pub mod load;
mod output;
pub mod plan;
pub mod process;
pub mod progress;
pub mod record;
pub mod report;
pub mod setup;
pub mod stats;
pub mod units;
pub mod verl;
pub mod workload;

use std::process::ExitCode;

use clap::Parser as _;

/// Parses the command line, runs the command, and says how it went.
pub fn main() -> ExitCode {
    start_logging();
    let cli = cli::Cli::parse();
    match dispatch::run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::note(&failure);
            failure.exit.into()
        }
    }
}

/// Diagnostics of rollbench itself, off unless `ROLLBENCH_LOG` asks for them (`debug`, `rollbench::load=trace` ...).
fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ROLLBENCH_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
