//! What the orchestrator and the guard say to each other: one JSON object a line, over two pipes.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::record::{ExitStatus, Leak};

/// The first line to the guard: what to start. By pipe, because argv and `/proc/PID/environ` are no place for keys, and
/// because the guard must not itself run under the engine's environment (`LD_PRELOAD`).
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    /// The complete environment.
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) cwd: Option<PathBuf>,
    /// Descriptors that the engine inherits; the guard closes its own copies.
    pub(super) pass_fds: Vec<i32>,
    /// The run's folder, which the guard removes if rollbench is dead; absent if there is none.
    pub(super) run_dir: Option<PathBuf>,
    /// The program is an interpreter that forks leaders, each named by [`Order::Lead`].
    pub(super) interpreter: bool,
}

/// The further lines to the guard. The end of the pipe means to sweep at once.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// The interpreter has forked this leader, and no earlier one is left.
    Lead(u32),
    /// As `Sweep`, but the interpreter, and what is below it, is spared and the guard stays.
    Rest { grace_ms: u64 },
    /// To the leader alone.
    SignalLeader(i32),
    /// To every process of the leader's group.
    SignalGroup(i32),
    /// After `grace_ms`, in which the processes may end by themselves: end everything, report, exit. A later order
    /// can only shorten the grace.
    Sweep { grace_ms: u64 },
}

/// What the guard says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The program runs.
    Started { pid: u32 },
    /// The program could not be started.
    Failed { errno: Option<i32>, message: String },
    /// The leader has ended.
    Exited(ExitStatus),
    /// The interpreter has ended. What it has forked goes on.
    InterpreterLost,
    /// Nothing is left, but for leaks that are marked as not ended.
    Swept {
        /// How many had to be ended.
        ended: usize,
        /// Those of them that had been asked to end before.
        leaks: Vec<Leak>,
        /// Whether an interpreter was spared and the guard stays with it.
        rests: bool,
    },
}

/// A message as a line. Serialising these types cannot fail: they hold no maps with other keys than strings.
pub(super) fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("plain data serialises");
    line.push(b'\n');
    line
}

/// Takes the first complete line out of `buffer`; absent until there is one.
pub(super) fn take_line<T: for<'de> Deserialize<'de>>(
    buffer: &mut Vec<u8>,
) -> Option<Result<T, serde_json::Error>> {
    let end = memchr::memchr(b'\n', buffer)?;
    let parsed = serde_json::from_slice(&buffer[..end]);
    buffer.drain(..=end);
    Some(parsed)
}
