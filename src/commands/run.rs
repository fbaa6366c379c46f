//! `rollbench run`: make the engine ready, measure the matrix, render the summary.

use std::path::Path;

use super::measure::{Measured, On, Place, measure};
use super::{common, summarize};
use crate::config::{LoadRequest, Origin, Settings, Sourced};
use crate::error::{CommandError, Exit};
use crate::execute::Resume;
use crate::output::note;
use crate::plan::Plan;
use crate::process::{Interrupt, leftovers};
use crate::record::{CellRecord, Found, read_results, redact};
use crate::report::{self, Format};
use crate::stats;
use crate::units::{CellId, Mode};

/// Runs the matrix that `request` describes.
pub(crate) fn run(
    request: &LoadRequest,
    resume: Resume,
    format: Format,
) -> Result<Exit, CommandError> {
    common::block_on(run_matrix(request, resume, format))
}

/// Measures fidelity and nothing else: no block is run, and the records of steps stay as they are.
pub(super) async fn fidelity_alone(
    request: &LoadRequest,
    resume: Resume,
    format: Format,
) -> Result<Exit, CommandError> {
    let mut settings = common::settings(request)?;
    settings.run.fidelity.measure = true;
    let interrupt = Interrupt::install().map_err(anyhow::Error::from)?;
    sweep_dead_runs();
    let Some(python) = common::engine_python(&settings, &interrupt).await? else {
        return Ok(interrupt.signal().map_or(Exit::Done, Exit::Signal));
    };
    let plan = plan(settings, request)?;
    let place = Place::of_run(&plan.settings.out.value);
    let measured = measure(&plan, On::Fidelity(python), &place, resume, &interrupt).await?;
    finish(measured, &place, format)
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
    let (settings, request) = common::counted(settings, request, &python)?;
    let mut plan = plan(settings, &request)?;
    let place = Place::of_run(&plan.settings.out.value);
    let own = || On::Own(python.clone());
    let mut measured = measure(&plan, own(), &place, resume, &interrupt).await?;
    if measured.goes_on() {
        // The same session in a second stage: what is complete is kept, as when a run is resumed.
        if let Some(blocks) = second_stage(&plan.settings, &place.results)? {
            let mut settings = plan.settings.clone();
            settings.run.blocks = blocks;
            settings.values.insert(
                "run.blocks".to_owned(),
                Sourced {
                    value: blocks.into(),
                    origin: Origin::Derived("what --until needs"),
                },
            );
            plan = common::plan(settings, &request)?;
            let first = measured.tally;
            measured = measure(&plan, own(), &place, Resume::Same, &interrupt).await?;
            measured.tally.add(first);
        }
    }
    if measured.goes_on() && plan.settings.run.fidelity.measure {
        let blocks = measured.tally;
        measured = measure(&plan, On::Fidelity(python), &place, resume, &interrupt).await?;
        measured.tally.add(blocks);
    }
    finish(measured, &place, format)
}

/// The plan, its notes said; refused if nothing of it would run.
fn plan(settings: Settings, request: &LoadRequest) -> Result<Plan, CommandError> {
    let plan = common::plan(settings, request)?;
    if let Some(failure) = super::plan::nothing_runs(&plan) {
        return Err(failure);
    }
    for line in &plan.notes {
        note(format!("note: {line}"));
    }
    Ok(plan)
}

fn finish(measured: Measured, place: &Place, format: Format) -> Result<Exit, CommandError> {
    let shown = summarize::show(&place.results, format);
    let exit = measured.exit();
    if measured.closed.is_ok() && measured.tally.failed > 0 {
        let again = report::resumed(&redact::own_argv());
        note(format!("to measure again what failed: {again}"));
    }
    measured.closed?;
    // Files that were passed over are named by `show`; the exit code is about what was measured now.
    shown?;
    Ok(exit)
}

/// How many blocks `--until` needs in all, computed once from the first stage; absent if that was enough, or the number
/// of blocks is fixed.
fn second_stage(settings: &Settings, results: &Path) -> Result<Option<u32>, CommandError> {
    let inference = settings.run.inference;
    let (Some(until), Some(first), Some(most)) =
        (inference.until, inference.first_stage, inference.max_blocks)
    else {
        return Ok(None);
    };
    let of_this_run = |id: &CellId| settings.cells.iter().any(|cell| cell.id == *id);
    let (found, _) = read_results(results, |found| match found {
        Found::Record(record) if of_this_run(&record.cell.id) => Some(*record),
        _ => None,
    })
    .map_err(|error| CommandError::new(Exit::Environment, error))?;
    let records: Vec<CellRecord> = found.into_iter().flatten().collect();
    let total = stats::blocks::second_stage(&records, until, first as usize, most as usize);
    let Some(total) = total else {
        note(
            "--until: no precision could be compared with its baseline, so no further engine start would help",
        );
        return Ok(None);
    };
    let aim = format!("intervals of +-{:.1} %", 100.0 * until);
    if total.wanted > total.blocks {
        note(format!(
            "--until: {aim} would need {} blocks; {} are run (--max-blocks), and the intervals will be wider",
            total.wanted, total.blocks
        ));
    } else {
        note(format!(
            "--until: {aim} need {} blocks in all",
            total.blocks
        ));
    }
    let blocks = u32::try_from(total.blocks).unwrap_or(u32::MAX);
    Ok((blocks > first).then_some(blocks))
}

/// The first line: what is measured, and why that.
fn headline(settings: &Settings) -> String {
    let matrix = &settings.matrix;
    let why = matrix.source.why();
    let how = match settings.run.mode {
        Mode::Offline => "offline mode".to_owned(),
        Mode::Online => format!(
            "online mode, {} per prompt",
            match settings.workload.n {
                1 => "1 sample".to_owned(),
                n => format!("{n} samples"),
            }
        ),
    };
    let profiler = match settings.run.profile {
        None => "measured without a profiler",
        Some(_) => "a profiled session behind the measured steps of each engine start",
    };
    format!("matrix: {} ({why}); {how}; {profiler}", matrix.source)
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
