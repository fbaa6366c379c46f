//! `rollbench run`: make the engine ready, measure the matrix, render the summary.

use super::measure::{Place, measure};
use super::{common, summarize};
use crate::config::{LoadRequest, Settings};
use crate::error::{CommandError, Exit};
use crate::execute::{Resume, Tally};
use crate::output::note;
use crate::process::{Interrupt, leftovers};
use crate::report::Format;

/// Runs the matrix that `request` describes.
pub(crate) fn run(
    request: &LoadRequest,
    resume: Resume,
    format: Format,
) -> Result<Exit, CommandError> {
    common::runtime()?.block_on(run_matrix(request, resume, format))
}

async fn run_matrix(
    request: &LoadRequest,
    resume: Resume,
    format: Format,
) -> Result<Exit, CommandError> {
    let settings = common::settings(request)?;
    let interrupt = Interrupt::install().map_err(anyhow::Error::from)?;
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
    let place = Place::of_run(&plan.settings.out.value);
    let measured = measure(&plan, python, &place, resume, &interrupt).await?;
    let shown = summarize::show(&place.results, format);
    measured.closed?;
    // Files that were passed over are named by `show`; the exit code is about what was measured now.
    shown?;
    Ok(exit(&measured.tally))
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
