//! The makespan of another batch, from the course of a measured one.
//!
//! An iteration of an engine costs a fixed time (reading the weights), something for each running sequence, and
//! something for the context that it attends to; prompts cost by their tokens. So the time up to any moment is
//! linear in the [`Work`] done: `t = p prompt_tokens + a iterations + c tokens + d context`, none of them negative.
//! A batch whose sequences end at different times shows all four, and then the time of any other batch follows. A
//! batch of equal lengths ends in one moment and shows only the sum: it is refused.

use serde::Serialize;

use super::interval::mean;
use super::schedule::{Course, Request, Work, course};
use crate::record::{Arm, CellRecord, EngineStart, Step, counted_starts, counted_steps};

/// Points of a step's course that are fitted: enough to show its bends, few enough that each spans many iterations.
const KNOTS: usize = 24;

/// A model that is off by more than this on the steps it was fitted to describes something else than this engine.
const WORST_FIT: f64 = 0.05;

/// How far beyond what was measured a prediction may go.
const REACH: f64 = 1.25;

/// Why there is no prediction.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Nothing to learn from.
    #[error("it has no complete engine start")]
    NotMeasured,
    /// Its steps are no basis.
    #[error("{0}; --although-invalid predicts from it all the same")]
    NotValid(&'static str),
    /// Prompts would be found in the prefix cache in another share than was measured.
    #[error(
        "the batch shares prompts in another way than what was measured (samples per prompt, replicas or shared prefix), so \
         another part of them would be found in the prefix cache; measure a batch that shares them alike"
    )]
    Sharing,
    /// The engine does not tell when sequences ended.
    #[error("its steps do not tell when each sequence ended")]
    NoFinishTimes,
    /// All sequences ended at about the same time.
    #[error(
        "its response lengths have no spread ({low} to {high} tokens for the middle 80 %), so nothing shows how speed \
         depends on the number of running sequences; measure a workload with a tail, such as --workload math-4k"
    )]
    NoSpread {
        /// 10th percentile.
        low: u32,
        /// 90th percentile.
        high: u32,
    },
    /// Preempted sequences are computed twice.
    #[error("{0} sequences were preempted in its steps, which the model does not describe")]
    Preempted(u64),
    /// The model does not describe the steps.
    #[error("the model misses when the sequences of its own steps ended, by up to {:.1} % of the makespan", 100.0 * .0)]
    BadFit(f64),
    /// More sequences together than measured.
    #[error("{asked} sequences would run together; at most {measured} were measured")]
    Running {
        /// In the batch to be predicted.
        asked: usize,
        /// In the measured steps.
        measured: usize,
    },
    /// Longer sequences than measured.
    #[error("sequences of {asked} tokens are asked for; the longest measured has {measured}")]
    Context {
        /// Prompt and response.
        asked: u32,
        /// Prompt and response.
        measured: u32,
    },
    /// It would not fit.
    #[error("it would need {needed} tokens of KV cache at once; the engine has {available}")]
    KvCache {
        /// At the fullest moment.
        needed: u64,
        /// The engine's capacity.
        available: u64,
    },
}

/// Seconds per unit of [`Work`]: prompt token, iteration, token, token of context.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Costs {
    /// Seconds per prompt token.
    pub prompt_token_s: f64,
    /// Seconds per iteration, whatever runs.
    pub iteration_s: f64,
    /// Seconds per token made.
    pub token_s: f64,
    /// Seconds per token of context and iteration.
    pub context_s: f64,
}

impl Costs {
    fn seconds(self, work: Work) -> f64 {
        let costs = [
            self.prompt_token_s,
            self.iteration_s,
            self.token_s,
            self.context_s,
        ];
        costs
            .iter()
            .zip(work.features())
            .map(|(cost, amount)| cost * amount)
            .sum()
    }
}

/// What one engine start taught.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fit {
    /// The session that ran it.
    pub session: String,
    /// Its block.
    pub block: u32,
    /// Its costs.
    pub costs: Costs,
    /// How far the costs are from when the sequences ended, at the worst moment, relative to the makespan.
    pub error: f64,
    reach: Reach,
}

/// The limits of what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    slots: usize,
    queued: bool,
    longest: u32,
    kv_tokens: Option<u64>,
}

/// One fit per engine start of `record` that counts.
pub(crate) fn fits(record: &CellRecord) -> Result<Vec<Fit>, Refusal> {
    let starts = counted_starts(record, Arm::Main);
    if starts.is_empty() {
        return Err(Refusal::NotMeasured);
    }
    starts.into_iter().map(fit).collect()
}

fn fit(start: &EngineStart) -> Result<Fit, Refusal> {
    let steps = counted_steps(start);
    if steps.is_empty() {
        return Err(Refusal::NotMeasured);
    }
    let slots = slots(&steps);
    let mut courses = Vec::with_capacity(steps.len());
    let mut equations = Vec::new();
    let mut longest = 0;
    for step in &steps {
        check(step)?;
        let requests = requests(step);
        longest = requests
            .iter()
            .map(|r| r.prompt_tokens + r.output_tokens)
            .max()
            .unwrap_or(0)
            .max(longest);
        let course = course(&requests, slots);
        equations.extend(increments(step, &course));
        courses.push(course);
    }
    let costs = non_negative_least_squares(&equations);
    let error = miss(&steps, &courses, costs);
    if error > WORST_FIT {
        return Err(Refusal::BadFit(error));
    }
    let queued = steps.iter().any(|s| s.sequences.len() > slots);
    Ok(Fit {
        session: start.session.clone(),
        block: start.block,
        costs,
        error,
        reach: Reach {
            slots,
            queued,
            longest,
            kv_tokens: start.engine.as_ref().and_then(|e| e.kv_tokens),
        },
    })
}

/// How far the costs are from when sequences ended, at the worst moment of the course, relative to the makespan. Steps
/// of one start are averaged first where they have the same sequences: their noise is not the model's.
fn miss(steps: &[&Step], courses: &[Course], costs: Costs) -> f64 {
    let same = steps
        .windows(2)
        .all(|pair| pair[0].sequences.output_tokens == pair[1].sequences.output_tokens);
    let of = |some: &[(&Step, &Course)]| -> f64 {
        let count = some.len() as f64;
        let makespan = some
            .iter()
            .map(|(step, _)| step.makespan_ns as f64 / 1e9)
            .sum::<f64>()
            / count;
        let sequences = some
            .iter()
            .map(|(_, course)| course.at_end.len())
            .min()
            .unwrap_or(0);
        let at_row = |row: usize| -> f64 {
            let measured = some
                .iter()
                .filter_map(|(step, _)| step.sequences.finish_ns[row]);
            let measured = measured.map(|ns| ns as f64 / 1e9).sum::<f64>() / count;
            (costs.seconds(some[0].1.at_end[row]) - measured).abs() / makespan
        };
        (0..sequences).map(at_row).fold(0.0, f64::max)
    };
    let all: Vec<(&Step, &Course)> = steps.iter().copied().zip(courses).collect();
    if same {
        of(&all)
    } else {
        all.iter().map(|one| of(&[*one])).fold(0.0, f64::max)
    }
}

/// Most sequences that ran together, as the engine told; without a timeline, all of a step's.
fn slots(steps: &[&Step]) -> usize {
    let of = |step: &&Step| -> usize {
        let all = step.sequences.len();
        let told = step
            .timeline
            .as_ref()
            .and_then(|t| t.running.iter().max().copied());
        told.map_or(all, |peak| (peak as usize).clamp(1, all))
    };
    steps.iter().map(of).max().unwrap_or(1)
}

fn check(step: &Step) -> Result<(), Refusal> {
    let columns = &step.sequences;
    if columns.finish_ns.len() != columns.len() || columns.finish_ns.iter().any(Option::is_none) {
        return Err(Refusal::NoFinishTimes);
    }
    let mut lengths = columns.output_tokens.clone();
    lengths.sort_unstable();
    let last = lengths.len() - 1;
    let (low, high) = (lengths[last / 10], lengths[last - last / 10]);
    if lengths.len() < 8 || f64::from(high) < 1.5 * f64::from(low) {
        return Err(Refusal::NoSpread { low, high });
    }
    match step.counters.preemptions {
        Some(preempted) if preempted > 0 => Err(Refusal::Preempted(preempted)),
        _ => Ok(()),
    }
}

fn requests(step: &Step) -> Vec<Request> {
    let columns = &step.sequences;
    (0..columns.len())
        .map(|row| Request {
            prompt_tokens: columns.prompt_tokens.get(row).copied().unwrap_or(0),
            output_tokens: columns.output_tokens[row],
        })
        .collect()
}

/// Work and seconds between successive knots of the step's course. Sequences that end in one iteration end together;
/// the knots are spread over the time, not over the sequences, so that a long thin tail has its weight.
fn increments(step: &Step, course: &Course) -> Vec<(Work, f64)> {
    let mut ends: Vec<(Work, f64)> = course
        .at_end
        .iter()
        .zip(&step.sequences.finish_ns)
        .filter_map(|(work, finish)| Some((*work, (*finish)? as f64 / 1e9)))
        .collect();
    ends.sort_by(|a, b| a.0.iterations.total_cmp(&b.0.iterations));
    let points: Vec<(Work, f64)> = ends
        .chunk_by(|a, b| a.0 == b.0)
        .map(|together| {
            (
                together[0].0,
                mean(&together.iter().map(|e| e.1).collect::<Vec<_>>()),
            )
        })
        .collect();
    let total = step.makespan_ns as f64 / 1e9;
    let mut increments = Vec::with_capacity(KNOTS);
    let (mut before, mut then) = (Work::default(), 0.0);
    for (work, at) in points {
        let is_last = work == course.total;
        // The last knot ends at the makespan: what comes after the last token belongs to the step.
        let at = if is_last { total } else { at };
        if is_last || at - then >= total / KNOTS as f64 {
            increments.push((work.since(before), at - then));
            (before, then) = (work, at);
        }
    }
    increments
}

/// The costs with the least squared error, none of them negative: all sixteen choices of which are 0 are tried. Each
/// equation is weighted by 1 / sqrt(iterations), as the noise of independent iterations adds up.
fn non_negative_least_squares(equations: &[(Work, f64)]) -> Costs {
    let rows: Vec<([f64; 4], f64)> = equations
        .iter()
        .map(|(work, seconds)| {
            let weight = 1.0 / work.iterations.max(1.0).sqrt();
            (work.features().map(|f| f * weight), seconds * weight)
        })
        .collect();
    let mut best = ([0.0; 4], f64::INFINITY);
    for subset in 1u32..16 {
        let used: Vec<usize> = (0..4).filter(|i| subset & (1 << i) != 0).collect();
        let Some(solution) = least_squares(&rows, &used) else {
            continue;
        };
        if solution.iter().any(|x| *x < 0.0) {
            continue;
        }
        let error: f64 = rows
            .iter()
            .map(|(f, s)| (f.iter().zip(&solution).map(|(f, x)| f * x).sum::<f64>() - s).powi(2))
            .sum();
        // Of equally good ones the one with fewer costs: subsets come before their supersets.
        if error < best.1 * (1.0 - 1e-9) {
            best = (solution, error);
        }
    }
    let [prompt_token_s, iteration_s, token_s, context_s] = best.0;
    Costs {
        prompt_token_s,
        iteration_s,
        token_s,
        context_s,
    }
}

/// Ordinary least squares with the features in `used`, by the normal equations on scaled columns. Absent where they
/// are not independent.
fn least_squares(rows: &[([f64; 4], f64)], used: &[usize]) -> Option<[f64; 4]> {
    let scale: Vec<f64> = used
        .iter()
        .map(|i| rows.iter().map(|(f, _)| f[*i].powi(2)).sum::<f64>().sqrt())
        .collect();
    if scale.contains(&0.0) || rows.len() < used.len() {
        return None;
    }
    let size = used.len();
    let mut matrix = vec![vec![0.0; size + 1]; size];
    for (features, seconds) in rows {
        let scaled: Vec<f64> = used
            .iter()
            .zip(&scale)
            .map(|(i, s)| features[*i] / s)
            .collect();
        for (r, line) in matrix.iter_mut().enumerate() {
            for (c, cell) in line.iter_mut().take(size).enumerate() {
                *cell += scaled[r] * scaled[c];
            }
            line[size] += scaled[r] * seconds;
        }
    }
    let solved = gauss(matrix)?;
    let mut solution = [0.0; 4];
    for ((i, x), s) in used.iter().zip(solved).zip(scale) {
        solution[*i] = x / s;
    }
    Some(solution)
}

/// Gauss-Jordan with partial pivots, of a system with its right side as the last column.
fn gauss(mut matrix: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let size = matrix.len();
    for column in 0..size {
        let pivot = (column..size).max_by(|a, b| {
            matrix[*a][column]
                .abs()
                .total_cmp(&matrix[*b][column].abs())
        })?;
        if matrix[pivot][column].abs() < 1e-10 {
            return None;
        }
        matrix.swap(column, pivot);
        let head = matrix[column].clone();
        for (row, line) in matrix.iter_mut().enumerate() {
            let factor = if row == column {
                1.0 - 1.0 / head[column]
            } else {
                line[column] / head[column]
            };
            for (cell, top) in line.iter_mut().zip(&head) {
                *cell -= factor * top;
            }
        }
    }
    Some(matrix.into_iter().map(|line| line[size]).collect())
}

/// The makespan of `batch`, in seconds, after each of the `fits`, in their order.
pub(crate) fn makespans(fits: &[Fit], batch: &[Request]) -> Result<Vec<f64>, Refusal> {
    fits.iter().map(|fit| makespan(fit, batch)).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "token counts, not negative"
)]
fn makespan(fit: &Fit, batch: &[Request]) -> Result<f64, Refusal> {
    let reach = fit.reach;
    let within = |asked: f64, measured: f64| asked <= measured * REACH;
    // Where a step queued, the number of slots is the engine's; else only that so many fit is known.
    let slots = if reach.queued {
        reach.slots
    } else {
        batch.len()
    };
    let course = course(batch, slots);
    if !within(course.peak_running as f64, reach.slots as f64) {
        return Err(Refusal::Running {
            asked: course.peak_running,
            measured: reach.slots,
        });
    }
    let longest = batch
        .iter()
        .map(|r| r.prompt_tokens + r.output_tokens)
        .max()
        .unwrap_or(0);
    if !within(f64::from(longest), f64::from(reach.longest)) {
        return Err(Refusal::Context {
            asked: longest,
            measured: reach.longest,
        });
    }
    match reach.kv_tokens {
        Some(available) if course.peak_context > available as f64 => Err(Refusal::KvCache {
            needed: course.peak_context as u64,
            available,
        }),
        _ => Ok(fit.costs.seconds(course.total)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::builder::done;
    use crate::workload::{Lengths, WorkloadSpec, slots as drawn};

    const TRUE: Costs = Costs {
        prompt_token_s: 2e-5,
        iteration_s: 0.012,
        token_s: 1.5e-4,
        context_s: 3e-8,
    };

    fn batch(mean: f64, sigma: f64, cap: u32, prompts: u32) -> Vec<Request> {
        let spec = WorkloadSpec {
            response: Lengths::Lognormal { mean, sigma, cap },
            ..WorkloadSpec::fixed(prompts, 8, 200, 1)
        };
        drawn(&spec, 0)
            .iter()
            .map(|s| Request {
                prompt_tokens: s.prompt_tokens,
                output_tokens: s.output_tokens,
            })
            .collect()
    }

    /// A record whose steps ran `batch` with the true costs, every iteration disturbed a little.
    fn measured(batch: &[Request], slots: usize) -> CellRecord {
        let mut record = done("demo", "bf16", &[&[1.0, 1.0]]);
        let course = course(batch, slots);
        let start = &mut record.starts[0];
        if let Some(engine) = &mut start.engine {
            engine.kv_tokens = None;
        }
        for (i, step) in start.steps.iter_mut().enumerate() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "seconds"
            )]
            let nanos = |seconds: f64| (seconds * 1e9) as u64;
            let rows = 0..batch.len();
            let columns = &mut step.sequences;
            columns.prompt_tokens = batch.iter().map(|r| r.prompt_tokens).collect();
            columns.output_tokens = batch.iter().map(|r| r.output_tokens).collect();
            columns.first_ns = vec![None; batch.len()];
            columns.finish_ns = rows
                .map(|row| {
                    let noise = 1.0 + 0.002 * (((row * 7 + i * 3) % 11) as f64 / 5.0 - 1.0);
                    Some(nanos(TRUE.seconds(course.at_end[row]) * noise))
                })
                .collect();
            step.makespan_ns = nanos(TRUE.seconds(course.total));
            step.timeline = Some(crate::record::Timeline {
                t_ns: vec![0],
                running: vec![u32::try_from(course.peak_running).expect("few")],
                tokens: vec![0],
            });
        }
        record
    }

    #[test]
    fn another_distribution_is_predicted() {
        let record = measured(&batch(1060.0, 0.7, 4096, 32), 256);
        let fits = fits(&record).expect("a fit");
        assert!(fits[0].error < 0.02, "{}", fits[0].error);
        for target in [
            batch(500.0, 0.5, 2048, 32),
            batch(2000.0, 0.8, 4096, 16),
            batch(1500.0, 0.3, 4096, 32),
        ] {
            let truth = TRUE.seconds(course(&target, 256).total);
            let found = makespans(&fits, &target).expect("within reach")[0];
            assert!((found / truth - 1.0).abs() < 0.03, "{found}, not {truth}");
        }
    }

    #[test]
    fn a_queueing_engine_is_predicted_with_its_slots() {
        let record = measured(&batch(1060.0, 0.7, 4096, 32), 64);
        let fits = fits(&record).expect("a fit");
        let target = batch(700.0, 0.8, 4096, 64);
        let truth = TRUE.seconds(course(&target, 64).total);
        let found = makespans(&fits, &target).expect("within reach")[0];
        assert!((found / truth - 1.0).abs() < 0.03, "{found}, not {truth}");
    }

    #[test]
    fn what_cannot_be_known_is_refused() {
        let said = |record: &CellRecord, target: &[Request]| {
            fits(record)
                .and_then(|f| makespans(&f, target))
                .expect_err("refused")
                .to_string()
        };
        let good = measured(&batch(1060.0, 0.7, 4096, 32), 256);
        let small = batch(500.0, 0.5, 2048, 32);
        insta::assert_snapshot!(said(&measured(&[Request { prompt_tokens: 9, output_tokens: 64 }; 32], 256), &small), @"its response lengths have no spread (64 to 64 tokens for the middle 80 %), so nothing shows how speed depends on the number of running sequences; measure a workload with a tail, such as --workload math-4k");
        insta::assert_snapshot!(said(&good, &batch(500.0, 0.5, 2048, 64)), @"512 sequences would run together; at most 256 were measured");
        insta::assert_snapshot!(said(&good, &batch(3000.0, 0.5, 16_384, 32)), @"sequences of 11407 tokens are asked for; the longest measured has 4296");
        insta::assert_snapshot!(said(&done("demo", "bf16", &[]), &small), @"it has no complete engine start");
        let mut silent = good.clone();
        silent.starts[0]
            .steps
            .iter_mut()
            .for_each(|s| s.sequences.finish_ns.clear());
        insta::assert_snapshot!(said(&silent, &small), @"its steps do not tell when each sequence ended");
        let mut preempted = good.clone();
        preempted.starts[0]
            .steps
            .iter_mut()
            .for_each(|s| s.counters.preemptions = Some(3));
        insta::assert_snapshot!(said(&preempted, &small), @"3 sequences were preempted in its steps, which the model does not describe");
        let mut narrow = good;
        if let Some(engine) = &mut narrow.starts[0].engine {
            engine.kv_tokens = Some(50_000);
        }
        insta::assert_snapshot!(said(&narrow, &small), @"it would need 101088 tokens of KV cache at once; the engine has 50000");
    }
}
