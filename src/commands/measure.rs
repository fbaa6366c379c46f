//! Measures a plan into a results folder: what `run` and the engine stage of `diagnostic` have in common.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::device::Gate;
use crate::engine::OfflineEngine;
use crate::error::{CommandError, Exit, PathError};
use crate::event::EventSink;
use crate::execute::{self, Resume, Run, Tally};
use crate::plan::{Plan, PlannedCell};
use crate::process::{Interrupt, RunDir, SuspendWatch};
use crate::record::{RESULTS, Store, StoreError, redact};

const LOGS: &str = "benchmark_logs";
const DIAGNOSTIC: &str = "diagnostic";

/// Where a measurement leaves its files.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The records.
    pub(crate) results: PathBuf,
    /// The engines' logs.
    pub(crate) logs: PathBuf,
}

impl Place {
    /// Of a run with `--out out`.
    pub(crate) fn of_run(out: &Path) -> Self {
        Self {
            results: out.join(RESULTS),
            logs: out.join(LOGS),
        }
    }

    /// Of a diagnostic: beside the run's, so that no result is ever replaced.
    pub(crate) fn of_diagnostic(out: &Path) -> Self {
        let run = Self::of_run(out);
        Self {
            results: run.results.join(DIAGNOSTIC),
            logs: run.logs.join(DIAGNOSTIC),
        }
    }
}

/// How a measurement went.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Engine starts, counted.
    pub(crate) tally: Tally,
    /// Whether the last of it reached the disk. What did can be read in either case.
    pub(crate) closed: Result<(), StoreError>,
}

/// Runs `plan` with `python`, showing its progress on stderr.
pub(crate) async fn measure(
    plan: &Plan,
    python: PathBuf,
    place: &Place,
    resume: Resume,
    interrupt: &Interrupt,
) -> Result<Measured, CommandError> {
    let suspend = SuspendWatch::install().map_err(anyhow::Error::from)?;
    let run_dir = RunDir::create(&place.results)?;
    let argv: Vec<String> = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let session = execute::session(run_dir.id(), plan, redact::argv(&argv));
    let mut store = Store::open_results(&place.results, &session)?;
    make_private(&place.logs)?;
    let devices = devices(plan);
    let gate = Gate::baseline(plan.settings.platform, devices)
        .map_err(|error| CommandError::new(Exit::Environment, error))?;
    let engine = OfflineEngine::new(&run_dir);
    let (events, stream) = EventSink::channel();
    let shown = crate::progress::show(stream);
    let run = Run {
        plan,
        session: &session,
        store: &mut store,
        events,
        interrupt,
        suspend,
        gate: &gate,
        devices,
        run_dir: &run_dir,
        python,
        logs: place.logs.clone(),
        resume,
    };
    let outcome = execute::execute(run, &engine).await;
    // The stream ends with its last sender. A listener that panicked has said so itself.
    let _ = shown.await;
    let closed = store.close();
    Ok(Measured {
        tally: outcome?,
        closed,
    })
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
