//! `rollbench predict DIR`: how long another batch would take, and how much faster a precision would be on it, without
//! running it.

use std::path::{Path, PathBuf};

use super::lengths;
use crate::config::declared::PRESET;
use crate::config::{self, Given};
use crate::error::{CommandError, Exit};
use crate::output;
use crate::record::{
    Arm, CellRecord, CellStatus, Conditions, EngineStart, Found, Step, StepStatus, counted_starts,
    counted_steps, read_results, results_dir,
};
use crate::report::{Format, PredictedRow, Prediction, render_prediction};
use crate::stats::blocks::speed_up;
use crate::stats::predict::{Fit, Refusal, fits, makespans};
use crate::stats::schedule::Request;
use crate::stats::{BlockLog, block_logs, paired};
use crate::units::Mode;
use crate::workload::{Preset, WorkloadSpec, describe, slots};

/// Predicts the measured batch with `changes`; `python` counts tokens where files of lengths hold texts.
///
/// Steps that are not valid and engine starts with neighbours are refused, unless `although_invalid`. Exit 1 if a cell
/// cannot be predicted, or the batch shares prompts in another way than what was measured; 3 if no cell can be.
pub(crate) fn run(
    dir: &Path,
    changes: &Given,
    python: &str,
    smallest_effect: f64,
    although_invalid: bool,
    format: Format,
) -> Result<Exit, CommandError> {
    let results = results_dir(dir);
    let (found, passed_over) = read_results(&results, |found| match found {
        Found::Record(record) => Some(*record),
        Found::Foreign(_) => None,
    })
    .map_err(|error| {
        CommandError::new(Exit::Environment, error)
            .hint("give the folder that a run wrote to (its --out, or benchmark_results in it)")
    })?;
    for file in &passed_over {
        output::note(format_args!("passed over {}: {}", file.file, file.reason));
    }
    let mut records = Vec::new();
    for record in found.into_iter().flatten() {
        match sent_at_once(&record) {
            Some(part) => records.push(part),
            None => output::note(format_args!(
                "left out {} {}: its requests were paced, and a batch is sent at once",
                record.cell.id.model, record.cell.id.precision
            )),
        }
    }
    records.sort_by_key(CellRecord::declared);
    let (spec, seed) = batch(&records, changes, python)?;
    let requests: Vec<Request> = slots(&spec, seed)
        .iter()
        .map(|slot| Request {
            prompt_tokens: slot.prompt_tokens,
            output_tokens: slot.output_tokens,
        })
        .collect();
    let prediction = Prediction {
        step: describe(&spec, seed),
        rows: rows(&records, &spec, &requests, although_invalid),
        workload: spec,
        smallest_effect,
    };
    let shown = render_prediction(&prediction, format).map_err(anyhow::Error::from)?;
    output::data(&shown)?;
    let refused = prediction
        .rows
        .iter()
        .filter(|r| r.makespan_s.is_none())
        .count();
    let sharing = Refusal::Sharing.to_string();
    let by_sharing = prediction
        .rows
        .iter()
        .any(|row| row.refusal.as_ref() == Some(&sharing));
    Ok(match refused {
        n if n == prediction.rows.len() && !by_sharing => Exit::Environment,
        0 if passed_over.is_empty() => Exit::Done,
        _ => Exit::Partial,
    })
}

/// What was measured with all requests sent at once: the whole record, or the part of a sweep. Absent if nothing was.
fn sent_at_once(record: &CellRecord) -> Option<CellRecord> {
    record
        .by_point()
        .find(|(point, _)| match record.cell.mode {
            Mode::Offline => true,
            Mode::Online => point.is_none_or(|point| point.is_all_at_once()),
        })
        .map(|(_, part)| part.into_owned())
}

/// The measured workload with the changes, and its seed.
fn batch(
    records: &[CellRecord],
    changes: &Given,
    python: &str,
) -> Result<(WorkloadSpec, u64), CommandError> {
    let measured = records
        .iter()
        .find(|r| !block_logs(r, Arm::Main).is_empty())
        .and_then(|r| r.workloads.values().next());
    let workload = measured.ok_or_else(|| {
        CommandError::environment("no cell there has a complete engine start to predict from").hint(
            "give the folder of a run with a workload that has a tail, such as --workload math-4k",
        )
    })?;
    let spec: WorkloadSpec = serde_json::from_value(workload.spec.clone()).map_err(|e| {
        CommandError::environment(format!("the workload of the records cannot be read: {e}"))
    })?;
    for name in changes.texts(&PRESET.declaration) {
        Preset::named(name).map_err(|error| {
            let near = error.nearest.map(|near| format!("did you mean `{near}`?"));
            let failure = CommandError::usage(error);
            near.into_iter().fold(failure, CommandError::hint)
        })?;
    }
    let observed = lengths::read_for(changes, python, tokenizer(records).as_deref())?;
    Ok((
        config::changed(spec, changes, observed.as_ref())?,
        workload.seed,
    ))
}

/// The tokenizer that a measured engine had.
fn tokenizer(records: &[CellRecord]) -> Option<PathBuf> {
    let mut engines = records.iter().flat_map(|record| &record.starts);
    let tokenizer = |start: &EngineStart| {
        let effective = &start.engine.as_ref()?.effective;
        let named = effective
            .get("tokenizer")
            .or_else(|| effective.get("model"))?;
        named.as_str().map(PathBuf::from)
    };
    engines.find_map(tokenizer)
}

/// What is known of one cell before it is compared.
struct Predicted<'a> {
    record: &'a CellRecord,
    outcome: Result<(Vec<Fit>, Vec<BlockLog>), Refusal>,
}

fn rows(
    records: &[CellRecord],
    spec: &WorkloadSpec,
    batch: &[Request],
    although_invalid: bool,
) -> Vec<PredictedRow> {
    let predicted: Vec<Predicted<'_>> = records
        .iter()
        .filter(|record| record.status != CellStatus::Skipped)
        .map(|record| Predicted {
            record,
            outcome: basis(record, spec, although_invalid).and_then(|()| predict(record, batch)),
        })
        .collect();
    predicted.iter().map(|cell| row(cell, &predicted)).collect()
}

/// Whether the steps of a record are a basis for a prediction of `spec`.
fn basis(record: &CellRecord, spec: &WorkloadSpec, although_invalid: bool) -> Result<(), Refusal> {
    let starts = counted_starts(record, Arm::Main);
    let steps: Vec<&Step> = starts
        .iter()
        .flat_map(|start| counted_steps(start))
        .collect();
    if !although_invalid {
        if steps.iter().any(|step| step.status != StepStatus::Ok) {
            return Err(Refusal::NotValid("its measured steps are not valid"));
        }
        if starts.iter().any(|start| !start.neighbours.is_empty()) {
            return Err(Refusal::NotValid("other processes used the device"));
        }
    }
    let measured = record.workloads.values().next();
    let measured: Option<WorkloadSpec> =
        measured.and_then(|workload| serde_json::from_value(workload.spec.clone()).ok());
    let sharing = |spec: &WorkloadSpec| (spec.n, spec.placement, spec.shared_prefix);
    // An engine that looks nothing up in a prefix cache computes all, however prompts are shared.
    let looked_up = steps.iter().any(|step| {
        step.counters
            .prefix_queries
            .is_none_or(|queries| queries > 0)
    });
    let same = measured.is_none_or(|measured| sharing(&measured) == sharing(spec));
    if same || !looked_up {
        Ok(())
    } else {
        Err(Refusal::Sharing)
    }
}

/// The fits of a record, and the logarithm of the batch's makespan after each of them.
fn predict(record: &CellRecord, batch: &[Request]) -> Result<(Vec<Fit>, Vec<BlockLog>), Refusal> {
    let fits = fits(record)?;
    let logs = makespans(&fits, batch)?
        .into_iter()
        .zip(&fits)
        .map(|(makespan_s, fit)| BlockLog {
            block: fit.block,
            session: fit.session.clone(),
            mean_ln_makespan: makespan_s.ln(),
        })
        .collect();
    Ok((fits, logs))
}

fn row(cell: &Predicted<'_>, all: &[Predicted<'_>]) -> PredictedRow {
    let info = &cell.record.cell;
    let of_model = |other: &&Predicted<'_>| {
        other.record.cell.id.model == info.id.model && other.record.cell.mode == info.mode
    };
    let baseline = &cell.record.session.matrix.baseline;
    let is_baseline = |other: &Predicted<'_>| other.record.cell.id.precision == *baseline;
    let comparisons = all
        .iter()
        .filter(of_model)
        .filter(|c| !is_baseline(c) && c.outcome.is_ok())
        .count();
    let measured: Vec<f64> = block_logs(cell.record, Arm::Main)
        .iter()
        .map(|log| log.mean_ln_makespan)
        .collect();
    let mut row = PredictedRow {
        cell: info.id.clone(),
        mode: info.mode,
        title: format!("{} {}", info.labels.model, info.labels.precision),
        measured_makespan_s: paired(&measured, 1).map(|e| e.ratio),
        makespan_s: None,
        fit_error: None,
        speed_up: None,
        unlike: Vec::new(),
        refusal: None,
    };
    match &cell.outcome {
        Err(refusal) => row.refusal = Some(refusal.to_string()),
        Ok((fits, logs)) => {
            let values: Vec<f64> = logs.iter().map(|log| log.mean_ln_makespan).collect();
            row.makespan_s = paired(&values, 1);
            row.fit_error = fits.iter().map(|fit| fit.error).max_by(f64::total_cmp);
            let baseline = all.iter().filter(of_model).find(|c| is_baseline(c));
            if !is_baseline(cell)
                && let Some(baseline) = baseline
                && let Ok((_, theirs)) = &baseline.outcome
            {
                let conditions = |record| Conditions::of(record, Arm::Main);
                row.unlike = conditions(cell.record).unlike(&conditions(baseline.record));
                let inference = cell.record.session.inference;
                row.speed_up = speed_up(theirs, logs, inference, comparisons)
                    .filter(|_| row.unlike.is_empty())
                    .map(|s| s.estimate);
            }
        }
    }
    row
}
