//! `rollbench run`: make the engine ready, measure the matrix, render the summary.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::{common, summarize};
use crate::config::{LoadRequest, Settings};
use crate::device::Gate;
use crate::engine::OfflineEngine;
use crate::error::{CommandError, Exit, PathError};
use crate::event::EventSink;
use crate::execute::{self, Resume, Run, Tally};
use crate::output::note;
use crate::plan::Plan;
use crate::process::{Interrupt, RunDir, SuspendWatch, leftovers};
use crate::record::{Store, redact, results_dir};
use crate::report::Format;

/// Runs the matrix that `request` describes.
pub(crate) fn run(
    request: &LoadRequest,
    resume: Resume,
    format: Format,
) -> Result<Exit, CommandError> {
    common::runtime()?.block_on(measure(request, resume, format))
}

async fn measure(
    request: &LoadRequest,
    resume: Resume,
    format: Format,
) -> Result<Exit, CommandError> {
    let settings = common::settings(request)?;
    let interrupt = Interrupt::install().map_err(anyhow::Error::from)?;
    let suspend = SuspendWatch::install().map_err(anyhow::Error::from)?;
    note(headline(&settings));
    sweep_dead_runs();
    let Some(python) = common::engine_python(&settings, &interrupt).await? else {
        return Ok(interrupt.signal().map_or(Exit::Done, Exit::Signal));
    };
    let plan = common::plan(settings, request)?;
    if let Some(failure) = super::plan::nothing_runs(&plan) {
        return Err(failure);
    }
    for line in &plan.notes {
        note(format!("note: {line}"));
    }
    let out = plan.settings.out.value.clone();
    let run_dir = RunDir::create(&results_dir(&out))?;
    let argv: Vec<String> = std::env::args_os()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let session = execute::session(run_dir.id(), &plan, redact::argv(&argv));
    let mut store = Store::open(&out, &session)?;
    let logs = logs_folder(&out)?;
    let devices = devices(&plan);
    let gate = Gate::baseline(plan.settings.platform, devices)
        .map_err(|e| CommandError::new(Exit::Environment, e))?;
    let engine = OfflineEngine::new(&run_dir);
    let (events, stream) = EventSink::channel();
    let shown = crate::progress::show(stream);
    let outcome = execute::execute(
        Run {
            plan: &plan,
            session: &session,
            store: &mut store,
            events,
            interrupt: &interrupt,
            suspend,
            gate: &gate,
            devices,
            run_dir: &run_dir,
            python,
            logs,
            resume,
        },
        &engine,
    )
    .await;
    // The stream ends with its last sender. A listener that panicked has said so itself.
    let _ = shown.await;
    let results = store.results().to_owned();
    let closed = store.close();
    let tally = outcome?;
    let shown = summarize::show(&results, format);
    closed?;
    // Files that were passed over are named by `show`; the exit code is about what was measured now.
    shown?;
    Ok(exit(&tally))
}

/// The first line: what is measured, and why that.
fn headline(settings: &Settings) -> String {
    let matrix = &settings.matrix;
    let why = match &matrix.source {
        crate::config::MatrixSource::File { why, .. }
        | crate::config::MatrixSource::BuiltIn { why, .. } => why,
    };
    format!(
        "matrix: {} ({why}); {} mode; measured without a profiler",
        matrix.source, settings.run.mode
    )
}

/// What a killed run left would hold the device.
fn sweep_dead_runs() {
    for dead in leftovers().dead {
        for leak in dead.end() {
            note(format!(
                "ended {} ({}), left by the dead run {}",
                leak.pid, leak.name, dead.id
            ));
        }
    }
}

fn logs_folder(out: &Path) -> Result<PathBuf, PathError> {
    let logs = out.join("benchmark_logs");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&logs)
        .map_err(PathError::on("create", &logs))?;
    Ok(logs)
}

/// The most devices that one engine of the plan uses.
fn devices(plan: &Plan) -> usize {
    let size = |cell: &crate::plan::PlannedCell, name: &str| {
        cell.args
            .get(name)
            .and_then(|v| v.value.as_u64())
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(1)
    };
    let parallel = |cell| {
        size(cell, "tensor_parallel_size")
            * size(cell, "pipeline_parallel_size")
            * size(cell, "data_parallel_size")
    };
    plan.cells
        .iter()
        .filter(|cell| cell.skip.is_none())
        .map(parallel)
        .max()
        .unwrap_or(1)
}

fn exit(tally: &Tally) -> Exit {
    match tally {
        Tally {
            interrupted: Some(signal),
            ..
        } => Exit::Signal(*signal),
        Tally { failed: 0, .. } => Exit::Done,
        _ => Exit::Partial,
    }
}
