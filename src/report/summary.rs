//! From what was derived of each file to the summary of the folder: order, comparisons, notes.

use std::collections::HashSet;
use std::hash::Hash;

use indexmap::{IndexMap, IndexSet};

use super::across;
use super::again::{BLOCKS_FOR_VERDICTS, with_more_blocks};
use super::derive::{Derived, DerivedCell};
use super::imported;
use super::model::{
    Comparison, Environment, Note, Outcome, SCHEMA, SessionRow, Summary, WorkloadRow,
};
use super::paced::Paces;
use super::unlike::not_compared;
use crate::profile::{self, Explanation, Measured, Rules};
use crate::record::{PassedOver, Point, Session, WorkloadInfo};
use crate::stats::blocks::SpeedUp;
use crate::stats::judged::{JudgedBy, Terms, compared};
use crate::stats::tail::speed_up_by_running;
use crate::stats::{self, Estimate, Evidence, Ratios, Soundness, Verdict, blocks};

impl Summary {
    /// Of everything that was derived, in any order.
    pub fn new(derived: Vec<Derived>, passed_over: Vec<PassedOver>) -> Self {
        let mut cells = Vec::new();
        let mut foreign = Vec::new();
        for derived in derived {
            match derived {
                Derived::Cells(parts) => cells.extend(parts),
                Derived::Foreign(result) => foreign.push(result),
            }
        }
        let sessions = sessions(&cells);
        sort(&mut cells, &sessions);
        let sets = cells
            .iter()
            .filter(|c| !c.row.baseline && !c.performance.blocks.is_empty())
            .count();
        let compared: Vec<_> = by_model(&cells)
            .flat_map(|of_model| {
                of_model
                    .iter()
                    .map(move |cell| (compare(cell, of_model, sets), why(cell, of_model)))
            })
            .collect();
        for (cell, (comparison, why)) in cells.iter_mut().zip(compared) {
            cell.row.comparison = comparison;
            let contradicted = why
                .as_ref()
                .is_some_and(|why| why.verdict == Some(profile::Verdict::Contradiction));
            if contradicted && let Some(comparison) = &mut cell.row.comparison {
                comparison.verdict = None;
            }
            cell.row.why = why;
        }
        let mut notes = notes(&cells, &sessions);
        notes.extend(across::drifts(&cells));
        let calibrations = across::calibrations(&cells);
        let geometric_means = across::geometric_means(&cells);
        let environments = environments(&cells);
        let workloads = workloads(&cells);
        let leaks = cells.iter().flat_map(|c| c.leaks.iter().cloned()).collect();
        Self {
            schema: SCHEMA,
            sessions: sessions.iter().map(session_row).collect(),
            cells: cells.into_iter().map(|cell| cell.row).collect(),
            imported: imported::rows(foreign),
            environments,
            workloads,
            leaks,
            passed_over,
            calibrations,
            geometric_means,
            training_step: Vec::new(),
            fidelity: Vec::new(),
            notes,
        }
    }
}

/// The distinct sessions, oldest first.
fn sessions(cells: &[DerivedCell]) -> Vec<Session> {
    let mut seen = HashSet::new();
    let mut sessions: Vec<Session> = cells
        .iter()
        .filter(|cell| seen.insert(&cell.session.id))
        .map(|cell| cell.session.clone())
        .collect();
    sessions.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
    sessions
}

fn session_row(session: &Session) -> SessionRow {
    SessionRow {
        id: session.id.clone(),
        started: session.started,
        rollbench: session.rollbench.clone(),
        argv: session.argv.clone(),
        resumes: session.resumes.clone(),
        matrix: session.matrix.clone(),
        plan: session.plan,
        seed: session.seed,
        smallest_effect: session.inference.smallest_effect,
    }
}

/// Models, then modes, then points, then precisions: models and precisions in the order of declaration, as far as the
/// sessions together tell, points by their rate and their concurrency.
fn sort(cells: &mut [DerivedCell], sessions: &[Session]) {
    let models = merged(sessions.iter().map(|s| s.matrix.models.as_slice()));
    let precisions = merged(sessions.iter().map(|s| s.matrix.precisions.as_slice()));
    cells.sort_by_cached_key(|cell| {
        let row = &cell.row;
        (
            models.get_index_of(&row.model).unwrap_or(models.len()),
            row.model.clone(),
            row.mode,
            place_of(cell),
            precisions
                .get_index_of(&row.precision)
                .unwrap_or(precisions.len()),
            row.precision.clone(),
        )
    });
}

/// Sorted cells, those of a model and a mode together.
fn by_model(cells: &[DerivedCell]) -> impl Iterator<Item = &[DerivedCell]> {
    cells.chunk_by(|a, b| a.row.model == b.row.model && a.row.mode == b.row.mode)
}

/// The point that cells must share to be compared; one that names none was sent all at once.
fn place_of(cell: &DerivedCell) -> Point {
    cell.row.point.unwrap_or_default()
}

/// One order out of several: an item that is new goes behind the one that it follows in its own list.
fn merged<'a, T: Eq + Hash + 'a>(lists: impl Iterator<Item = &'a [T]>) -> IndexSet<&'a T> {
    let mut order: IndexSet<&T> = IndexSet::new();
    for list in lists {
        if list.iter().all(|item| order.contains(item)) {
            continue;
        }
        let known = |item| order.get_index_of(item);
        let mut next = list.iter().find_map(known).unwrap_or(order.len());
        for item in list {
            next = match order.get_index_of(item) {
                Some(at) => at + 1,
                None => order.insert_before(next, item).0 + 1,
            };
        }
    }
    order
}

/// Why a cell is faster or slower than its baseline, where both were profiled.
fn why(cell: &DerivedCell, of_model: &[DerivedCell]) -> Option<Explanation> {
    let baseline = baseline_of(cell, of_model).filter(|_| !cell.row.baseline)?;
    if cell.profiles.is_empty() || baseline.profiles.is_empty() {
        return None;
    }
    let measured = Measured::of(&baseline.iterations_ns, &cell.iterations_ns);
    profile::explain(
        &baseline.profiles,
        &cell.profiles,
        measured,
        Rules::built_in(),
    )
}

/// The baseline among the cells of the same model and mode, at the same point; where it was not measured there, at
/// another one, so that the row can say so.
fn baseline_of<'a>(cell: &DerivedCell, of_model: &'a [DerivedCell]) -> Option<&'a DerivedCell> {
    let all = || {
        of_model
            .iter()
            .filter(|other| other.row.precision == cell.session.matrix.baseline)
    };
    let here = all().find(|other| place_of(other) == place_of(cell));
    here.or_else(|| all().find(|other| !other.performance.blocks.is_empty()))
}

/// The comparison of a cell with the baseline of its model at the same point, where both have numbers. `sets` are
/// compared in the whole summary.
fn compare(cell: &DerivedCell, of_model: &[DerivedCell], sets: usize) -> Option<Comparison> {
    let baseline = baseline_of(cell, of_model)?;
    // At every point: the intervals of a sweep hold together.
    let is_compared = |c: &DerivedCell| {
        c.row.precision != baseline.row.precision && !c.performance.blocks.is_empty()
    };
    if baseline.performance.blocks.is_empty() || !is_compared(cell) {
        return None;
    }
    let mut comparison = Comparison {
        baseline: baseline.row.precision.clone(),
        judged_by: JudgedBy::Throughput,
        estimate: None,
        bound: None,
        latency: Vec::new(),
        verdict: None,
        differences: Vec::new(),
        blocks: Vec::new(),
        bootstrap: None,
        outliers: Vec::new(),
        without_outliers: None,
        by_running: Vec::new(),
        across_sessions: false,
        incomparable: not_compared(&cell.conditions.unlike(&baseline.conditions)),
    };
    if comparison.incomparable.is_some() {
        return Some(comparison);
    }
    let comparisons = of_model.iter().filter(|c| is_compared(c)).count();
    let inference = cell.session.inference;
    let reasons = reasons(baseline, cell);
    let terms = Terms {
        comparisons,
        smallest_effect: inference.smallest_effect,
        sound: reasons.is_empty(),
    };
    let found = compared(
        &baseline.performance,
        &cell.performance,
        terms,
        |there, here, comparisons| blocks::speed_up(there, here, inference, comparisons),
    );
    comparison.judged_by = found.judged_by;
    comparison.across_sessions = baseline.session.id != cell.session.id
        && blocks::differences(&baseline.performance.blocks, &cell.performance.blocks).is_empty();
    match found.judged_by {
        JudgedBy::Throughput => {
            if let Some(speed_up) = found.speed_up {
                by_throughput(&mut comparison, speed_up, baseline, cell, sets, &terms);
            }
        }
        JudgedBy::Latency => comparison.latency = found.latency,
        JudgedBy::AtLeast | JudgedBy::AtMost => {
            comparison.bound = found.speed_up.map(|speed_up| speed_up.estimate);
        }
    }
    if found.judged_by != JudgedBy::Throughput {
        comparison.verdict = Some(Verdict {
            judgement: None,
            sentence: paced_sentence(&comparison, baseline, cell, &reasons),
        });
    }
    Some(comparison)
}

/// Fills in what is said of a ratio of throughputs.
fn by_throughput(
    comparison: &mut Comparison,
    found: SpeedUp,
    baseline: &DerivedCell,
    cell: &DerivedCell,
    sets: usize,
    terms: &Terms,
) {
    let SpeedUp {
        estimate,
        differences,
        blocks,
    } = found;
    comparison.estimate = Some(estimate);
    comparison.verdict = Some(stats::verdict(&Evidence {
        cell: cell.row.precision_label.clone(),
        baseline: baseline.row.precision_label.clone(),
        estimate,
        smallest_effect: terms.smallest_effect,
        resolution: baseline.resolution().map(|r| r.resolution),
        comparisons: terms.comparisons,
        ratios: ratios(baseline, cell, &estimate),
        reasons: reasons(baseline, cell),
    }));
    let outliers = stats::outliers(&differences, sets);
    comparison.across_sessions = differences.is_empty();
    comparison.bootstrap = stats::bca(&differences, terms.comparisons, cell.session.seed);
    comparison.without_outliers = stats::mean_without(&differences, &outliers).map(f64::exp);
    comparison.outliers = outliers.iter().map(|o| o.index).collect();
    comparison.by_running = speed_up_by_running(&baseline.by_running, &cell.by_running);
    comparison.differences = differences;
    comparison.blocks = blocks;
}

/// What is said at a point where a schedule offered the requests and not both fell behind.
fn paced_sentence(
    comparison: &Comparison,
    baseline: &DerivedCell,
    cell: &DerivedCell,
    reasons: &[String],
) -> String {
    let paces = Paces {
        cell: (&cell.row.precision_label, cell.performance.pace),
        baseline: (&baseline.row.precision_label, baseline.performance.pace),
    };
    let smallest_effect = cell.session.inference.smallest_effect;
    let said = match comparison.bound {
        Some(bound) => paces.bound(comparison.judged_by, &bound, smallest_effect),
        None => paces.latency(&comparison.latency, smallest_effect),
    };
    match reasons {
        [] => said,
        reasons => format!("{said}: not valid: {}", reasons.join("; ")),
    }
}

/// The same comparison by throughput and by makespan.
fn ratios(baseline: &DerivedCell, cell: &DerivedCell, speedup: &Estimate) -> Option<Ratios> {
    let throughput = |c: &DerivedCell| c.row.metrics.as_ref().map(|m| m.output_throughput);
    Some(Ratios {
        throughput: throughput(cell)? / throughput(baseline)?,
        makespan: speedup.ratio,
        profile: None,
    })
}

/// Why nothing may be claimed of the two, although there is a ratio.
fn reasons(baseline: &DerivedCell, cell: &DerivedCell) -> Vec<String> {
    let name = &baseline.row.precision_label;
    let theirs = baseline.row.invalid.iter().map(|r| format!("{name}: {r}"));
    let torn = baseline
        .resolution()
        .is_some_and(|r| r.soundness == Soundness::Invalid)
        && baseline.session.id == cell.session.id;
    let calibration = torn.then(|| {
        format!(
            "{name} measured twice differs from itself by more than the smallest effect of interest"
        )
    });
    cell.row
        .invalid
        .iter()
        .cloned()
        .chain(theirs)
        .chain(calibration)
        .collect()
}

fn notes(cells: &[DerivedCell], sessions: &[Session]) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut say = |text: String| {
        notes.push(Note {
            text,
            command: None,
        });
    };
    if cells
        .iter()
        .any(|cell| cell.row.outcome == Outcome::Running)
    {
        say("A session is at work in this folder: these numbers are not its last word.".to_owned());
    }
    for lone in lone_models(cells) {
        say(lone);
    }
    if cells
        .iter()
        .any(|c| c.row.comparison.as_ref().is_some_and(|c| c.across_sessions))
    {
        say(
            "* The baseline of this ratio was measured in another session: what differed between the two is in it."
                .to_owned(),
        );
    }
    notes.extend(more_blocks(cells, sessions));
    notes
}

/// Models with numbers and without a baseline to compare them with.
fn lone_models(cells: &[DerivedCell]) -> Vec<String> {
    let measured = |cell: &&DerivedCell| !cell.performance.blocks.is_empty();
    let note = |of_model: &[DerivedCell]| {
        let lone = of_model
            .iter()
            .filter(measured)
            .find(|cell| !baseline_of(cell, of_model).as_ref().is_some_and(measured))?;
        Some(format!(
            "No speed-up for {}: its baseline precision {} was not measured.",
            lone.row.model_label, lone.session.matrix.baseline
        ))
    };
    by_model(cells).filter_map(note).collect()
}

/// The command that gives intervals and verdicts, if the latest session compared cells in one block.
fn more_blocks(cells: &[DerivedCell], sessions: &[Session]) -> Option<Note> {
    let latest = sessions.last()?;
    let single = |cell: &&DerivedCell| {
        let comparison = cell.row.comparison.as_ref();
        cell.session.id == latest.id && comparison.is_some_and(|c| c.differences.len() == 1)
    };
    cells.iter().find(single)?;
    let of_session = || cells.iter().filter(|c| c.session.id == latest.id);
    let block_s: f64 = of_session().filter_map(|cell| cell.start_s).sum();
    let time = estimate(block_s * f64::from(BLOCKS_FOR_VERDICTS));
    Some(Note {
        text: format!(
            "One engine start a cell: a difference cannot be told from luck. For intervals and verdicts \
             (about {time}, by this run's own times):"
        ),
        command: Some(with_more_blocks(&latest.argv)),
    })
}

/// An estimate as one would say it: never more exact than it is.
fn estimate(seconds: f64) -> String {
    let minutes = (seconds / 60.0).ceil().max(1.0);
    if minutes < 1.5 {
        "1 minute".to_owned()
    } else if minutes < 120.0 {
        format!("{minutes:.0} minutes")
    } else {
        format!("{:.0} hours", (minutes / 60.0).ceil())
    }
}

/// Distinct surroundings, in the order in which the cells come.
fn environments(cells: &[DerivedCell]) -> Vec<Environment> {
    let mut distinct: IndexMap<Environment, IndexSet<String>> = IndexMap::new();
    for environment in cells.iter().flat_map(|cell| &cell.environments) {
        let mut surroundings = environment.clone();
        let measured = std::mem::take(&mut surroundings.cells);
        distinct.entry(surroundings).or_default().extend(measured);
    }
    distinct
        .into_iter()
        .map(|(surroundings, cells)| Environment {
            cells: cells.into_iter().collect(),
            ..surroundings
        })
        .collect()
}

/// Distinct workloads, in the order in which the cells come.
fn workloads(cells: &[DerivedCell]) -> Vec<WorkloadRow> {
    let mut distinct: IndexMap<_, (&WorkloadInfo, IndexSet<String>)> = IndexMap::new();
    for cell in cells.iter().filter(|cell| !cell.row.steps.is_empty()) {
        for (name, workload) in &cell.workloads {
            let which = (
                name,
                &workload.sha256,
                workload.seed,
                workload.spec.to_string(),
            );
            let known = distinct
                .entry(which)
                .or_insert_with(|| (workload, IndexSet::new()));
            known.1.insert(cell.row.id());
        }
    }
    distinct
        .into_iter()
        .map(|((name, ..), (workload, cells))| WorkloadRow {
            name: name.clone(),
            spec: workload.spec.clone(),
            seed: workload.seed,
            sha256: workload.sha256.clone(),
            cells: cells.into_iter().collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_of_several_sessions_become_one() {
        let merge = |lists: &[&[&'static str]]| {
            let order = merged(lists.iter().copied());
            order.into_iter().copied().collect::<Vec<_>>()
        };
        assert_eq!(
            merge(&[&["bf16", "w8a8"], &["bf16", "w8a16", "w8a8"]]),
            ["bf16", "w8a16", "w8a8"]
        );
        assert_eq!(merge(&[&["bf16"], &["fp8"]]), ["bf16", "fp8"]);
        assert_eq!(merge(&[&["b"], &["a", "b"]]), ["a", "b"]);
        assert_eq!(merge(&[&["a", "b"], &["b", "c"]]), ["a", "b", "c"]);
    }

    #[test]
    fn estimates_are_said_in_minutes_and_hours() {
        let said = [1.0, 61.0, 7_100.0, 7_300.0].map(estimate);
        assert_eq!(said, ["1 minute", "2 minutes", "119 minutes", "3 hours"]);
    }
}
