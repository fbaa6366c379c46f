//! By what two arms are judged: where a schedule decides the makespan, throughput says nothing of the engine.

use serde::Serialize;

use super::blocks::SpeedUp;
use super::cell_metrics::{BlockLog, block_logs};
use super::interval::Estimate;
use super::latency_logs::{LatencyLogs, LatencyMetric, latency_logs};
use super::pace::Pace;
use super::verdict::{Judgement, judge};
use crate::record::{Arm, CellRecord, Step, counted_starts, counted_steps};

/// What of an arm is compared.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Performance {
    /// What its steps cost.
    pub blocks: Vec<BlockLog>,
    /// Its latencies; empty offline.
    pub latencies: LatencyLogs,
    /// Absent unless a schedule offered its requests at a rate.
    pub pace: Option<Pace>,
}

impl Performance {
    /// Of `arm` of a record, at one point of a sweep.
    pub(crate) fn of(record: &CellRecord, arm: Arm) -> Self {
        let starts = counted_starts(record, arm);
        let steps: Vec<&Step> = starts
            .iter()
            .flat_map(|start| counted_steps(start))
            .collect();
        Self {
            blocks: block_logs(record, arm),
            latencies: latency_logs(record, arm),
            pace: Pace::of(&steps),
        }
    }
}

/// By what two arms are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgedBy {
    /// No rate is offered, or neither keeps up with it.
    Throughput,
    /// Both keep up with the offered rate.
    Latency,
    /// The cell keeps up and its baseline does not: its throughput is capped by the offered rate, so the ratio is at
    /// least the measured one.
    AtLeast,
    /// The baseline keeps up and the cell does not: the ratio is at most the measured one.
    AtMost,
}

/// A latency of one arm against the other's: above 1 is faster.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LatencyRatio {
    /// Which.
    pub metric: LatencyMetric,
    /// The baseline's over the cell's, with an interval over engine starts at level 1 - 0.05/(cells x metrics).
    #[serde(flatten)]
    pub estimate: Estimate,
    /// What may be said of it; absent where the measurement does not hold.
    pub judgement: Option<Judgement>,
}

/// Two arms compared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Compared {
    pub judged_by: JudgedBy,
    /// The ratio of speeds by makespan; a bound of it by [`JudgedBy::AtLeast`] and [`JudgedBy::AtMost`]; absent by
    /// latency.
    pub speed_up: Option<SpeedUp>,
    /// By latency only.
    pub latency: Vec<LatencyRatio>,
}

/// How many comparisons are made at once, and what is of interest in them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Cells that are compared with the baseline.
    pub comparisons: usize,
    /// 0.02 for 2 %.
    pub smallest_effect: f64,
    /// Whether anything may be claimed.
    pub sound: bool,
}

/// Compares `cell` with `baseline`; `ratio` forms a ratio of two lists of starts for so many comparisons.
pub(crate) fn compared(
    baseline: &Performance,
    cell: &Performance,
    terms: Terms,
    ratio: impl Fn(&[BlockLog], &[BlockLog], usize) -> Option<SpeedUp>,
) -> Compared {
    let judged_by = match (baseline.pace, cell.pace) {
        (Some(there), Some(here)) => match (there.keeps_up, here.keeps_up) {
            (true, true) => JudgedBy::Latency,
            (false, true) => JudgedBy::AtLeast,
            (true, false) => JudgedBy::AtMost,
            (false, false) => JudgedBy::Throughput,
        },
        _ => JudgedBy::Throughput,
    };
    if judged_by != JudgedBy::Latency {
        return Compared {
            judged_by,
            speed_up: ratio(&baseline.blocks, &cell.blocks, terms.comparisons),
            latency: Vec::new(),
        };
    }
    let both = baseline
        .latencies
        .iter()
        .filter_map(|(metric, there)| Some((*metric, there, cell.latencies.get(metric)?)));
    let both: Vec<_> = both.collect();
    let comparisons = terms.comparisons * both.len();
    let latency = both.iter().filter_map(|(metric, there, here)| {
        let estimate = ratio(there, here, comparisons)?.estimate;
        let judgement = terms
            .sound
            .then(|| judge(&estimate, terms.smallest_effect, None, comparisons));
        Some(LatencyRatio {
            metric: *metric,
            estimate,
            judgement,
        })
    });
    Compared {
        judged_by,
        speed_up: None,
        latency: latency.collect(),
    }
}
