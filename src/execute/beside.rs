//! An engine start that is no block's: for fidelity, which measures no step.

use std::path::Path;

use indexmap::IndexMap;
use serde_json::Value;

use super::start::{self, Ending};
use super::{Machine, Run};
use crate::engine::{Engine as _, Launch, OfflineEngine, OfflineSession, Session as _};
use crate::event::{Event, EventSink};
use crate::plan::PlannedCell;
use crate::record::{EngineFacts, Failure, Phase};

/// Which engine start.
pub(super) struct Beside<'a> {
    pub(super) cell: &'a PlannedCell,
    /// Its engine arguments.
    pub(super) args: IndexMap<String, Value>,
    pub(super) log: &'a Path,
    /// Who is told.
    pub(super) events: &'a EventSink,
}

/// Starts the engine of a cell with its arguments, has `work` done on it, and ends it, between the same two gates as a block's
/// engine start and with the same proof that nothing is left.
pub(super) async fn beside_blocks(
    run: &Run<'_>,
    machine: &Machine,
    engine: &OfflineEngine,
    of: &Beside<'_>,
    work: impl AsyncFnOnce(&mut OfflineSession, EngineFacts) -> Result<(), Failure>,
) -> Result<Ending, Failure> {
    let Beside {
        cell,
        args,
        log,
        events,
    } = of;
    events.emit(Event::Phase { phase: Phase::Gate });
    tokio::select! {
        biased;
        signal = run.interrupt.first() => return Ok(start::interrupted(events, signal)),
        open = start::open_gate(run, machine, cell, events, log) => open?.1.map_or(Ok(()), Err)?,
    }
    events.emit(Event::Phase {
        phase: Phase::Launch,
    });
    let id = start::new_id();
    let launch = Launch {
        args: args.clone(),
        ..start::launch(run, cell, &id, log, None)?
    };
    let mut session = tokio::select! {
        biased;
        signal = run.interrupt.first() => return Ok(start::interrupted(events, signal)),
        launched = engine.launch(launch) => launched?,
    };
    let done = tokio::select! {
        biased;
        signal = run.interrupt.first() => Ok(start::interrupted(events, signal)),
        done = async {
            let facts = session.ready(events).await?;
            work(&mut session, facts).await?;
            Ok(Ending::Complete)
        } => done,
    };
    events.emit(Event::Phase { phase: Phase::Stop });
    let stop = start::stop(run, &mut session).await;
    for leak in stop.leaks {
        events.emit(Event::LeakFound { leak });
    }
    done
}
