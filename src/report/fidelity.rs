//! Fidelity beside speed: how far each precision's policy is from the baseline's, over the floor that the baseline has
//! against itself, and whether trainers accept that.

use std::path::Path;

use serde::Serialize;

use crate::error::PathError;
use crate::record::{Columns, FidelityRecord, Look, PassedOver, ResponseColumns, read_fidelity};
use crate::stats::fidelity::{FidelityVerdict, Thresholds, fidelity_verdict, mcnemar};
use crate::stats::mismatch::{
    Best, GATE, Measured, Mismatch, MismatchNumbers, Response, mean_by_prompt, over_starts,
};
use crate::stats::quantile;
use crate::units::{CellId, ModelId, PrecisionId};

/// One precision's fidelity.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct FidelityRow {
    pub model: ModelId,
    pub precision: PrecisionId,
    pub model_label: String,
    pub precision_label: String,
    pub baseline: PrecisionId,
    /// Fixed before measuring.
    pub thresholds: Thresholds,
    /// Absent without a complete repetition on both sides.
    #[serde(flatten)]
    pub numbers: Option<FidelityNumbers>,
    /// What is wrong or missing; empty if nothing is.
    pub invalid: Vec<String>,
}

impl FidelityRow {
    pub(crate) fn cell_id(&self) -> CellId {
        CellId {
            model: self.model.clone(),
            precision: self.precision.clone(),
        }
    }
}

/// What a cell's own row says of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct CellFidelity {
    pub k3_kl: f64,
    pub floor_k3_kl: f64,
    pub excess: Measured,
    #[serde(flatten)]
    pub verdict: Option<FidelityVerdict>,
}

impl FidelityNumbers {
    pub(super) fn of_cell(&self) -> CellFidelity {
        CellFidelity {
            k3_kl: self.k3_kl,
            floor_k3_kl: self.floor_k3_kl,
            excess: self.excess,
            verdict: self.verdict,
        }
    }
}

/// What was measured of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct FidelityNumbers {
    /// Repetitions, each of engine starts of its own.
    pub repeats: usize,
    /// Nats a token, as [`GATE`] in `rollout`.
    pub k3_kl: f64,
    /// The same of the baseline against itself.
    pub floor_k3_kl: f64,
    /// The difference of both: paired by prompt, over repetitions where there are several.
    pub excess: Measured,
    /// Absent without an interval.
    #[serde(flatten)]
    pub verdict: Option<FidelityVerdict>,
    /// Sampled by this precision, scored by the baseline.
    pub rollout: MismatchNumbers,
    /// Sampled and scored by the baseline.
    pub floor: MismatchNumbers,
    /// Sampled by the baseline, scored by this precision; absent unless asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverse: Option<MismatchNumbers>,
    pub lengths: Lengths,
    pub greedy: Greedy,
    /// Absent unless asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
}

/// Lengths of the responses at temperature 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Lengths {
    pub mean: f64,
    pub baseline_mean: f64,
    /// By how many tokens they are longer, paired by prompt.
    pub shift: Option<Measured>,
    /// Share cut at the most tokens.
    pub capped: f64,
    pub baseline_capped: f64,
}

/// Answers at temperature 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Greedy {
    pub answers: usize,
    /// Those that are the baseline's, token by token.
    pub equal: usize,
    /// Where the others differ first, counted from 0: the median; absent if none does.
    pub median_first_difference: Option<f64>,
}

/// Right answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Score {
    pub problems: usize,
    /// Share at temperature 0.
    pub greedy: f64,
    pub baseline_greedy: f64,
    /// McNemar's exact test of both.
    pub mcnemar_p: f64,
    /// Share at temperature 1.
    pub sampled: Option<Measured>,
    pub baseline_sampled: Option<Measured>,
}

/// The rows of the results folder, in the order of its records' matrix, and what could not be read.
pub(crate) fn read_rows(results: &Path) -> Result<(Vec<FidelityRow>, Vec<PassedOver>), PathError> {
    let (records, passed_over) = read_fidelity(results)?;
    let place = |r: &FidelityRecord| {
        let matrix = &r.session.matrix;
        (
            matrix.models.iter().position(|m| *m == r.cell.id.model),
            matrix
                .precisions
                .iter()
                .position(|p| *p == r.cell.id.precision),
        )
    };
    let mut cells: Vec<&FidelityRecord> = records
        .iter()
        .filter(|r| r.cell.id.precision != r.session.matrix.baseline)
        .collect();
    cells.sort_by_key(|r| place(r));
    let rows = cells.into_iter().map(|cell| {
        let baseline = records.iter().find(|r| {
            r.cell.id.model == cell.cell.id.model
                && r.cell.id.precision == cell.session.matrix.baseline
        });
        row(results, cell, baseline)
    });
    Ok((rows.collect(), passed_over))
}

fn row(results: &Path, cell: &FidelityRecord, baseline: Option<&FidelityRecord>) -> FidelityRow {
    let mut row = FidelityRow {
        model: cell.cell.id.model.clone(),
        precision: cell.cell.id.precision.clone(),
        model_label: cell.cell.labels.model.clone(),
        precision_label: cell.cell.labels.precision.clone(),
        baseline: cell.session.matrix.baseline.clone(),
        thresholds: cell.thresholds,
        numbers: None,
        invalid: failures(cell),
    };
    match baseline {
        None => row.invalid.push(format!(
            "{} has no fidelity record: there is no floor and no reference",
            row.baseline
        )),
        Some(baseline) if baseline.prompts != cell.prompts => row
            .invalid
            .push("the baseline was asked other prompts, or for other lengths".to_owned()),
        Some(baseline) => {
            row.invalid.extend(failures(baseline));
            match numbers(results, cell, baseline) {
                Ok(numbers) => row.numbers = Some(numbers),
                Err(reason) => row.invalid.push(reason),
            }
        }
    }
    row
}

fn failures(record: &FidelityRecord) -> Vec<String> {
    let labels = &record.cell.labels;
    let failed = record.looks.iter().filter_map(|look| look.failure.as_ref());
    failed
        .map(|failure| {
            format!(
                "{} {} failed while {}: {}",
                labels.model, labels.precision, failure.phase, failure.message
            )
        })
        .collect()
}

/// What is summed over repetitions.
#[derive(Default)]
struct Totals {
    rollout: Mismatch,
    floor: Mismatch,
    reverse: Option<Mismatch>,
    excesses: Vec<f64>,
    lengths: Vec<[f64; 2]>,
    capped: [usize; 2],
    differences: Vec<Option<usize>>,
}

fn numbers(
    results: &Path,
    cell: &FidelityRecord,
    baseline: &FidelityRecord,
) -> Result<FidelityNumbers, String> {
    let mut totals = Totals::default();
    for look in cell.looks.iter().filter(|look| look.is_complete()) {
        let floor = baseline
            .looks
            .iter()
            .find(|other| other.repeat == look.repeat && other.is_complete());
        if let Some(floor) = floor {
            totals.add(results, look, floor)?;
        }
    }
    let seed = cell.prompts.seed;
    let excess =
        over_starts(&totals.excesses).or_else(|| totals.rollout.excess(&totals.floor, seed));
    let (Some(rollout), Some(floor), Some(excess)) = (
        totals.rollout.numbers(seed),
        totals.floor.numbers(seed),
        excess,
    ) else {
        return Err("no repetition is complete on both sides".to_owned());
    };
    Ok(FidelityNumbers {
        repeats: totals.excesses.len(),
        k3_kl: rollout.metrics[GATE].value,
        floor_k3_kl: floor.metrics[GATE].value,
        excess,
        verdict: fidelity_verdict(&excess, &cell.thresholds, rollout.tokens),
        rollout,
        floor,
        reverse: totals
            .reverse
            .as_ref()
            .and_then(|reverse| reverse.numbers(seed)),
        lengths: lengths(&totals, seed),
        greedy: greedy(&totals.differences),
        score: score(cell, baseline),
    })
}

impl Totals {
    fn add(&mut self, results: &Path, cell: &Look, baseline: &Look) -> Result<(), String> {
        let read = |columns: &Option<Columns>| match columns {
            Some(columns) => ResponseColumns::read(results, columns).map_err(|e| e.to_string()),
            None => Err("a part of it is missing".to_owned()),
        };
        let (sampled, floor) = (read(&cell.sampled)?, read(&baseline.sampled)?);
        let rollout = mismatch(&sampled, &read(&cell.scored)?)?;
        let own = mismatch(&floor, &read(&baseline.scored)?)?;
        let gate = |mismatch: &Mismatch| mismatch.gate();
        self.excesses.extend(
            gate(&rollout)
                .zip(gate(&own))
                .map(|(cell, floor)| cell - floor),
        );
        self.rollout.merge(&rollout);
        self.floor.merge(&own);
        if cell.scored_baseline.is_some() {
            let reverse = mismatch(&floor, &read(&cell.scored_baseline)?)?;
            self.reverse.get_or_insert_default().merge(&reverse);
        }
        for index in 0..sampled.responses().min(floor.responses()) {
            let length = |columns: &ResponseColumns| columns.tokens_of(index).len() as f64;
            self.lengths.push([length(&sampled), length(&floor)]);
        }
        let capped = |columns: &ResponseColumns| columns.capped();
        self.capped[0] += capped(&sampled);
        self.capped[1] += capped(&floor);
        let (greedy, other) = (read(&cell.greedy)?, read(&baseline.greedy)?);
        for index in 0..greedy.responses().min(other.responses()) {
            let ids = |columns: &ResponseColumns| columns.ids[columns.tokens_of(index)].to_vec();
            self.differences
                .push(first_difference(&ids(&greedy), &ids(&other)));
        }
        Ok(())
    }
}

/// Responses sampled by one policy and scored by another.
fn mismatch(rollout: &ResponseColumns, reference: &ResponseColumns) -> Result<Mismatch, String> {
    if rollout.offsets != reference.offsets || rollout.best != reference.best {
        return Err("samples and scores do not belong together".to_owned());
    }
    let k = rollout.best;
    let responses = (0..rollout.responses()).map(|index| {
        let tokens = rollout.tokens_of(index);
        let best = tokens.start * k..tokens.end * k;
        Response {
            prompt: rollout.prompt.get(index).copied().unwrap_or_default(),
            rollout: &rollout.logprob[tokens.clone()],
            reference: &reference.logprob[tokens],
            best: (k > 0).then(|| {
                [rollout, reference].map(|columns| Best {
                    k,
                    ids: &columns.best_ids[best.clone()],
                    logprobs: &columns.best_logprobs[best.clone()],
                })
            }),
        }
    });
    Mismatch::of(responses).map_err(|error| error.to_string())
}

fn lengths(totals: &Totals, seed: u64) -> Lengths {
    let count = totals.lengths.len() as f64;
    let side = |side: usize| totals.lengths.iter().map(|pair| pair[side]).sum::<f64>() / count;
    let shifts: Vec<f64> = totals
        .lengths
        .iter()
        .map(|[own, other]| own - other)
        .collect();
    Lengths {
        mean: side(0),
        baseline_mean: side(1),
        shift: mean_by_prompt(&shifts, seed),
        capped: totals.capped[0] as f64 / count,
        baseline_capped: totals.capped[1] as f64 / count,
    }
}

/// The first place at which two answers differ; one that goes on where the other ended differs there.
fn first_difference(own: &[u32], other: &[u32]) -> Option<usize> {
    let shared = own.iter().zip(other).take_while(|(a, b)| a == b).count();
    (shared < own.len().max(other.len())).then_some(shared)
}

fn greedy(differences: &[Option<usize>]) -> Greedy {
    let mut places: Vec<f64> = differences.iter().flatten().map(|&at| at as f64).collect();
    places.sort_unstable_by(f64::total_cmp);
    Greedy {
        answers: differences.len(),
        equal: differences.len() - places.len(),
        median_first_difference: quantile(&places, 0.5),
    }
}

/// Of the first repetition: the same problems again would be no new ones.
fn score(cell: &FidelityRecord, baseline: &FidelityRecord) -> Option<Score> {
    let solved =
        |record: &'_ FidelityRecord, part: fn(&Look) -> &Option<Columns>| -> Option<Vec<bool>> {
            let look = record.looks.iter().find(|look| look.is_complete())?;
            let solved = part(look).as_ref()?.solved.clone();
            (!solved.is_empty()).then_some(solved)
        };
    let own = solved(cell, |look| &look.greedy)?;
    let other = solved(baseline, |look| &look.greedy)?;
    let only = |a: &[bool], b: &[bool]| a.iter().zip(b).filter(|(a, b)| **a && !**b).count() as u64;
    let share =
        |solved: &[bool]| solved.iter().filter(|s| **s).count() as f64 / solved.len() as f64;
    let sampled = |record| {
        let solved = solved(record, |look| &look.sampled)?;
        let ones: Vec<f64> = solved.iter().map(|&solved| f64::from(solved)).collect();
        mean_by_prompt(&ones, cell.prompts.seed)
    };
    Some(Score {
        problems: own.len(),
        greedy: share(&own),
        baseline_greedy: share(&other),
        mcnemar_p: mcnemar(only(&other, &own), only(&own, &other)),
        sampled: sampled(cell),
        baseline_sampled: sampled(baseline),
    })
}
