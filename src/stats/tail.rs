//! The tail of a step: how many sequences run when, and how fast the engine is with so many.

use serde::Serialize;

use crate::record::{Arm, CellRecord, Timeline, counted_starts, counted_steps};

/// The speed of an engine while `low` to `high` sequences run, over all measured steps of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct SpeedAt {
    /// Fewest running sequences of this class.
    pub low: u32,
    /// Most: `2 low - 1`.
    pub high: u32,
    /// Seconds spent with so many.
    pub seconds: f64,
    /// Tokens made meanwhile.
    pub tokens: u64,
    /// Tokens per second meanwhile.
    pub tok_s: f64,
}

/// Speed by the number of running sequences, in classes of powers of two, ascending. Empty where the engine tells no
/// timeline.
pub(crate) fn speed_by_running(record: &CellRecord) -> Vec<SpeedAt> {
    // By the exponent: 1, 2-3, 4-7, ...
    let mut classes = [(0.0f64, 0u64); 32];
    for step in counted_starts(record, Arm::Main)
        .into_iter()
        .flat_map(counted_steps)
    {
        for (running, seconds, tokens) in step.timeline.iter().flat_map(spans) {
            if let Some(exponent) = running.checked_ilog2() {
                let class = &mut classes[exponent as usize];
                class.0 += seconds;
                class.1 += tokens;
            }
        }
    }
    classes
        .iter()
        .enumerate()
        .filter(|(_, (seconds, tokens))| *seconds > 0.0 && *tokens > 0)
        .map(|(exponent, (seconds, tokens))| SpeedAt {
            low: 1 << exponent,
            high: u32::try_from((2u64 << exponent) - 1).unwrap_or(u32::MAX),
            seconds: *seconds,
            tokens: *tokens,
            tok_s: *tokens as f64 / seconds,
        })
        .collect()
}

/// The speed-up of a cell over its baseline while so many sequences run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SpeedUpAt {
    /// Fewest running sequences of this class.
    pub low: u32,
    /// Most.
    pub high: u32,
    /// Tokens per second of the cell over those of the baseline.
    pub ratio: f64,
    /// The share of the baseline's time that it spends with so many.
    pub share_of_time: f64,
}

/// Where a speed-up comes from: low precision often helps at one batch size and not at another, and the tail of a
/// rollout runs at small ones. Only classes that both have.
pub(crate) fn speed_up_by_running(baseline: &[SpeedAt], cell: &[SpeedAt]) -> Vec<SpeedUpAt> {
    let total: f64 = baseline.iter().map(|class| class.seconds).sum();
    baseline
        .iter()
        .filter_map(|there| {
            let here = cell.iter().find(|class| class.low == there.low)?;
            Some(SpeedUpAt {
                low: there.low,
                high: there.high,
                ratio: here.tok_s / there.tok_s,
                share_of_time: there.seconds / total,
            })
        })
        .collect()
}

/// Running sequences, seconds and tokens between successive points of a timeline. A point holds what was running
/// after an iteration, so what ran *during* a span is the mean of its two ends, rounded.
fn spans(timeline: &Timeline) -> impl Iterator<Item = (u32, f64, u64)> {
    let points = timeline
        .t_ns
        .iter()
        .zip(&timeline.running)
        .zip(&timeline.tokens);
    points
        .clone()
        .zip(points.skip(1))
        .map(|(((t, r), k), ((t2, r2), k2))| {
            let seconds = t2.saturating_sub(*t) as f64 / 1e9;
            (
                r.midpoint(*r2).max(u32::from(*r2 > 0 || *r > 0)),
                seconds,
                k2.saturating_sub(*k),
            )
        })
}

/// Running sequences over a step as at most `points` pairs of seconds and sequences, for a figure.
pub(crate) fn running_over_time(timeline: &Timeline, points: usize) -> Vec<(f64, u32)> {
    let stride = timeline.t_ns.len().div_ceil(points.max(1)).max(1);
    timeline
        .t_ns
        .iter()
        .zip(&timeline.running)
        .step_by(stride)
        .map(|(t, running)| (*t as f64 / 1e9, *running))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::builder::done;

    /// Two seconds with 4 running at 40 tok/s, one with 1 at 20 tok/s.
    fn with_timeline(precision: &str, tokens: [u64; 4]) -> CellRecord {
        let mut record = done("demo", precision, &[&[3.0]]);
        for step in &mut record.starts[0].steps {
            step.timeline = Some(Timeline {
                t_ns: [0, 1, 2, 3].map(|s| s * 1_000_000_000).to_vec(),
                running: vec![4, 4, 4, 0],
                tokens: tokens.to_vec(),
            });
        }
        record
    }

    #[test]
    fn speed_is_told_by_running_sequences() {
        let found = speed_by_running(&with_timeline("bf16", [0, 40, 80, 100]));
        let shown: Vec<_> = found
            .iter()
            .map(|s| (s.low, s.high, s.tokens, s.tok_s))
            .collect();
        assert_eq!(shown, [(2, 3, 20, 20.0), (4, 7, 80, 40.0)]);
    }

    #[test]
    fn the_speed_up_at_each_size_and_its_weight() {
        let base = speed_by_running(&with_timeline("bf16", [0, 40, 80, 100]));
        let cell = speed_by_running(&with_timeline("w8a8", [0, 60, 120, 130]));
        let found = speed_up_by_running(&base, &cell);
        assert_eq!(
            found.iter().map(|s| s.ratio).collect::<Vec<_>>(),
            [0.5, 1.5]
        );
        assert!((found[1].share_of_time - 2.0 / 3.0).abs() < 1e-12);
        assert!(speed_up_by_running(&base, &[]).is_empty());
    }

    #[test]
    fn without_a_timeline_nothing_is_told() {
        let mut record = with_timeline("bf16", [0; 4]);
        record.starts[0]
            .steps
            .iter_mut()
            .for_each(|s| s.timeline = None);
        assert!(speed_by_running(&record).is_empty());
    }

    #[test]
    fn a_figure_has_few_points() {
        let timeline = Timeline {
            t_ns: (0..1000).collect(),
            running: (0..1000).rev().collect(),
            tokens: vec![0; 1000],
        };
        let points = running_over_time(&timeline, 64);
        assert!(points.len() <= 64 && points.len() > 50);
        assert_eq!(points[0].1, 999);
    }
}
