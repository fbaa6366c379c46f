//! Measures a plan into a results folder: what `run` and the engine stage of `diagnostic` have in common.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::device::Gate;
use crate::engine::{AttachedEngine, OfflineEngine, ServerEngine};
use crate::error::{CommandError, Exit, PathError};
use crate::event::EventSink;
use crate::execute::{self, Execution, Machine, Resume, Run, Tally};
use crate::output::note;
use crate::plan::{Plan, PlannedCell};
use crate::process::{Interrupt, RunDir, SuspendWatch};
use crate::record::{PROFILES, RESULTS, Saved, Store, redact};
use crate::units::Mode;

const LOGS: &str = "benchmark_logs";
const DIAGNOSTIC: &str = "diagnostic";

/// Where a measurement leaves its files.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The records.
    pub(crate) results: PathBuf,
    /// The engines' logs.
    pub(crate) logs: PathBuf,
    /// The traces.
    pub(crate) profiles: PathBuf,
}

impl Place {
    /// Of a run with `--out out`.
    pub(crate) fn of_run(out: &Path) -> Self {
        Self {
            results: out.join(RESULTS),
            logs: out.join(LOGS),
            profiles: out.join(PROFILES),
        }
    }

    /// Of a diagnostic: beside the run's, so that no result is ever replaced.
    pub(crate) fn of_diagnostic(out: &Path) -> Self {
        let run = Self::of_run(out);
        Self {
            results: run.results.join(DIAGNOSTIC),
            logs: run.logs.join(DIAGNOSTIC),
            profiles: run.profiles.join(DIAGNOSTIC),
        }
    }
}

/// What a plan is measured on.
pub(crate) enum On {
    /// Engines that are started for it, with this interpreter.
    Own(PathBuf),
    /// The same, but its fidelity is measured instead of its blocks.
    Fidelity(PathBuf),
    /// A server that runs already, on a machine that may be another one.
    Attached(Box<AttachedEngine>),
}

/// How a measurement went.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Engine starts, counted.
    pub(crate) tally: Tally,
    /// Whether all was measured and reached the results. What did can be read in either case.
    pub(crate) closed: Result<(), CommandError>,
}

impl Measured {
    /// Whether what follows may begin.
    pub(crate) fn goes_on(&self) -> bool {
        self.closed.is_ok() && self.tally.interrupted.is_none()
    }

    /// The exit code of a command that did nothing else.
    pub(crate) fn exit(&self) -> Exit {
        match self.tally {
            Tally {
                interrupted: Some(signal),
                ..
            } => Exit::Signal(signal),
            Tally {
                failed: 0,
                spoiled: 0,
                ..
            } => Exit::Done,
            _ => Exit::Partial,
        }
    }
}

/// Runs `plan`, showing its progress on stderr.
pub(crate) async fn measure(
    plan: &Plan,
    on: On,
    place: &Place,
    resume: Resume,
    interrupt: &Interrupt,
) -> Result<Measured, CommandError> {
    let suspend = SuspendWatch::install().map_err(anyhow::Error::from)?;
    let run_dir = RunDir::create(&place.results)?;
    let session = execute::session(run_dir.id(), plan, redact::own_argv());
    let mut store = Store::open_results(&place.results, &session)?;
    let machine = match &on {
        On::Own(python) | On::Fidelity(python) => Some(machine(plan, python, place)?),
        On::Attached(_) => None,
    };
    let (events, stream) = EventSink::channel();
    let shown = crate::progress::show(stream);
    let run = Run {
        plan,
        session: &session,
        events,
        interrupt,
        suspend,
        machine,
        run_dir: &run_dir,
        resume,
    };
    let outcome = match (on, plan.settings.run.mode) {
        (On::Attached(server), _) => execute::execute(run, &mut store, &*server).await,
        (On::Fidelity(_), _) => execute::fidelity(run, &store, &OfflineEngine::new(&run_dir)).await,
        (On::Own(_), Mode::Offline) => {
            execute::execute(run, &mut store, &OfflineEngine::new(&run_dir)).await
        }
        (On::Own(_), Mode::Online) => {
            let api = plan.settings.run.online.api;
            execute::execute(run, &mut store, &ServerEngine::new(&run_dir, api)).await
        }
    };
    // The stream ends with its last sender. A listener that panicked has said so itself.
    let _ = shown.await;
    let closed = close(store);
    let Execution { tally, fatal } = match outcome {
        Ok(execution) => execution,
        Err(error) => {
            if let Err(lost) = closed {
                note(lost);
            }
            return Err(error.into());
        }
    };
    let closed = match (closed, fatal) {
        (closed, None) => closed.map_err(|error| ended_by(error, tally.interrupted)),
        (closed, Some(fatal)) => {
            if let Err(lost) = closed {
                note(lost);
            }
            Err(fatal.into())
        }
    };
    Ok(Measured { tally, closed })
}

/// What engines of our own are started with. Before the first: its memory baseline is the idle machine's.
fn machine(plan: &Plan, python: &Path, place: &Place) -> Result<Machine, CommandError> {
    make_private(&place.logs)?;
    let devices = devices(plan);
    let gate = Gate::baseline(plan.settings.platform, devices)
        .map_err(|error| CommandError::new(Exit::Environment, error))?;
    Ok(Machine {
        gate,
        devices,
        python: python.to_owned(),
        logs: place.logs.clone(),
        profiles: place.profiles.clone(),
    })
}

/// A signal that ended the wait for the disk is how the process ends.
fn ended_by(error: CommandError, signal: Option<i32>) -> CommandError {
    CommandError {
        exit: signal.map_or(error.exit, Exit::Signal),
        ..error
    }
}

/// Gives the results folder back. What its disk has not taken by now is put on another one.
fn close(mut store: Store) -> Result<(), CommandError> {
    if store.retry() == Saved::Synced {
        return Ok(store.close()?);
    }
    let Some(fault) = store.pending() else {
        return Ok(());
    };
    if fault.steps == 0 {
        let journal = store.journal_folder();
        return Err(CommandError::environment(format!(
            "the records cannot be written: {}: {}",
            fault.error, fault.error.source
        ))
        .hint(format!(
            "everything measured is in {}: when the folder can be written again, `rollbench summarize` makes the records of it",
            journal.display()
        )));
    }
    let lost = CommandError::environment(format!(
        "{} measured steps are not in the results: {}: {}",
        fault.steps, fault.error, fault.error.source
    ));
    let mut refusals = Vec::new();
    for folder in refuges() {
        match store.rescue(&folder) {
            Ok(file) => {
                let journal = store.journal_folder();
                return Err(lost
                    .hint(format!("they were saved to {}", file.display()))
                    .hint(format!(
                        "when the folder can be written again: mkdir -p {1} && mv {0} {1}/",
                        quoted(&file),
                        quoted(&journal)
                    ))
                    .hint("then `rollbench summarize` shows them and `rollbench run --resume` goes on from them"));
            }
            Err(error) => refusals.push(format!("{error}: {}", error.source)),
        }
    }
    Err(refusals.into_iter().fold(lost, CommandError::hint))
}

/// Folders that may be on another disk than the results, the lasting ones first.
fn refuges() -> Vec<PathBuf> {
    let shared_memory = PathBuf::from("/dev/shm");
    [
        Some(std::env::temp_dir()),
        std::env::home_dir(),
        Some(shared_memory),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// As a shell reads it.
fn quoted(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

fn make_private(folder: &Path) -> Result<(), PathError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(PathError::on("create", folder))
}

/// The most devices that one engine of the plan uses.
pub(crate) fn devices(plan: &Plan) -> usize {
    let size = |cell: &PlannedCell, name: &str| {
        cell.args
            .get(name)
            .and_then(|size| size.value.as_u64())
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(1)
    };
    let parallel = |cell| {
        size(cell, "tensor_parallel_size")
            * size(cell, "pipeline_parallel_size")
            * size(cell, "data_parallel_size")
    };
    plan.runs().map(parallel).max().unwrap_or(1)
}
