//! Latencies of engine starts, to be compared as makespans are: a logarithm a start.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cell_metrics::BlockLog;
use super::latency::LatencySample;
use super::quantiles::Distribution;
use crate::record::{Arm, CellRecord, EngineStart, counted_starts, counted_steps};

/// Requests of an engine start from which its 99th percentile says something.
const REQUESTS_FOR_P99: usize = 200;

/// A percentile of a latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LatencyMetric {
    /// Median time to first token.
    P50Ttft,
    /// Its 99th percentile.
    P99Ttft,
    /// Median time per output token.
    P50Tpot,
    /// Its 99th percentile.
    P99Tpot,
    /// Median end-to-end latency.
    P50E2el,
    /// Its 99th percentile.
    P99E2el,
}

impl std::fmt::Display for LatencyMetric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::P50Ttft => "TTFT p50",
            Self::P99Ttft => "TTFT p99",
            Self::P50Tpot => "TPOT p50",
            Self::P99Tpot => "TPOT p99",
            Self::P50E2el => "E2EL p50",
            Self::P99E2el => "E2EL p99",
        })
    }
}

/// The logarithm of each percentile, an entry an engine start; pooled over the measured steps of the start.
pub(crate) type LatencyLogs = BTreeMap<LatencyMetric, Vec<BlockLog>>;

/// Of the counted starts of `arm`. A percentile that one of them does not have is left out.
pub(crate) fn latency_logs(record: &CellRecord, arm: Arm) -> LatencyLogs {
    let starts = counted_starts(record, arm);
    let mut logs = LatencyLogs::new();
    for start in &starts {
        for (metric, milliseconds) in percentiles(start) {
            logs.entry(metric).or_default().push(BlockLog {
                block: start.block,
                session: start.session.clone(),
                mean_ln_makespan: milliseconds.ln(),
            });
        }
    }
    logs.retain(|_, of_starts| of_starts.len() == starts.len());
    logs
}

fn percentiles(start: &EngineStart) -> Vec<(LatencyMetric, f64)> {
    use LatencyMetric::{P50E2el, P50Tpot, P50Ttft, P99E2el, P99Tpot, P99Ttft};
    let mut sample = LatencySample::default();
    for step in counted_steps(start) {
        sample.add(step, None);
    }
    let latency = sample.summarise();
    let parts: [(Option<Distribution>, LatencyMetric, LatencyMetric); 3] = [
        (latency.ttft_ms, P50Ttft, P99Ttft),
        (latency.tpot_ms, P50Tpot, P99Tpot),
        (latency.e2el_ms, P50E2el, P99E2el),
    ];
    let told = parts
        .into_iter()
        .filter_map(|(d, p50, p99)| Some((d?, p50, p99)));
    told.flat_map(|(d, p50, p99)| {
        let p99 = (d.count >= REQUESTS_FOR_P99).then_some((p99, d.p99));
        [Some((p50, d.p50)), p99]
    })
    .flatten()
    .filter(|(_, milliseconds)| *milliseconds > 0.0)
    .collect()
}
