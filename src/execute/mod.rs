//! Runs a plan: engine start after engine start, each step safe on disk before the next begins, every engine ended and
//! accounted for. Interrupts, full disks and failing cells end a start, never the results.

mod beside;
mod describe;
mod disk;
mod environment;
mod fidelity;
mod profile;
mod quantization;
mod requests;
mod start;

use std::path::PathBuf;

pub(crate) use describe::session;
pub(crate) use fidelity::{FidelityError, fidelity};

use crate::device::Gate;
use crate::engine::Engine;
use crate::event::{Event, EventSink};
use crate::plan::{Plan, Turn};
use crate::process::{Interrupt, RunDir, SuspendWatch};
use crate::record::{ResumeState, Session, Store, StoreError};
use crate::workload::RequestsError;
use requests::Requests;
use start::{Ending, Slot};

/// Everything that an execution works with.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    /// What is run.
    pub plan: &'a Plan,
    /// The session it belongs to.
    pub session: &'a Session,
    /// Who is told.
    pub events: EventSink,
    /// What may stop it.
    pub interrupt: &'a Interrupt,
    /// What may make a step worthless.
    pub suspend: SuspendWatch,
    /// What engines are started on; absent where the server runs already, and its machine is none of ours.
    pub machine: Option<Machine>,
    /// The run's private folder and lease.
    pub run_dir: &'a RunDir,
    /// Whether an earlier session's complete starts are kept.
    pub resume: Resume,
}

/// This machine, as engines of our own use it.
#[derive(Debug)]
pub(crate) struct Machine {
    /// What an engine start waits for.
    pub gate: Gate,
    /// How many of the visible devices are used, at most.
    pub devices: usize,
    /// The interpreter, resolved.
    pub python: PathBuf,
    /// The folder of the engines' logs; exists.
    pub logs: PathBuf,
    /// The folder of profiles; made when it is needed.
    pub profiles: PathBuf,
}

/// What becomes of earlier records of the same cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resume {
    /// They are set aside and everything is measured anew.
    No,
    /// Their complete engine starts are kept; refused if anything changed.
    Same,
    /// The same, but cells that changed are set aside and measured anew.
    Force,
}

/// Why going on is pointless. A cell that fails is no such reason: it is a record and a count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecuteError {
    /// A refused resume, or a defect.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Fidelity cannot be measured.
    #[error(transparent)]
    Fidelity(#[from] FidelityError),
    /// The workload cannot be made.
    #[error("cannot make the requests")]
    Requests(#[from] RequestsError),
}

/// How an execution went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Engine starts that are complete.
    pub complete: u32,
    /// Engine starts among them with a measured step in which too many requests failed.
    pub spoiled: u32,
    /// Engine starts that failed.
    pub failed: u32,
    /// Engine starts that a resumed session already had.
    pub kept: u32,
    /// The signal that ended it early; absent if none did.
    pub interrupted: Option<i32>,
}

impl Tally {
    /// Counts what an earlier part of the same command failed at.
    pub(crate) fn add(&mut self, earlier: Self) {
        self.failed += earlier.failed;
        self.spoiled += earlier.spoiled;
    }
}

/// What came of an execution.
#[derive(Debug)]
pub(crate) struct Execution {
    /// Engine starts, counted.
    pub tally: Tally,
    /// Why it ended before its time, though no signal did; its engine start has it as its failure.
    pub fatal: Option<ExecuteError>,
}

/// Runs the plan of `run` on `engine`, kept by `store`. Returns when all that was measured is in the records, or a signal
/// has ended the wait for that: see [`Store::pending`]. `Err` if nothing was measured.
pub(crate) async fn execute<E: Engine>(
    run: Run<'_>,
    store: &mut Store,
    engine: &E,
) -> Result<Execution, ExecuteError> {
    let mut requests = Requests::default();
    let mut tally = Tally::default();
    let mut fatal = None;
    let announced = tokio::select! {
        biased;
        signal = run.interrupt.first() => Err(signal),
        states = announce(&run, store, &mut requests) => Ok(states?),
    };
    match announced {
        Ok(states) => {
            tally.kept = kept(run.plan, &states);
            let measured = measure(&run, store, engine, &states, &mut requests, &mut tally).await;
            fatal = measured.err();
            end_block(&run, engine).await;
        }
        Err(signal) => {
            run.events.emit(Event::Interrupted { signal });
            tally.interrupted = Some(signal);
        }
    }
    // A write that fails stays pending in the store.
    let _ = store.fold();
    let signal = disk::wait_until_writable(&run, store).await;
    tally.interrupted = tally.interrupted.or(signal);
    run.events.emit(Event::SessionEnded {
        complete: tally.complete,
        failed: tally.failed,
    });
    Ok(Execution { tally, fatal })
}

/// Ends what engine starts of a block have in common.
async fn end_block<E: Engine>(run: &Run<'_>, engine: &E) {
    for leak in engine.end_block().await {
        run.events.emit(Event::LeakFound { leak });
    }
}

/// Engine start after engine start.
async fn measure<E: Engine>(
    run: &Run<'_>,
    store: &mut Store,
    engine: &E,
    states: &[ResumeState],
    requests: &mut Requests,
    tally: &mut Tally,
) -> Result<(), ExecuteError> {
    let slots = slots(run.plan, states);
    let starts = u32::try_from(slots.len()).unwrap_or(u32::MAX);
    let skips = run.plan.cells.iter().filter(|c| c.skip.is_some()).count();
    run.events.emit(Event::PlanMade {
        starts,
        skips: u32::try_from(skips).unwrap_or(u32::MAX),
        estimate_s: run.plan.estimate.as_ref().map(|estimate| estimate.total_s),
    });
    for cell in &run.plan.cells {
        if let Some(skip) = &cell.skip {
            run.events
                .about(&cell.settings.id)
                .emit(Event::CellSkipped { skip: skip.clone() });
        }
    }
    for (slot, rest) in slots
        .iter()
        .zip(1..)
        .map(|(slot, next)| (slot, &slots[next..]))
    {
        if let Some(signal) = disk::wait_until_writable(run, store).await {
            tally.interrupted = Some(signal);
            break;
        }
        let ending = start::run(run, store, engine, slot, requests).await;
        if rest.iter().all(|later| later.turn.cell != slot.turn.cell) {
            let cell = &run.plan.cells[slot.turn.cell].settings.id;
            // A write that fails stays pending in the store.
            let _ = store.fold_cell(cell, run.plan.settings.run.mode);
        }
        if rest.first().is_none_or(|next| next.block != slot.block) {
            end_block(run, engine).await;
        }
        match ending {
            Ok(Ending::Complete) => tally.complete += 1,
            Ok(Ending::Spoiled) => {
                tally.complete += 1;
                tally.spoiled += 1;
            }
            Ok(Ending::Failed) => tally.failed += 1,
            Ok(Ending::Interrupted(signal)) => {
                tally.interrupted = Some(signal);
                break;
            }
            Err(fatal) => {
                tally.failed += 1;
                return Err(fatal);
            }
        }
    }
    Ok(())
}

/// Writes the record of every planned cell, skipped ones too, and finds out what a resumed session already has.
async fn announce(
    run: &Run<'_>,
    store: &mut Store,
    requests: &mut Requests,
) -> Result<Vec<ResumeState>, ExecuteError> {
    let mut records = Vec::with_capacity(run.plan.cells.len());
    for cell in &run.plan.cells {
        let runs = cell.vocabulary.as_ref().filter(|_| cell.skip.is_none());
        let sha256 = match runs {
            Some(vocabulary) => Some(requests.steps(run.plan, vocabulary).await?.sha256),
            None => None,
        };
        records.push(describe::cell(run.plan, cell, run.session, sha256));
    }
    // First ask for all, then write: a refusal must leave everything as it was.
    let mut states = Vec::with_capacity(records.len());
    for record in &records {
        let state = match (run.resume, store.resume_state(record)) {
            (Resume::No, _)
            | (Resume::Force, Err(StoreError::Changed { .. } | StoreError::Unreadable { .. })) => {
                ResumeState::default()
            }
            (_, state) => state?,
        };
        states.push(state);
    }
    for (mut record, state) in records.into_iter().zip(&states) {
        record.session.resumes.clone_from(&state.session);
        // A write that fails stays pending in the store, and `disk` waits for it before the first engine starts.
        let _ = if state.session.is_some() {
            store.resume_cell(record)
        } else {
            store.put_cell(record)
        };
    }
    Ok(states)
}

/// The engine starts to be run, in order, without those that are already complete.
fn slots(plan: &Plan, states: &[ResumeState]) -> Vec<Slot> {
    let complete = |turn: &Turn, block| states[turn.cell].has(turn.arm, block);
    let model = |turn: &Turn| &plan.cells[turn.cell].settings.id.model;
    let mut slots = Vec::new();
    for (block, order) in (0..).zip(&plan.order) {
        for (position, turn) in (0..).zip(order) {
            if complete(turn, block) {
                continue;
            }
            let attempt = states[turn.cell]
                .attempts
                .get(&(turn.arm, block))
                .copied()
                .unwrap_or(0);
            let split = order
                .iter()
                .any(|other| model(other) == model(turn) && complete(other, block));
            slots.push(Slot {
                number: 0,
                of: 0,
                turn: *turn,
                block,
                position,
                attempt,
                split,
            });
        }
    }
    let of = u32::try_from(slots.len()).unwrap_or(u32::MAX);
    for (number, slot) in (1..).zip(&mut slots) {
        (slot.number, slot.of) = (number, of);
    }
    slots
}

fn kept(plan: &Plan, states: &[ResumeState]) -> u32 {
    let turns = (0..)
        .zip(&plan.order)
        .flat_map(|(block, order)| order.iter().map(move |turn| (turn, block)));
    let kept = turns
        .filter(|(turn, block)| states[turn.cell].has(turn.arm, *block))
        .count();
    u32::try_from(kept).unwrap_or(u32::MAX)
}
