//! What rollbench and `driver.py` say to each other: JSON Lines, one message a line.
//!
//! Every command but `exit` carries an id, which its answer repeats. Unknown fields are ignored, so that
//! either side may say more than the other knows; an unknown event is an error, because it may matter.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use crate::config::FanOut;
use crate::engine::ProfilerOrder;
use crate::record::{Counters, Difference, FinishSource, Timeline};
use crate::workload::Sampling;

/// The version that both sides must speak. It changes when a message changes its meaning.
pub(super) const PROTOCOL: u32 = 1;

/// To the driver.
#[derive(Debug, Serialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(super) enum Command<'a> {
    /// Loads the engine; answered by `ready`.
    Load {
        id: u64,
        args: &'a IndexMap<String, Value>,
        fan_out: FanOut,
        sampling: &'a Sampling,
        profile: Option<&'a ProfilerOrder>,
    },
    /// Forgets cached prefixes; answered by `ok`.
    ResetPrefixCache { id: u64 },
    /// Runs the step in a prompt file; answered by `step_finished`, or `aborted`.
    Step { id: u64, file: &'a str },
    /// Starts the profiler; answered by `ok`.
    ProfileStart { id: u64 },
    /// Stops it, and writes the trace; answered by `ok`.
    ProfileStop { id: u64 },
    /// Ends a running step (answered by `aborted`), then the engine, then the driver; answered by `done`.
    Exit,
}

/// From the driver.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// Before vLLM is imported.
    Hello { protocol: u32 },
    /// vLLM is imported.
    Imported(Imported),
    /// The engine is loaded.
    Ready(Box<Ready>),
    /// Something moved in the running step; twice a second at most.
    Progress(Progress),
    /// A step ended.
    StepFinished(Box<StepFinished>),
    /// Work for fidelity is done; its columns are in a file.
    Counted(Counted),
    /// A command without results is done.
    Ok {
        /// False if vLLM said that it did not do it.
        #[serde(default = "yes")]
        done: bool,
    },
    /// A step was ended on request.
    Aborted,
    /// Something went wrong.
    Error(DriverError),
    /// The engine is ended; the driver exits with code 0 after this.
    Done,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
pub(super) struct Imported {
    pub(super) import_s: f64,
    /// vLLM's name of it; empty if it found none.
    pub(super) platform: String,
    /// By package name.
    pub(super) versions: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Ready {
    /// By the names of the engine arguments; what vLLM resolved to None is left out.
    pub(super) effective: IndexMap<String, Value>,
    pub(super) difference: IndexMap<String, Difference>,
    pub(super) kv_tokens: Option<u64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Progress {
    pub(super) finished: u64,
    pub(super) tokens: u64,
    pub(super) elapsed_ns: u64,
}

/// How much a job for fidelity did.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(crate) struct Counted {
    /// Responses, or prompts where prompts were encoded.
    pub(crate) responses: u64,
    /// Their tokens.
    pub(crate) tokens: u64,
    /// How long the engine took.
    #[serde(default)]
    pub(crate) seconds: f64,
    /// Prompts that were too long.
    #[serde(default)]
    pub(crate) left_out: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct StepFinished {
    pub(super) id: u64,
    pub(super) begin_mono_ns: u64,
    pub(super) makespan_ns: u64,
    pub(super) finish_source: FinishSource,
    pub(super) counters: Counters,
    pub(super) columns: Columns,
    pub(super) timeline: Option<Timeline>,
}

/// One value a row of the prompt file, in its order.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Columns {
    /// As the engine saw the prompt.
    pub(super) prompt_tokens: Vec<u32>,
    /// Counted from the token ids that came back.
    pub(super) output_tokens: Vec<u32>,
    pub(super) first_ns: Vec<Option<u64>>,
    pub(super) finish_ns: Vec<Option<u64>>,
    /// Absent if nothing is wrong with any row.
    #[serde(default)]
    pub(super) error: Vec<Option<String>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct DriverError {
    /// `arguments`, `engine`, `engine_died`, `results`, `profiler`, `protocol`.
    pub(super) kind: String,
    pub(super) message: String,
    /// How the engine's process ended, as Python's `exitcode` (negative: a signal); only with `engine_died`.
    #[serde(default)]
    pub(super) exit_code: Option<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_ignored_and_unknown_events_are_not() {
        let hello: Event = serde_json::from_str(r#"{"event":"hello","protocol":1,"pid":7}"#)
            .expect("a field more is fine");
        assert!(matches!(hello, Event::Hello { protocol: 1 }));
        let error = serde_json::from_str::<Event>(r#"{"event":"goodbye"}"#).expect_err("unknown");
        assert!(error.to_string().contains("goodbye"), "{error}");
    }

    #[test]
    fn commands_are_tagged_lines() {
        let line = serde_json::to_string(&Command::Step {
            id: 3,
            file: "/s/0.prompts",
        });
        assert_eq!(
            line.expect("plain data"),
            r#"{"command":"step","id":3,"file":"/s/0.prompts"}"#
        );
    }
}
