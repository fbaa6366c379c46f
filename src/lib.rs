//! rollbench answers, for people who train LLMs with reinforcement learning: does low-precision inference make my
//! rollout faster on this device, by how much, is the number real, and is it safe?
//!
//! Data flows one way: `cli` -> `config` -> `plan` -> `execute` -> events and `record` -> `stats` -> `report`.
//! `docs/architecture.md` is the map of the rooms.

mod background;
mod checkpoint;
mod cli;
mod clock;
mod commands;
mod config;
mod device;
mod dispatch;
mod engine;
mod error;
mod event;
mod execute;
mod load;
mod output;
mod plan;
mod process;
mod profile;
mod progress;
mod record;
mod report;
mod setup;
mod stats;
mod units;
mod verl;
mod workload;

/// What tests, benches and fuzz targets use of the rooms. Not an interface: it follows them.
#[doc(hidden)]
pub mod testing {
    /// One clock for both sides of a test.
    pub mod clock {
        pub use crate::clock::mono_ns;
    }
    /// What an engine is launched with.
    pub mod config {
        pub use crate::config::{FanOut, Limits};
    }
    /// Engines, without the executor.
    pub mod engine {
        pub use crate::engine::{
            Engine, Launch, LoadShape, OfflineEngine, OfflineSession, ProfilerOrder, ServerEngine,
            ServerSession, Session, StepRequest, Urgency,
        };
    }
    /// What an engine tells while it works.
    pub mod event {
        pub use crate::event::{Envelope, Event, EventSink};
    }
    /// The streaming client, without an engine.
    pub mod load {
        pub use crate::load::{
            Api, Chunk, Decoded, Expected, Limit, Load, LoadError, Outcome, Pacing, Request,
            RequestEncoder, ResponseDecoder, Spread, SseParser, Target, Timeouts, Watch,
            allow_streams, run,
        };
    }
    /// The guard, without an engine.
    pub mod process {
        pub use crate::process::{Guard, GuardedCommand, RunDir, SpawnError};
    }
    /// Readers of profiles, for whatever bytes.
    pub mod profile {
        pub use crate::profile::{digest_bytes, digest_file};
    }
    /// Records, as a run leaves them.
    pub mod record {
        pub use crate::record::{
            Arm, CellRecord, CellStatus, ChunkTokens, EngineFacts, EngineStart, ExitStatus,
            Failure, FailureKind, FinishSource, Phase, Role, Sequences, StartKind, StartStatus,
            Step, StepStatus, Store, TokenTimes, read_tokens,
        };
    }
    /// Rendering records.
    pub mod report {
        pub use crate::report::{Format, Language, read, render};
    }
    /// Statistics of records.
    pub mod stats {
        pub use crate::stats::{StepMetrics, block_logs, blocks, paired, quantile, simulate};
    }
    /// Requests of a step.
    pub mod workload {
        pub use crate::workload::{Batch, Sample, Sampling};
    }
}

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::process::ExitCode;

use error::{CommandError, Exit};

/// Runs the command line `args`, the program's name first, and says how it went.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    match args.get(1).and_then(|first| first.to_str()) {
        // The guard is this same binary. It must stay small and single-threaded, so it parts ways before anything else.
        Some("__guard") => return process::guard_main(),
        Some("__supervise") => return process::supervise_main(),
        _ => {}
    }
    let cli = cli::parse(args);
    output::set_manner(cli.quiet, cli.color);
    for (name, value) in std::env::vars_os() {
        record::redact::learn(&name.to_string_lossy(), &value.to_string_lossy());
    }
    start_logging(cli.verbose);
    std::panic::set_hook(Box::new(|panic| output::error(defect(panic))));
    exit_of(|| dispatch::run(cli)).into()
}

/// Runs `command` to its exit code, saying why it failed. A panic drops what it held, and guards end what runs.
fn exit_of(command: impl FnOnce() -> Result<Exit, CommandError>) -> Exit {
    match std::panic::catch_unwind(AssertUnwindSafe(command)) {
        Ok(Ok(exit)) => exit,
        Ok(Err(failure)) => {
            output::error(&failure);
            failure.exit
        }
        Err(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            if lacks_threads(words.or(panic.downcast_ref().copied()).unwrap_or_default()) {
                Exit::Environment
            } else {
                Exit::Internal
            }
        }
    }
}

/// Whether a library panicked because the system makes no thread, which is how it says so.
fn lacks_threads(words: &str) -> bool {
    ["can't spawn worker thread", "failed to spawn thread"]
        .iter()
        .any(|said| words.contains(said))
}

/// What is said of a panic.
fn defect(panic: &PanicHookInfo<'_>) -> String {
    let words = panic.payload_as_str().unwrap_or("without words");
    if lacks_threads(words) {
        return format!(
            "error: {words}\nhint: raise the number of processes that this user may have (`ulimit -u`, or the \
             container's limit of pids)"
        );
    }
    let place = panic.location().map(ToString::to_string);
    format!(
        "error: a defect in rollbench {}: {words} ({})\n\
         hint: please report it with these lines, the command and the configuration; what was measured is kept, and \
         `rollbench clean` shows whether anything is left running",
        env!("CARGO_PKG_VERSION"),
        place.unwrap_or_default(),
    )
}

/// What happens inside, off unless `-v`, or `ROLLBENCH_LOG` in more detail (`debug`, `rollbench::load=trace` ...), asks
/// for it.
fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "rollbench=info",
        2 => "rollbench=debug",
        _ => "rollbench=trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("ROLLBENCH_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(output::styled())
        .with_writer(std::io::stderr)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_defect_and_an_exit_code() {
        assert_eq!(exit_of(|| panic!("a made-up defect")).code(), 70);
        assert_eq!(exit_of(|| Ok(Exit::Partial)).code(), 1);
        let no_thread = || panic!("OS can't spawn worker thread: {}", 11);
        assert_eq!(exit_of(no_thread).code(), 3);
    }
}
