//! What is derived from one step.

use serde::Serialize;

use super::latency::{Latency, LatencySample};
use super::online::OnlinePart;
use super::quantiles::quantile;
use crate::record::{Sequences, Step, Timeline};

/// The metrics of one step. Rates and shares of a step that did not end are not computed: its makespan is 0.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepMetrics {
    /// First submit to the last sequence's end; what verl logs as `timing_s/gen` in synchronous mode.
    pub makespan_s: f64,
    /// Requests handed to the engine.
    pub requests: u64,
    /// Requests that were answered in full.
    pub completed: u64,
    /// Sequences asked for.
    pub sequences: u64,
    /// Requests that failed: they are in no rate.
    pub failed: u64,
    /// Requests that its schedule offered; absent, as the next two, offline and where it was not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offered: Option<u64>,
    /// Those of them that were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Those that were due and never sent. Above 0 the latencies are not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsent: Option<u64>,
    /// Prompt tokens of what was answered, once per request.
    pub prompt_tokens: u64,
    /// Tokens that came back of what was answered.
    pub output_tokens: u64,
    /// Output tokens over makespan.
    #[serde(rename = "output_throughput_tok_s")]
    pub output_throughput: Option<f64>,
    /// Prompt and output tokens over makespan.
    #[serde(rename = "total_token_throughput_tok_s")]
    pub total_token_throughput: Option<f64>,
    /// Answered requests over makespan.
    #[serde(rename = "request_throughput_req_s")]
    pub request_throughput: Option<f64>,
    /// When half of the sequences had finished: the median of the finish times. Absent, as the next five, if the
    /// engine does not tell finish times.
    pub time_to_50_s: Option<f64>,
    /// When 90 % had.
    pub time_to_90_s: Option<f64>,
    /// When 99 % had.
    pub time_to_99_s: Option<f64>,
    /// Share of the makespan after 90 % of the sequences had finished.
    pub tail_share: Option<f64>,
    /// 1 - (integral of running sequences) / (makespan x peak of running sequences).
    pub bubble_ratio: Option<f64>,
    /// Response lengths in tokens.
    pub response_length: Option<ResponseLength>,
    /// Preemptions; absent if not told.
    pub preemptions: Option<u64>,
    /// Prompt tokens looked up in the prefix cache; absent if not told.
    pub prefix_queries: Option<u64>,
    /// Prompt tokens found there; absent if not told.
    pub prefix_hits: Option<u64>,
    /// Highest share of the KV cache in use, 0 to 1; absent if not told.
    pub kv_peak: Option<f64>,
    /// Absent offline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// Absent offline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<OnlinePart>,
}

/// Lengths of the responses of a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ResponseLength {
    /// Mean.
    pub mean: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Longest.
    pub max: u32,
    /// Shortest.
    pub min: u32,
    /// Share of responses as long as the workload allows; absent if its cap is unknown.
    pub clip_ratio: Option<f64>,
}

impl ResponseLength {
    /// Longest over mean.
    pub fn inflation_max(&self) -> f64 {
        f64::from(self.max) / self.mean
    }

    /// 99th percentile over mean.
    pub fn inflation_p99(&self) -> f64 {
        self.p99 / self.mean
    }

    fn of(lengths: &[u32], cap: Option<u32>) -> Option<Self> {
        let mut sorted: Vec<f64> = lengths.iter().map(|&l| f64::from(l)).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
        let clipped = |cap| lengths.iter().filter(|&&l| l >= cap).count();
        (mean > 0.0).then_some(())?;
        Some(Self {
            mean,
            p99: quantile(&sorted, 0.99)?,
            max: *lengths.iter().max()?,
            min: *lengths.iter().min()?,
            clip_ratio: cap.map(|cap| clipped(cap) as f64 / lengths.len() as f64),
        })
    }
}

impl StepMetrics {
    /// Of a step whose workload allows responses of at most `cap` tokens (absent if unknown).
    pub fn of(step: &Step, cap: Option<u32>) -> Self {
        let sequences = &step.sequences;
        let makespan_s = step.makespan_ns as f64 / 1e9;
        let (prompt_tokens, output_tokens) = step.answered_tokens();
        let failed = step.failed_requests();
        let arrivals = step.arrivals.as_ref();
        let completed = step.submitted.requests.saturating_sub(failed);
        let rate = |count: u64| (step.makespan_ns > 0).then(|| count as f64 / makespan_s);
        let finish = finish_times(sequences);
        let time_to = |q| quantile(&finish, q);
        let time_to_90_s = time_to(0.9);
        let latency = step.online.as_ref().map(|_| {
            let mut sample = LatencySample::default();
            sample.add(step, step.tokens.as_ref());
            sample.summarise()
        });
        Self {
            makespan_s,
            requests: step.submitted.requests,
            completed,
            sequences: sequences.len() as u64,
            failed,
            offered: arrivals.map(|a| a.offered),
            sent: arrivals.map(|a| a.sent),
            unsent: arrivals.map(|a| a.unsent),
            prompt_tokens,
            output_tokens,
            output_throughput: rate(output_tokens),
            total_token_throughput: rate(prompt_tokens + output_tokens),
            request_throughput: rate(completed),
            time_to_50_s: time_to(0.5),
            time_to_90_s,
            time_to_99_s: time_to(0.99),
            tail_share: time_to_90_s
                .filter(|_| makespan_s > 0.0)
                .map(|t| (1.0 - t / makespan_s).max(0.0)),
            bubble_ratio: bubble_ratio(step, &finish),
            response_length: ResponseLength::of(&sequences.output_tokens, cap),
            preemptions: step.counters.preemptions,
            prefix_queries: step.counters.prefix_queries,
            prefix_hits: step.counters.prefix_hits,
            kv_peak: step.counters.kv_peak,
            latency,
            online: OnlinePart::of(step),
        }
    }
}

/// Finish times in seconds, ascending; empty unless every sequence that did not fail has one.
fn finish_times(sequences: &Sequences) -> Vec<f64> {
    let known = |row: &usize| sequences.finish_ns.get(*row).copied().flatten();
    let rows = (0..sequences.len()).filter(|&row| !sequences.has_failed(row));
    let times: Option<Vec<f64>> = rows.map(|row| Some(known(&row)? as f64 / 1e9)).collect();
    let mut times = times.unwrap_or_default();
    times.sort_unstable_by(f64::total_cmp);
    times
}

/// From finish times where the engine tells them, else from the timeline.
///
/// An engine runs at most `peak` sequences together, so at any time min(peak, sent and unfinished) are running: those
/// that wait take freed slots at once. Offline all are sent at the begin. The peak is the greatest number of sequences
/// that were between their first and their last token together (all of them where first tokens are unknown).
fn bubble_ratio(step: &Step, finish: &[f64]) -> Option<f64> {
    let makespan_s = step.makespan_ns as f64 / 1e9;
    let (area, peak) = if finish.is_empty() {
        timeline_area(step.timeline.as_ref()?, makespan_s)?
    } else {
        let peak = peak_running(&step.sequences).unwrap_or(finish.len());
        let mut changes: Vec<(f64, i32)> = starts(step).into_iter().map(|at| (at, 1)).collect();
        changes.extend(finish.iter().map(|at| (*at, -1)));
        changes.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        let (mut area, mut from, mut unfinished) = (0.0, 0.0, 0);
        for (at, change) in changes {
            area += (at - from) * f64::from(unfinished).min(peak as f64);
            from = at;
            unfinished += change;
        }
        (area, peak as f64)
    };
    let full = makespan_s * peak;
    (full > 0.0).then(|| (1.0 - area / full).clamp(0.0, 1.0))
}

/// When each sequence that did not fail was sent, in seconds; offline all at the begin.
fn starts(step: &Step) -> Vec<f64> {
    let rows = (0..step.sequences.len()).filter(|row| !step.sequences.has_failed(*row));
    let of_row = |row| match &step.online {
        Some(online) => online.start(row) as f64 / 1e9,
        None => 0.0,
    };
    rows.map(of_row).collect()
}

/// Integral and maximum of the running sequences of a timeline, each value holding until the next.
fn timeline_area(timeline: &Timeline, makespan_s: f64) -> Option<(f64, f64)> {
    let peak = f64::from(*timeline.running.iter().max()?);
    let ends = timeline.t_ns.iter().skip(1).map(|&t| t as f64 / 1e9);
    let spans = timeline.t_ns.iter().zip(ends.chain([makespan_s]));
    let area = spans
        .zip(&timeline.running)
        .map(|((&from, to), &running)| (to - from as f64 / 1e9).max(0.0) * f64::from(running))
        .sum();
    Some((area, peak))
}

/// Most sequences between first and last token at once; absent unless both are known of all that did not fail.
fn peak_running(sequences: &Sequences) -> Option<usize> {
    let mut events = Vec::with_capacity(2 * sequences.len());
    for row in 0..sequences.len() {
        if sequences.has_failed(row) {
            continue;
        }
        events.push((sequences.first_ns.get(row).copied().flatten()?, 1_i64));
        events.push((sequences.finish_ns.get(row).copied().flatten()?, -1));
    }
    // At the same instant beginnings count before ends: a sequence of one token has both.
    events.sort_unstable_by_key(|&(at, change)| (at, -change));
    let (mut running, mut peak) = (0, 0);
    for (_, change) in events {
        running += change;
        peak = peak.max(running);
    }
    usize::try_from(peak).ok().filter(|&peak| peak > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::OnlineColumns;
    use crate::record::{FinishSource, Role, builder};

    fn close(got: Option<f64>, expected: f64) {
        let got = got.unwrap();
        assert!((got - expected).abs() < 1e-9, "{got} != {expected}");
    }

    #[test]
    fn rates_count_what_came_back() {
        // 8 sequences of 32 tokens, prompts of 64, finishing at 0.25, 0.5 ... 2 s.
        let m = StepMetrics::of(&builder::step(1, Role::Measured, 2.0), Some(32));
        close(m.output_throughput, 8.0 * 32.0 / 2.0);
        close(m.total_token_throughput, 8.0 * 96.0 / 2.0);
        close(m.request_throughput, 4.0);
        // numpy.percentile(numpy.arange(1, 9) / 4, [50, 90, 99])
        close(m.time_to_50_s, 1.125);
        close(m.time_to_90_s, 1.825);
        close(m.time_to_99_s, 1.9825);
        close(m.tail_share, (2.0 - 1.825) / 2.0);
        // (0.25 + 0.5 + ... + 2) / (2 x 8)
        close(m.bubble_ratio, 1.0 - 9.0 / 16.0);
        let length = m.response_length.unwrap();
        assert_eq!(
            (length.max, length.min, length.clip_ratio),
            (32, 32, Some(1.0))
        );
        close(Some(length.inflation_max()), 1.0);
    }

    #[test]
    fn with_n_in_one_request_prompts_count_once() {
        let mut step = builder::step(1, Role::Measured, 2.0);
        step.submitted.requests = 4;
        step.submitted.prompt_tokens = 4 * 64;
        let m = StepMetrics::of(&step, None);
        close(m.total_token_throughput, 512.0 / 2.0);
        close(m.request_throughput, 2.0);
        assert_eq!(m.response_length.unwrap().clip_ratio, None);
    }

    #[test]
    fn slots_that_are_refilled_are_no_bubble() {
        // Four sequences on two slots: two run from 0 to 1, the other two from 1 to 2.
        let mut step = builder::step(1, Role::Measured, 2.0);
        let s = &mut step.sequences;
        s.output_tokens = vec![32; 4];
        s.first_ns = [1, 1, 1_000_000_001, 1_000_000_001].map(Some).to_vec();
        s.finish_ns = [1_000_000_000, 1_000_000_000, 2_000_000_000, 2_000_000_000]
            .map(Some)
            .to_vec();
        close(StepMetrics::of(&step, None).bubble_ratio, 0.0);
        // Without first tokens nothing is known of slots: all four count as running from the start.
        step.sequences.first_ns = Vec::new();
        close(StepMetrics::of(&step, None).bubble_ratio, 0.25);
    }

    #[test]
    fn a_paced_step_counts_each_sequence_from_its_own_start() {
        // One a second, each for 0.5 s, four of them: the engine is idle half of the time.
        let step = builder::paced(1.0, 4, |_| 0.5);
        let m = StepMetrics::of(&step, None);
        close(m.bubble_ratio, 1.0 - 2.0 / 3.5);
    }

    #[test]
    fn what_failed_is_in_no_rate() {
        let mut step = builder::step(1, Role::Measured, 2.0);
        step.sequences.error = vec![None; 8];
        step.sequences.error[2] = Some("HTTP 500".to_owned());
        step.sequences.error[3] = Some("HTTP 500".to_owned());
        let m = StepMetrics::of(&step, None);
        assert_eq!((m.requests, m.sequences, m.failed), (8, 8, 2));
        close(m.output_throughput, 6.0 * 32.0 / 2.0);
        close(m.total_token_throughput, 6.0 * 96.0 / 2.0);
        close(m.request_throughput, 3.0);
        // Two samples a request: one request failed.
        (step.submitted.requests, step.submitted.prompt_tokens) = (4, 4 * 64);
        let m = StepMetrics::of(&step, None);
        assert_eq!((m.requests, m.sequences, m.failed), (4, 8, 1));
        close(m.request_throughput, 1.5);
        close(m.total_token_throughput, 96.0 + 96.0);
    }

    #[test]
    fn without_finish_times_the_timeline_tells_the_bubble_and_the_rest_is_absent() {
        let mut step = builder::step(1, Role::Measured, 2.0);
        step.finish_source = FinishSource::None;
        step.sequences.finish_ns = Vec::new();
        let m = StepMetrics::of(&step, None);
        assert_eq!(
            (m.time_to_90_s, m.tail_share, m.bubble_ratio),
            (None, None, None)
        );
        step.timeline = Some(Timeline {
            t_ns: vec![0, 1_000_000_000],
            running: vec![8, 2],
            tokens: vec![0, 200],
        });
        close(StepMetrics::of(&step, None).bubble_ratio, 1.0 - 10.0 / 16.0);
    }

    #[test]
    fn one_unknown_finish_makes_the_percentiles_unknown_a_failed_sequence_does_not() {
        let mut step = builder::step(1, Role::Measured, 2.0);
        step.sequences.finish_ns[7] = None;
        assert_eq!(StepMetrics::of(&step, None).time_to_50_s, None);
        step.sequences.error = vec![None; 8];
        step.sequences.error[7] = Some("connection reset".to_owned());
        let m = StepMetrics::of(&step, None);
        assert_eq!(m.failed, 1);
        close(m.time_to_50_s, 1.0);
    }

    #[test]
    fn a_step_without_an_end_has_no_rates() {
        let mut step = builder::step(1, Role::Measured, 2.0);
        step.makespan_ns = 0;
        step.sequences = Sequences::default();
        let m = StepMetrics::of(&step, None);
        assert_eq!(
            (m.output_throughput, m.tail_share, m.response_length),
            (None, None, None)
        );
    }

    #[test]
    fn latencies_are_those_of_vllm_bench_serve() {
        let mut step = builder::step(1, Role::Measured, 2.0);
        let rows = step.sequences.len();
        step.sequences.output_tokens[0] = 1;
        let mut online = OnlineColumns {
            scheduled_ns: vec![0; rows],
            first_choice_ns: vec![Some(100_000_000); rows],
            ..OnlineColumns::default()
        };
        online.scheduled_ns[1] = 50_000_000;
        step.online = Some(online);
        let latency = StepMetrics::of(&step, None).latency.unwrap();
        let ttft = latency.ttft_ms.unwrap();
        assert_eq!((ttft.count, ttft.p50, ttft.max), (8, 100.0, 100.0));
        close(Some(ttft.mean), 93.75);
        // The sequence of one token has no time per output token.
        assert_eq!(latency.tpot_ms.unwrap().count, 7);
        close(latency.e2el_ms.map(|d| d.max), 2000.0);
    }
}
