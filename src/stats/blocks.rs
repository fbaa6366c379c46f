//! From records to the numbers that intervals are made of: which engine starts are compared with which.

use std::collections::BTreeMap;

use super::cell_metrics::{BlockLog, block_logs};
use super::interval::{Estimate, paired, two_stage, unpaired};
use super::stein::{Total, total_blocks};
use crate::record::{Arm, CellRecord, Conditions, Inference};

/// y(baseline) - y(cell) in the blocks that one session ran of both, with their numbers, in the order of blocks. Where a
/// block was repeated, its last start counts.
pub fn differences(baseline: &[BlockLog], cell: &[BlockLog]) -> Vec<(u32, f64)> {
    let by_block = |logs: &[BlockLog]| -> BTreeMap<(u32, String), f64> {
        logs.iter()
            .map(|log| ((log.block, log.session.clone()), log.mean_ln_makespan))
            .collect()
    };
    let here = by_block(cell);
    by_block(baseline)
        .into_iter()
        .filter_map(|(block, there)| Some((block.0, there - here.get(&block)?)))
        .collect()
}

/// A speed-up and what it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeedUp {
    /// The ratio with its interval.
    pub estimate: Estimate,
    /// The differences of logarithms, a block each; empty where the arms are not paired.
    pub differences: Vec<f64>,
    /// The numbers of these blocks, from 0.
    pub blocks: Vec<u32>,
}

/// The speed-up of a cell over its baseline, with `comparisons` cells compared with this baseline: paired by block
/// where one session ran both, else as two independent arms. Absent without a block.
pub fn speed_up(
    baseline: &[BlockLog],
    cell: &[BlockLog],
    inference: Inference,
    comparisons: usize,
) -> Option<SpeedUp> {
    let (blocks, differences): (Vec<u32>, Vec<f64>) =
        differences(baseline, cell).into_iter().unzip();
    let estimate = if differences.is_empty() {
        between_sessions(baseline, cell, comparisons)
    } else if let (Some(first), Some(_)) = (inference.first_stage, inference.until) {
        // Where a block of the first stage failed, none of the second takes its place: the number of blocks was decided
        // without it.
        let of_first = blocks.iter().filter(|block| **block < first).count();
        two_stage(&differences, of_first, comparisons)
    } else {
        paired(&differences, comparisons)
    };
    estimate.map(|estimate| SpeedUp {
        estimate,
        differences,
        blocks,
    })
}

/// How many blocks a two-stage session needs in all, from its first stage: the most that any model needs for intervals
/// no wider than `until` (0.02 for +-2 %) of all its comparisons, at all points of a sweep. Absent where no model has a comparison with two
/// blocks: then nothing can be computed, and more blocks would not help.
pub fn second_stage(
    records: &[CellRecord],
    until: f64,
    first_stage: usize,
    max_blocks: usize,
) -> Option<Total> {
    let of_model = |baseline: &CellRecord| {
        let cells = records.iter().filter(|r| {
            r.cell.id.model == baseline.cell.id.model
                && r.cell.mode == baseline.cell.mode
                && r.cell.id.precision != baseline.cell.id.precision
        });
        let logs = |record: &CellRecord| -> Vec<(Conditions, Vec<BlockLog>)> {
            let parts = record.by_point();
            parts
                .map(|(_, part)| {
                    (
                        Conditions::of(&part, Arm::Main),
                        block_logs(&part, Arm::Main),
                    )
                })
                .collect()
        };
        let there = logs(baseline);
        let mut stages: Vec<Vec<f64>> = Vec::new();
        for (conditions, here) in cells.flat_map(logs) {
            let same = there
                .iter()
                .find(|(other, _)| conditions.unlike(other).is_empty());
            let all = same.map_or_else(Vec::new, |(_, there)| differences(there, &here));
            let of_first = all
                .into_iter()
                .filter(|(block, _)| (*block as usize) < first_stage);
            let d: Vec<f64> = of_first.map(|(_, difference)| difference).collect();
            if d.len() >= 2 {
                stages.push(d);
            }
        }
        total_blocks(&stages, until.ln_1p(), max_blocks)
    };
    records
        .iter()
        .filter(|r| r.cell.id.precision == r.session.matrix.baseline)
        .filter_map(of_model)
        .max_by_key(|total| total.wanted)
}

/// The baseline over itself, from the calibration arm. Absent without one.
pub fn calibration(baseline: &CellRecord) -> Option<Estimate> {
    let conditions = |arm| Conditions::of(baseline, arm);
    if !conditions(Arm::Calibration)
        .unlike(&conditions(Arm::Main))
        .is_empty()
    {
        return None;
    }
    let main = block_logs(baseline, Arm::Main);
    let again = block_logs(baseline, Arm::Calibration);
    let differences: Vec<f64> = differences(&main, &again)
        .into_iter()
        .map(|d| d.1)
        .collect();
    paired(&differences, 1)
}

/// The speed-up of `new` over `base`, which share no blocks.
pub fn between_sessions(
    base: &[BlockLog],
    new: &[BlockLog],
    comparisons: usize,
) -> Option<Estimate> {
    let values = |logs: &[BlockLog]| logs.iter().map(|l| l.mean_ln_makespan).collect::<Vec<_>>();
    unpaired(&values(base), &values(new), comparisons)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::builder::done;
    use crate::record::{Point, StartStatus};

    fn compared(base: &CellRecord, cell: &CellRecord) -> Option<SpeedUp> {
        let logs = |r| block_logs(r, Arm::Main);
        speed_up(&logs(base), &logs(cell), cell.session.inference, 1)
    }

    #[test]
    fn cells_of_a_session_are_paired_by_block() {
        // The second block is twice as slow for both: it cancels.
        let base = done("demo", "bf16", &[&[2.0, 2.0], &[4.0, 4.0]]);
        let cell = done("demo", "w8a8", &[&[1.0, 1.0], &[2.0, 2.0]]);
        let found = compared(&base, &cell).expect("blocks").estimate;
        assert!((found.ratio - 2.0).abs() < 1e-9);
        assert!(found.interval.expect("two blocks").half_width_log() < 1e-9);
    }

    #[test]
    fn other_sessions_are_not_paired() {
        let base = done("demo", "bf16", &[&[2.0], &[4.0]]);
        let mut cell = done("demo", "w8a8", &[&[1.0], &[2.0]]);
        cell.starts
            .iter_mut()
            .for_each(|s| s.session = "another".to_owned());
        let found = compared(&base, &cell).expect("blocks").estimate;
        assert!(found.interval.expect("two blocks").half_width_log() > 1.0);
    }

    #[test]
    fn only_complete_main_starts_and_the_last_attempt_count() {
        let mut cell = done("demo", "bf16", &[&[2.0], &[4.0]]);
        let mut again = cell.starts[1].clone();
        again.attempt = 1;
        again.steps.iter_mut().for_each(|s| s.makespan_ns /= 2);
        cell.starts[0].status = StartStatus::Interrupted;
        cell.starts.push(again);
        let mut aa = cell.starts[1].clone();
        aa.arm = Arm::Calibration;
        cell.starts.push(aa);
        let logs = block_logs(&cell, Arm::Main);
        assert_eq!(logs.iter().map(|l| l.block).collect::<Vec<_>>(), [1, 1]);
        let calibrated = calibration(&cell).expect("a block");
        assert!((calibrated.ratio - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_second_stage_needs_what_its_noisiest_point_needs() {
        let at = |record: &mut CellRecord| {
            for step in record.starts.iter_mut().flat_map(|s| &mut s.steps) {
                let rate = (step.index < 2).then_some(4.0);
                step.point = Some(Point {
                    rate,
                    ..Point::default()
                });
            }
        };
        // The first point is calm, the second is not: one mean over both would hide it.
        let mut base = done("demo", "bf16", &[&[1.0, 1.0], &[1.0, 1.0], &[1.0, 1.0]]);
        let mut cell = done("demo", "w8a8", &[&[1.0, 1.0], &[1.0, 1.3], &[1.0, 0.8]]);
        let whole = second_stage(&[base.clone(), cell.clone()], 0.02, 3, 1000).expect("compared");
        at(&mut base);
        at(&mut cell);
        let parts = second_stage(&[base, cell], 0.02, 3, 1000).expect("compared");
        assert!(parts.wanted > whole.wanted, "{parts:?} {whole:?}");
    }

    #[test]
    fn a_two_stage_session_uses_the_spread_of_its_first_stage() {
        let rows: Vec<Vec<f64>> = [1.0, 1.1, 1.0, 3.0, 0.3].map(|x| vec![x]).to_vec();
        let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let base = done("demo", "bf16", &[&[2.0][..]; 5]);
        let mut cell = done("demo", "w8a8", &rows);
        let fixed = compared(&base, &cell).expect("blocks").estimate;
        cell.session.inference = Inference {
            until: Some(0.02),
            first_stage: Some(3),
            ..Inference::default()
        };
        let staged = compared(&base, &cell).expect("blocks").estimate;
        assert!((fixed.ratio - staged.ratio).abs() < 1e-12);
        assert!((staged.interval.expect("has").df - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_failed_block_of_the_first_stage_is_not_replaced_by_one_of_the_second() {
        let base = done("demo", "bf16", &[&[2.0][..]; 8]);
        let rows: Vec<Vec<f64>> = [1.0, 1.1, 1.0, 1.05, 1.0, 1.1, 3.0, 0.3]
            .map(|x| vec![x])
            .to_vec();
        let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let mut cell = done("demo", "w8a8", &rows);
        cell.session.inference = Inference {
            until: Some(0.02),
            first_stage: Some(6),
            ..Inference::default()
        };
        cell.starts[2].status = StartStatus::Failed;
        let found = compared(&base, &cell).expect("blocks");
        assert_eq!(found.blocks, [0, 1, 3, 4, 5, 6, 7]);
        let interval = found.estimate.interval.expect("five of the first stage");
        assert!((interval.df - 4.0).abs() < f64::EPSILON);
        let first: Vec<f64> = [1.0_f64, 1.1, 1.05, 1.0, 1.1]
            .map(|x| (2.0 / x).ln())
            .to_vec();
        let sd = paired(&first, 1).expect("blocks").sd_log.expect("five");
        assert!((found.estimate.sd_log.expect("five") - sd).abs() < 1e-12);
    }
}
