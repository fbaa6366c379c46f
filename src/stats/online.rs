//! The numbers of an online step under the names of `vllm bench serve`, whose definitions are followed to the letter
//! (vLLM 0.32, `vllm/benchmarks/serve.py`, `calculate_metrics`), and what it does not tell.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::latency::{Latency, millis, tpot_ms};
use super::quantiles::Distribution;
use super::step_metrics::StepMetrics;
use crate::record::{OnlineColumns, Sequences, Step, TokenTimes};

/// What a request has to keep to count as good; absent parts do not matter. As `--goodput` of `vllm bench serve`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Slo {
    /// Time to first token in milliseconds.
    pub ttft_ms: Option<f64>,
    /// Time per output token in milliseconds; a sequence of one token keeps it.
    pub tpot_ms: Option<f64>,
    /// End to end in milliseconds.
    pub e2el_ms: Option<f64>,
}

/// What only an online step has, beside [`Latency`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OnlinePart {
    /// Chunks in the fullest second, counted from the first request; absent without the times of the chunks.
    pub max_output_tokens_per_s: Option<u64>,
    /// Requests that touched the fullest second.
    pub max_concurrent_requests: u64,
    /// Share of the chunks that were read together with the one before: both have one time, so that a gap of 0 and a
    /// longer one stand for two real ones. Absent without the times of the chunks.
    pub merged_chunks: Option<f64>,
    /// The part of the run that was under full load; absent if there was none, or without the times of the chunks.
    pub steady: Option<Steady>,
}

/// From the first to the last moment at which at least 95 % of the peak of requests were in flight: without the ramp
/// at the beginning and the drain at the end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Steady {
    /// Its beginning, from the step's.
    pub from_s: f64,
    /// Its end.
    pub to_s: f64,
    /// Most requests in flight, those that then failed among them.
    pub peak: u32,
    /// Output tokens that arrived in it, per second. Tokens of a sequence are spread evenly over its chunks where the
    /// server does not tell better.
    pub output_throughput: f64,
    /// TTFT of requests sent in it.
    pub ttft_ms: Option<Distribution>,
    /// Gaps between chunks that ended in it.
    pub itl_ms: Option<Distribution>,
}

/// One completed sequence.
struct CompletedSequence {
    index: usize,
    start_ns: u64,
    first_ns: u64,
    finish_ns: u64,
    tokens: u32,
}

impl CompletedSequence {
    fn ttft_ms(&self) -> f64 {
        millis(self.start_ns, self.first_ns)
    }

    fn e2el_ms(&self) -> f64 {
        millis(self.start_ns, self.finish_ns)
    }

    fn keeps(&self, slo: &Slo) -> bool {
        let tpot = tpot_ms(self.ttft_ms(), self.e2el_ms(), self.tokens).unwrap_or(0.0);
        [
            (slo.ttft_ms, self.ttft_ms()),
            (slo.tpot_ms, tpot),
            (slo.e2el_ms, self.e2el_ms()),
        ]
        .iter()
        .all(|(limit, value)| limit.is_none_or(|limit| limit >= *value))
    }
}

impl OnlinePart {
    /// Of an online step; absent for an offline one.
    pub(super) fn of(step: &Step) -> Option<Self> {
        let online = step.online.as_ref()?;
        let sequences = &step.sequences;
        let tokens = step.tokens.as_ref();
        let tokens = tokens.filter(|t| t.rows.len() == sequences.len());
        let rows = completed(sequences, online);
        Some(Self {
            max_output_tokens_per_s: tokens.map(|tokens| fullest_second(&rows, tokens)),
            max_concurrent_requests: busiest_second(&rows) / step.per_request(),
            merged_chunks: tokens.map(|tokens| merged_chunks(&rows, tokens)),
            steady: tokens.and_then(|tokens| steady(step, &rows, online, tokens)),
        })
    }
}

impl StepMetrics {
    /// Under the keys of `vllm bench serve --save-result`, with percentiles 50, 90, 95 and 99; null where it would
    /// say 0 for want of a value. `good_requests` are those that kept the objectives; absent without objectives.
    pub fn vllm_json(&self, good_requests: Option<f64>) -> Map<String, Value> {
        let none = Latency::default();
        let latency = self.latency.as_ref().unwrap_or(&none);
        let online = self.online.as_ref();
        let goodput = good_requests.filter(|_| self.makespan_s > 0.0);
        let mut out = Map::new();
        let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
        put("duration", json!(self.makespan_s));
        put("completed", json!(self.completed));
        put(
            "failed",
            json!(self.requests.saturating_sub(self.completed)),
        );
        put("total_input_tokens", json!(self.prompt_tokens));
        put("total_output_tokens", json!(self.output_tokens));
        put("request_throughput", json!(self.request_throughput));
        put(
            "request_goodput",
            json!(goodput.map(|good| good / self.makespan_s)),
        );
        put("output_throughput", json!(self.output_throughput));
        put("total_token_throughput", json!(self.total_token_throughput));
        put(
            "max_output_tokens_per_s",
            json!(online.and_then(|o| o.max_output_tokens_per_s)),
        );
        put(
            "max_concurrent_requests",
            json!(online.map(|o| o.max_concurrent_requests)),
        );
        for (name, of) in [
            ("ttft", &latency.ttft_ms),
            ("tpot", &latency.tpot_ms),
            ("itl", &latency.itl_ms),
            ("e2el", &latency.e2el_ms),
        ] {
            let of = of.as_ref();
            put(&format!("mean_{name}_ms"), json!(of.map(|d| d.mean)));
            put(&format!("median_{name}_ms"), json!(of.map(|d| d.p50)));
            put(&format!("std_{name}_ms"), json!(of.map(|d| d.std)));
            put(&format!("p50_{name}_ms"), json!(of.map(|d| d.p50)));
            put(&format!("p90_{name}_ms"), json!(of.map(|d| d.p90)));
            put(&format!("p95_{name}_ms"), json!(of.map(|d| d.p95)));
            put(&format!("p99_{name}_ms"), json!(of.map(|d| d.p99)));
        }
        out
    }
}

/// Completed requests of an online step that kept the objectives; of a request with several sequences, the share of
/// them that did. Absent for an offline step.
pub(crate) fn good_requests(step: &Step, slo: &Slo) -> Option<f64> {
    let rows = completed(&step.sequences, step.online.as_ref()?);
    Some(good(&rows, slo, step.per_request()))
}

fn good(rows: &[CompletedSequence], slo: &Slo, per_request: u64) -> f64 {
    rows.iter().filter(|row| row.keeps(slo)).count() as f64 / per_request as f64
}

fn completed(sequences: &Sequences, online: &OnlineColumns) -> Vec<CompletedSequence> {
    (0..sequences.len())
        .filter(|row| sequences.error.get(*row).is_none_or(Option::is_none))
        .filter_map(|index| {
            Some(CompletedSequence {
                index,
                start_ns: online.start(index),
                first_ns: (*online.first_choice_ns.get(index)?)?,
                finish_ns: (*sequences.finish_ns.get(index)?)?,
                tokens: sequences.output_tokens[index],
            })
        })
        .collect()
}

fn merged_chunks(rows: &[CompletedSequence], tokens: &TokenTimes) -> f64 {
    let (mut merged, mut all) = (0_u64, 0_u64);
    for row in rows {
        let times = &tokens.rows[row.index].chunk_ns;
        merged += times.windows(2).filter(|w| w[0] == w[1]).count() as u64;
        all += times.len() as u64;
    }
    merged as f64 / all.max(1) as f64
}

const SECOND_NS: u64 = 1_000_000_000;

/// Seconds are counted from the first request's start, and each chunk as one token, as vLLM does it.
fn fullest_second(rows: &[CompletedSequence], tokens: &TokenTimes) -> u64 {
    let start_ns = rows.iter().map(|row| row.start_ns).min().unwrap_or(0);
    let times = rows.iter().flat_map(|row| &tokens.rows[row.index].chunk_ns);
    most(times.map(|at| at.saturating_sub(start_ns) / SECOND_NS))
}

/// A request counts in every second that it touches.
fn busiest_second(rows: &[CompletedSequence]) -> u64 {
    let start_ns = rows.iter().map(|row| row.start_ns).min().unwrap_or(0);
    let second = |at: u64| at.saturating_sub(start_ns) / SECOND_NS;
    most(
        rows.iter()
            .flat_map(|row| second(row.start_ns)..=second(row.finish_ns)),
    )
}

/// How often the most frequent value occurs.
fn most(values: impl Iterator<Item = u64>) -> u64 {
    let mut counts = std::collections::HashMap::new();
    for value in values {
        *counts.entry(value).or_insert(0) += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

fn steady(
    step: &Step,
    rows: &[CompletedSequence],
    online: &OnlineColumns,
    tokens: &TokenTimes,
) -> Option<Steady> {
    let close = |row: &CompletedSequence| {
        online
            .close_ns
            .get(row.index)
            .copied()
            .flatten()
            .unwrap_or(row.finish_ns)
    };
    let mut changes: Vec<(u64, i64)> = rows
        .iter()
        .flat_map(|row| [(row.start_ns, 1), (close(row), -1)])
        .collect();
    // A stream that failed was in flight too, until it closed.
    let failed = (0..step.sequences.len()).filter(|row| step.sequences.has_failed(*row));
    for row in failed {
        if let Some(end_ns) = online.close_ns.get(row).copied().flatten() {
            changes.extend([(online.start(row), 1), (end_ns, -1)]);
        }
    }
    changes.sort_unstable();
    let levels = || {
        changes.iter().scan(0, |level, (at_ns, change)| {
            *level += change;
            Some((*at_ns, *level))
        })
    };
    let peak = levels().map(|(_, level)| level).max()?;
    let full = |level: i64| level as f64 >= 0.95 * peak as f64;
    let from_ns = levels().find(|(_, level)| full(*level))?.0;
    // The last change that leaves full load.
    let to_ns = levels()
        .zip(levels().skip(1))
        .filter(|((_, before), (_, after))| full(*before) && !full(*after))
        .map(|(_, (at_ns, _))| at_ns)
        .last()?;
    if to_ns <= from_ns {
        return None;
    }
    let inside = |at_ns: &u64| (from_ns..=to_ns).contains(at_ns);
    let mut made = 0.0;
    let mut itl = Vec::new();
    for row in rows {
        let chunks = &tokens.rows[row.index];
        let evenly = f64::from(row.tokens) / chunks.chunk_ns.len().max(1) as f64;
        for (index, at_ns) in chunks
            .chunk_ns
            .iter()
            .enumerate()
            .filter(|(_, at)| inside(at))
        {
            made += chunks.tokens_in(index).map_or(evenly, f64::from);
            if let Some(before) = index.checked_sub(1) {
                itl.push(millis(chunks.chunk_ns[before], *at_ns));
            }
        }
    }
    let sent_inside = rows.iter().filter(|row| inside(&row.start_ns));
    Some(Steady {
        from_s: from_ns as f64 / 1e9,
        to_s: to_ns as f64 / 1e9,
        peak: u32::try_from(peak).unwrap_or(u32::MAX),
        output_throughput: made / ((to_ns - from_ns) as f64 / 1e9),
        ttft_ms: Distribution::of(sent_inside.map(CompletedSequence::ttft_ms).collect()),
        itl_ms: Distribution::of(itl),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{
        ChunkTokens, Counters, FinishSource, Role, StepStatus, Submitted, TokenRow,
    };

    /// Due time, chunk times (in ms) and tokens of each sequence; one without chunks failed.
    fn step(rows: &[(u64, &[u64], u32)], makespan_ms: u64) -> Step {
        const MS: u64 = 1_000_000;
        let mut sequences = Sequences::default();
        let mut online = OnlineColumns::default();
        let mut tokens = TokenTimes::default();
        for ((due, chunks, output), number) in rows.iter().zip(1..) {
            sequences.group.push(number);
            sequences.sample.push(0);
            sequences.prompt_tokens.push(10 * number);
            sequences.requested_tokens.push(*output);
            sequences.output_tokens.push(*output);
            let first = chunks.first().map(|at| at * MS);
            let last = chunks.last().map(|at| at * MS);
            sequences.first_ns.push(first);
            sequences.finish_ns.push(last);
            let failed = chunks.is_empty().then(|| "reset".to_owned());
            sequences.error.push(failed);
            online.scheduled_ns.push(0);
            online.due_ns.push(due * MS);
            online.sent_ns.push(Some(due * MS));
            online.connected_ns.push(Some(0));
            online.first_byte_ns.push(first);
            online.role_ns.push(None);
            online.first_choice_ns.push(first);
            online.close_ns.push(last.map(|at| at + 2 * MS));
            online.http_status.push(Some(200));
            online.usage_tokens.push(Some(*output));
            let spread = if chunks.len() == *output as usize {
                ChunkTokens::OneEach
            } else {
                ChunkTokens::Unknown
            };
            tokens.rows.push(TokenRow {
                chunk_ns: chunks.iter().map(|at| at * MS).collect(),
                tokens: spread,
            });
        }
        Step {
            index: 0,
            role: Role::Measured,
            workload: "main".to_owned(),
            point: None,
            duration_s: None,
            status: StepStatus::Ok,
            reasons: vec![],
            begin_mono_ns: 0,
            makespan_ns: makespan_ms * MS,
            finish_source: FinishSource::Client,
            submitted: Submitted {
                requests: rows.len() as u64,
                prompt_tokens: (1..=rows.len() as u64).map(|n| 10 * n).sum(),
            },
            arrivals: None,
            prefix_cache_reset: None,
            counters: Counters::default(),
            sequences,
            online: Some(online),
            client: None,
            server: None,
            timeline: None,
            detail: None,
            tokens: Some(tokens),
        }
    }

    /// The same requests given to `calculate_metrics` of vLLM 0.32 give these numbers.
    fn online(step: &Step) -> OnlinePart {
        OnlinePart::of(step).expect("online")
    }

    #[test]
    fn a_worked_example_gives_what_vllm_computes() {
        let step = step(
            &[
                (0, &[50, 70, 90, 130], 4),
                (0, &[80, 100], 5),
                (40, &[90], 1),
                (60, &[], 0),
                (600, &[900, 1010, 1700, 2300], 4),
            ],
            2400,
        );
        let slo = Slo {
            ttft_ms: Some(100.0),
            tpot_ms: Some(25.0),
            e2el_ms: None,
        };
        let metrics = StepMetrics::of(&step, None);
        let ours = metrics.vllm_json(good_requests(&step, &slo));
        let vllm = json!({
            "duration": 2.4, "completed": 4, "failed": 1, "total_input_tokens": 110, "total_output_tokens": 14,
            "request_throughput": 1.666_666_666_666_666_7, "request_goodput": 0.833_333_333_333_333_4,
            "output_throughput": 5.833_333_333_333_334, "total_token_throughput": 51.666_666_666_666_67,
            "max_output_tokens_per_s": 8.0, "max_concurrent_requests": 4,
            "mean_ttft_ms": 120.0, "median_ttft_ms": 65.0, "std_ttft_ms": 104.642_247_682_281_76,
            "p50_ttft_ms": 65.0, "p90_ttft_ms": 234.0, "p95_ttft_ms": 267.0, "p99_ttft_ms": 293.4,
            "mean_tpot_ms": 166.111_111_111_111_06, "median_tpot_ms": 26.666_666_666_666_668,
            "std_tpot_ms": 212.708_866_125_498_02,
            "p50_tpot_ms": 26.666_666_666_666_668, "p90_tpot_ms": 378.666_666_666_666_6,
            "p95_tpot_ms": 422.666_666_666_666_5, "p99_tpot_ms": 457.866_666_666_666_56,
            "mean_itl_ms": 214.285_714_285_714_25, "median_itl_ms": 40.0, "std_itl_ms": 275.051_015_676_164_64,
            "p50_itl_ms": 40.0, "p90_itl_ms": 636.0, "p95_itl_ms": 663.0, "p99_itl_ms": 684.6,
            "mean_e2el_ms": 495.0, "median_e2el_ms": 115.0, "std_e2el_ms": 696.293_759_845_655_9,
            "p50_e2el_ms": 115.0, "p90_e2el_ms": 1229.0, "p95_e2el_ms": 1464.5, "p99_e2el_ms": 1652.9,
        });
        let vllm = vllm.as_object().expect("an object");
        assert_eq!(ours.len(), vllm.len());
        for (key, value) in vllm {
            let (ours, vllm) = (ours[key].as_f64(), value.as_f64());
            let off = (ours.expect(key) - vllm.expect(key)).abs();
            assert!(off < 1e-9, "{key}: {ours:?}, vLLM {vllm:?}");
        }
    }

    #[test]
    fn what_vllm_does_not_tell() {
        let mut step = step(&[(5, &[50, 70, 90], 3), (10, &[80, 100], 2)], 110);
        if let Some(online) = &mut step.online {
            // Sent 1 ms after being due, and the first on a connection that was opened for it.
            online.sent_ns = vec![Some(6_000_000), Some(11_000_000)];
            online.connected_ns[0] = Some(5_500_000);
        }
        let latency = StepMetrics::of(&step, None).latency.expect("online");
        let mean = |d: &Option<Distribution>| d.map(|d| d.mean);
        assert_eq!(mean(&latency.ttft_ms), Some(56.5));
        assert_eq!(mean(&latency.queue_ms), Some(7.5));
        assert_eq!(mean(&latency.send_lag_ms), Some(1.0));
        assert_eq!(mean(&latency.connect_ms), Some(0.25));
        assert_eq!(mean(&latency.ttft_from_schedule_ms), Some(65.0));
        assert_eq!(mean(&latency.e2el_from_schedule_ms), Some(95.0));
        assert_eq!(mean(&latency.close_ms), Some(88.5));
        assert_eq!(latency.itl_token_ms.map(|d| d.count), Some(3));
    }

    #[test]
    fn without_chunk_times_gaps_are_absent() {
        let mut step = step(&[(0, &[50, 70], 2)], 80);
        // Neither none at all nor those of something else.
        for tokens in [None, Some(TokenTimes { rows: vec![] })] {
            step.tokens = tokens;
            let metrics = StepMetrics::of(&step, None);
            let itl = metrics.latency.as_ref().and_then(|l| l.itl_ms);
            assert_eq!((itl, online(&step).max_output_tokens_per_s), (None, None));
            assert_eq!(metrics.vllm_json(None)["mean_itl_ms"], Value::Null);
        }
        step.online = None;
        assert_eq!(OnlinePart::of(&step), None);
    }

    /// Two requests at a time from 100 to 900 ms, one before and after.
    #[test]
    fn the_steady_window_is_where_the_load_is_full() {
        let step = step(
            &[
                (0, &[50, 150, 250, 898], 4),
                (100, &[200, 300, 400, 498], 4),
                (500, &[600, 700, 800, 1100], 4),
            ],
            1200,
        );
        let steady = online(&step).steady.expect("there is one");
        assert_eq!((steady.from_s, steady.to_s, steady.peak), (0.1, 0.9, 2));
        // All but the first chunk and the last.
        assert!((steady.output_throughput - 10.0 / 0.8).abs() < 1e-9);
        assert_eq!(steady.ttft_ms.map(|d| d.mean), Some(100.0));
        assert_eq!(steady.itl_ms.map(|d| d.count), Some(8));
    }

    #[test]
    fn chunks_that_came_together_are_counted() {
        let step = step(&[(0, &[50, 50, 70, 70, 70], 5), (0, &[50, 60, 70], 3)], 100);
        assert_eq!(online(&step).merged_chunks, Some(3.0 / 8.0));
    }

    #[test]
    fn several_sequences_a_request_count_as_one_request() {
        let mut step = step(&[(0, &[50, 70], 2), (0, &[60, 70], 2)], 1000);
        step.submitted.requests = 1;
        step.submitted.prompt_tokens = 10;
        step.sequences.prompt_tokens = vec![10, 10];
        step.sequences.error = Vec::new();
        let metrics = StepMetrics::of(&step, None);
        assert_eq!((metrics.requests, metrics.completed), (1, 1));
        assert_eq!((metrics.prompt_tokens, metrics.output_tokens), (10, 4));
        let latency = metrics.latency.as_ref().expect("online");
        assert_eq!(latency.ttft_ms.map(|d| d.count), Some(2));
        assert_eq!(online(&step).max_concurrent_requests, 1);
    }
}
