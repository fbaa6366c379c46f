//! The one stream of what happens in a run. It feeds the terminal and the log; the record store is not a
//! listener but acknowledges each step itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::record::{Failure, Leak, Phase, Point, Role, Skip, StepStatus};
use crate::units::CellId;

/// An event with its place and time.
#[derive(Debug, Clone, Serialize)]
pub struct Envelope {
    /// Counted from 0 over the session.
    pub seq: u64,
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub mono_ns: u64,
    /// UTC.
    pub wall: Timestamp,
    /// The cell it is about; absent for the session's own events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cell: Option<CellId>,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// What can happen in a session.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The plan stands; so many engine starts will be run.
    PlanMade {
        /// Engine starts to run (blocks x cells).
        starts: u32,
        /// Cells that are skipped.
        skips: u32,
        /// Estimated seconds; absent if nothing is known.
        estimate_s: Option<f64>,
    },
    /// A cell is not run.
    CellSkipped {
        /// Why.
        skip: Skip,
    },
    /// An engine start begins.
    StartBegun {
        /// Of this many.
        of: u32,
        /// Counted from 1.
        number: u32,
        /// Counted from 0.
        block: u32,
    },
    /// The engine start enters a phase.
    Phase {
        /// Which.
        phase: Phase,
    },
    /// A step begins.
    StepBegun {
        /// Its role.
        role: Role,
        /// Counted from 1 within its role.
        number: u32,
        /// Of this many of its role.
        of: u32,
        /// The point of the sweep; absent outside one.
        #[serde(skip_serializing_if = "Option::is_none")]
        point: Option<Point>,
        /// Sequences to come.
        sequences: u64,
        /// Output tokens to come.
        tokens: u64,
    },
    /// How far the step is, at most twice a second.
    Progress {
        /// Sequences that have ended.
        finished: u64,
        /// Output tokens made.
        tokens: u64,
        /// Nanoseconds since the step began.
        elapsed_ns: u64,
    },
    /// A step ended and is safe on disk.
    StepFinished {
        /// Its role.
        role: Role,
        /// Counted from 1 within its role.
        number: u32,
        /// Whether it counts.
        status: StepStatus,
        /// Its makespan.
        makespan_ns: u64,
        /// Tokens that came back.
        output_tokens: u64,
    },
    /// Waited for device memory.
    GateWaited {
        /// How long.
        waited_ns: u64,
        /// Whether it passed.
        passed: bool,
    },
    /// A process outlived the polite stop.
    LeakFound {
        /// Which.
        leak: Leak,
    },
    /// An engine start is over.
    StartEnded {
        /// Whether it is complete.
        complete: bool,
    },
    /// An engine start failed.
    CellFailed {
        /// How.
        failure: Failure,
    },
    /// What a loading engine says that it is doing.
    Doing {
        /// In words: `compiling`.
        doing: String,
    },
    /// Something worth a line that is no failure.
    Note {
        /// The line.
        text: String,
    },
    /// A signal asked us to stop.
    Interrupted {
        /// Its number.
        signal: i32,
    },
    /// All is over.
    SessionEnded {
        /// Engine starts that are complete.
        complete: u32,
        /// Engine starts that failed.
        failed: u32,
    },
}

/// The writing end of the stream, for one cell or for the session.
#[derive(Debug, Clone)]
pub struct EventSink {
    seq: Arc<AtomicU64>,
    cell: Option<CellId>,
    sender: mpsc::UnboundedSender<Envelope>,
}

impl EventSink {
    /// A new stream and its reading end.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Envelope>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (
            Self {
                seq: Arc::default(),
                cell: None,
                sender,
            },
            receiver,
        )
    }

    /// The same stream, its events about `cell`.
    #[must_use]
    pub fn about(&self, cell: &CellId) -> Self {
        Self {
            cell: Some(cell.clone()),
            ..self.clone()
        }
    }

    /// How many events the session has sent.
    pub(crate) fn count(&self) -> u64 {
        self.seq.load(Ordering::Relaxed)
    }

    /// Sends an event. A listener that has gone away is no failure: the records do not depend on it.
    pub fn emit(&self, event: Event) {
        let envelope = Envelope {
            seq: self.seq.fetch_add(1, Ordering::Relaxed),
            mono_ns: crate::clock::mono_ns(),
            wall: Timestamp::now(),
            cell: self.cell.clone(),
            event,
        };
        let _ = self.sender.send(envelope);
    }
}
