//! What is derived from all engine starts of one cell.

use std::collections::BTreeMap;

use serde::Serialize;

use super::latency::{Latency, LatencySample};
use super::online::{OnlinePart, Slo, Steady, good_requests};
use super::quantiles::Distribution;
use super::step_metrics::StepMetrics;
use crate::record::{
    Arm, CellRecord, EngineStart, Point, Role, Step, StepStatus, counted_starts, counted_steps,
};
use crate::workload::{Lengths, WorkloadSpec};

/// A step with its place and metrics.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepRow {
    /// The session that ran it.
    pub session: String,
    /// Its engine start.
    pub start: String,
    /// Main or calibration.
    pub arm: Arm,
    /// Counted from 0.
    pub block: u32,
    /// How often this start was tried before.
    pub attempt: u32,
    /// Counted from 0, warm-up included.
    pub step: u32,
    /// What it was for.
    pub role: Role,
    /// The workload's name.
    pub workload: String,
    /// How its requests were sent; absent offline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<Point>,
    /// For how many seconds requests were sent; absent where their number was fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// Requests that kept the objectives; absent without objectives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub good_requests: Option<f64>,
    /// As recorded.
    pub status: StepStatus,
    /// Whether it entered the cell's numbers.
    pub counted: bool,
    /// Why not, or why the number does not hold.
    pub reasons: Vec<String>,
    /// Why its latencies do not hold, although its throughput may; absent if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_doubt: Option<String>,
    /// Derived.
    #[serde(flatten)]
    pub metrics: StepMetrics,
}

/// The metrics of a cell, over the steps that count: sums over sums, never means of rates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellMetrics {
    /// Complete engine starts.
    pub starts: usize,
    /// Steps that count.
    pub steps: usize,
    /// Mean makespan of a step.
    pub makespan_s: f64,
    /// Output tokens over makespan, all steps.
    #[serde(rename = "output_throughput_tok_s")]
    pub output_throughput: f64,
    /// The same per accelerator of the engine; absent on CPU.
    #[serde(rename = "output_throughput_per_device_tok_s")]
    pub output_throughput_per_device: Option<f64>,
    /// Prompt and output tokens over makespan, all steps.
    #[serde(rename = "total_token_throughput_tok_s")]
    pub total_token_throughput: f64,
    /// Completed requests over makespan, all steps.
    #[serde(rename = "request_throughput_req_s")]
    pub request_throughput: f64,
    /// Output tokens per second while the steps were under full load, all steps; absent offline, and if one of them never
    /// was.
    #[serde(
        rename = "steady_output_throughput_tok_s",
        skip_serializing_if = "Option::is_none"
    )]
    pub steady_output_throughput: Option<f64>,
    /// The parts of the steps that were under full load; absent likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_load: Option<FullLoad>,
    /// Share of the chunks that were read together with the one before, mean over the steps; absent offline, and
    /// without the times of the chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged_chunks: Option<f64>,
    /// Requests that kept the objectives over makespan, all steps; absent without objectives.
    #[serde(
        rename = "request_goodput_req_s",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_goodput: Option<f64>,
    /// Output tokens of all steps.
    pub output_tokens: u64,
    /// Prompt tokens of all steps.
    pub prompt_tokens: u64,
    /// Mean over the steps; absent, as the next four, if one step does not have it.
    pub time_to_50_s: Option<f64>,
    /// Mean over the steps.
    pub time_to_90_s: Option<f64>,
    /// Mean over the steps.
    pub time_to_99_s: Option<f64>,
    /// Time after 90 % of the sequences had finished, over the makespan, all steps.
    pub tail_share: Option<f64>,
    /// Weighted by the makespans.
    pub bubble_ratio: Option<f64>,
    /// Longest response over mean, mean over the steps.
    pub length_inflation_max: Option<f64>,
    /// 99th percentile of the response lengths over mean, mean over the steps.
    pub length_inflation_p99: Option<f64>,
    /// Of all steps; absent if one does not tell.
    pub preemptions: Option<u64>,
    /// Hits over queries, all steps; absent if one does not tell.
    pub prefix_hit_rate: Option<f64>,
    /// Highest share of the KV cache in use; absent if no step tells.
    pub kv_peak: Option<f64>,
    /// KV-cache capacity in tokens, the smallest of the engine starts; absent if not told.
    pub kv_tokens: Option<u64>,
    /// Weights in device memory, the largest of the engine starts; absent if not told.
    pub weights_bytes: Option<u64>,
    /// Launch to ready, mean over the engine starts; absent where a server was not started.
    pub load_s: Option<f64>,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that the schedules offered; absent, as the next two, offline and where it was not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offered: Option<u64>,
    /// Those of them that were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Those that were due and never sent. Above 0 the latencies are not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsent: Option<u64>,
    /// Pooled over the steps; absent offline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// The parts of a cell's steps that were under full load, see [`Steady`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FullLoad {
    /// When they began in their steps, mean.
    pub from_s: f64,
    /// When they ended, mean.
    pub to_s: f64,
    /// Most requests in flight.
    pub peak: u32,
    /// Output tokens over time of all of them.
    #[serde(skip)]
    pub output_throughput: f64,
}

impl FullLoad {
    /// Absent if one of the steps was never under full load.
    fn of(steps: &[&StepMetrics]) -> Option<Self> {
        let steady = |online: &OnlinePart| online.steady;
        let parts = steps
            .iter()
            .map(|step| step.online.as_ref().and_then(steady));
        let parts: Vec<Steady> = parts.collect::<Option<_>>()?;
        let count = parts.len() as f64;
        let time: f64 = parts.iter().map(|part| part.to_s - part.from_s).sum();
        let tokens = parts
            .iter()
            .map(|part| part.output_throughput * (part.to_s - part.from_s));
        Some(Self {
            from_s: parts.iter().map(|part| part.from_s).sum::<f64>() / count,
            to_s: parts.iter().map(|part| part.to_s).sum::<f64>() / count,
            peak: parts.iter().map(|part| part.peak).max()?,
            output_throughput: tokens.sum::<f64>() / time,
        })
    }
}

/// One engine start as statistics see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlockLog {
    /// Counted from 0.
    pub block: u32,
    /// The session that ran it.
    pub session: String,
    /// Mean over the steps of ln(makespan in seconds); of steps that sent for a given time, of ln(seconds per output
    /// token), since their makespans say nothing.
    pub mean_ln_makespan: f64,
}

/// The longest response that each workload allows.
fn caps(record: &CellRecord) -> BTreeMap<&str, u32> {
    record
        .workloads
        .iter()
        .filter_map(|(name, workload)| {
            let spec: WorkloadSpec = serde_json::from_value(workload.spec.clone()).ok()?;
            // What was observed tells how long responses were, not how long they might have been.
            let cap = match spec.response {
                Lengths::Empirical { .. } => return None,
                lengths => lengths.max(),
            };
            Some((name.as_str(), cap))
        })
        .collect()
}

/// The objectives of an online cell; absent if it has none.
fn slo(record: &CellRecord) -> Option<Slo> {
    let setting = record.settings.get("online.goodput")?;
    serde_json::from_value(setting.value.clone()).ok()
}

/// Every step of the record, in the order of starts and steps.
pub(crate) fn step_rows(record: &CellRecord) -> Vec<StepRow> {
    let (caps, slo) = (caps(record), slo(record));
    let rows = |start: &EngineStart| {
        let counted = if start.is_complete() && start.arm == Arm::Main {
            counted_steps(start)
        } else {
            Vec::new()
        };
        let row = |step: &Step| StepRow {
            session: start.session.clone(),
            start: start.id.clone(),
            arm: start.arm,
            block: start.block,
            attempt: start.attempt,
            step: step.index,
            role: step.role,
            workload: step.workload.clone(),
            point: step.point,
            duration_s: step.duration_s,
            good_requests: slo.as_ref().and_then(|slo| good_requests(step, slo)),
            status: step.status,
            counted: counted.iter().any(|known| std::ptr::eq(*known, step)),
            reasons: step.reasons.clone(),
            latency_doubt: step.latency_doubt(),
            metrics: StepMetrics::of(step, caps.get(step.workload.as_str()).copied()),
        };
        start.steps.iter().map(row).collect::<Vec<_>>()
    };
    record.starts.iter().flat_map(rows).collect()
}

/// What a step cost, in seconds: its makespan or, if it sent for a given time, its makespan per output token.
pub(crate) fn cost_s(step: &Step) -> f64 {
    let makespan_s = step.makespan_ns as f64 / 1e9;
    if step.duration_s.is_none() {
        return makespan_s;
    }
    let (_, tokens) = step.answered_tokens();
    makespan_s / (tokens as f64).max(1.0)
}

/// The mean log makespan of each counted start of `arm`, by block.
pub fn block_logs(record: &CellRecord, arm: Arm) -> Vec<BlockLog> {
    counted_starts(record, arm)
        .into_iter()
        .filter_map(|start| {
            let steps = counted_steps(start);
            let sum: f64 = steps.iter().map(|step| cost_s(step).ln()).sum();
            (!steps.is_empty()).then(|| BlockLog {
                block: start.block,
                session: start.session.clone(),
                mean_ln_makespan: sum / steps.len() as f64,
            })
        })
        .collect()
}

impl CellMetrics {
    /// Of the main arm of `record`, whose steps `rows` are; absent without a complete engine start.
    pub fn of(record: &CellRecord, rows: &[StepRow]) -> Option<Self> {
        let starts = counted_starts(record, Arm::Main);
        let counted: Vec<&StepRow> = rows
            .iter()
            .filter(|row| row.counted && row.arm == Arm::Main)
            .collect();
        let steps: Vec<&StepMetrics> = counted.iter().map(|row| &row.metrics).collect();
        if steps.is_empty() {
            return None;
        }
        let count = steps.len() as f64;
        let time: f64 = steps.iter().map(|s| s.makespan_s).sum();
        let sum = |of: fn(&StepMetrics) -> u64| steps.iter().map(|s| of(s)).sum::<u64>();
        let total = |of: fn(&StepMetrics) -> Option<u64>| -> Option<u64> {
            steps.iter().map(|s| of(s)).sum()
        };
        let mean = |of: fn(&StepMetrics) -> Option<f64>| -> Option<f64> {
            steps
                .iter()
                .map(|s| of(s))
                .sum::<Option<f64>>()
                .map(|sum| sum / count)
        };
        let weighted = |of: fn(&StepMetrics) -> Option<f64>| -> Option<f64> {
            let parts = steps.iter().map(|s| Some(of(s)? * s.makespan_s));
            parts.sum::<Option<f64>>().map(|sum| sum / time)
        };
        let facts = || starts.iter().filter_map(|start| start.engine.as_ref());
        let (output_tokens, prompt_tokens) = (sum(|s| s.output_tokens), sum(|s| s.prompt_tokens));
        let output_throughput = output_tokens as f64 / time;
        let hits = total(|s| s.prefix_hits);
        let queries = total(|s| s.prefix_queries).filter(|&queries| queries > 0);
        let full = FullLoad::of(&steps);
        // A server that was running already was not loaded.
        let loads: Vec<f64> = facts().map(|f| f.load_s).filter(|s| *s > 0.0).collect();
        Some(Self {
            starts: starts.len(),
            steps: steps.len(),
            makespan_s: time / count,
            output_throughput,
            output_throughput_per_device: starts
                .first()
                .and_then(|start| devices(start))
                .map(|devices| output_throughput / devices),
            total_token_throughput: (prompt_tokens + output_tokens) as f64 / time,
            request_throughput: sum(|s| s.completed) as f64 / time,
            steady_output_throughput: full.as_ref().map(|full| full.output_throughput),
            full_load: full,
            merged_chunks: mean(|s| s.online.as_ref()?.merged_chunks),
            request_goodput: counted
                .iter()
                .map(|row| row.good_requests)
                .sum::<Option<f64>>()
                .map(|good| good / time),
            output_tokens,
            prompt_tokens,
            time_to_50_s: mean(|s| s.time_to_50_s),
            time_to_90_s: mean(|s| s.time_to_90_s),
            time_to_99_s: mean(|s| s.time_to_99_s),
            tail_share: weighted(|s| s.tail_share),
            bubble_ratio: weighted(|s| s.bubble_ratio),
            length_inflation_max: mean(|s| s.response_length.map(|l| l.inflation_max())),
            length_inflation_p99: mean(|s| s.response_length.map(|l| l.inflation_p99())),
            preemptions: total(|s| s.preemptions),
            prefix_hit_rate: hits
                .zip(queries)
                .map(|(hits, queries)| hits as f64 / queries as f64),
            kv_peak: steps
                .iter()
                .filter_map(|s| s.kv_peak)
                .max_by(f64::total_cmp),
            kv_tokens: facts().filter_map(|f| f.kv_tokens).min(),
            weights_bytes: facts().filter_map(|f| f.weights_bytes).max(),
            load_s: Distribution::of(loads).map(|d| d.mean),
            failed: sum(|s| s.failed),
            offered: total(|s| s.offered),
            sent: total(|s| s.sent),
            unsent: total(|s| s.unsent),
            latency: pooled_latency(&starts),
        })
    }
}

impl CellMetrics {
    /// Whether its latencies are those of all requests that were due.
    pub(crate) fn latency_is_valid(&self) -> bool {
        self.unsent.is_none_or(|unsent| unsent == 0)
    }
}

/// Accelerators that the engine of this start used: the product of its parallel sizes. Absent on CPU.
fn devices(start: &EngineStart) -> Option<f64> {
    let facts = start
        .engine
        .as_ref()
        .filter(|_| !start.devices.is_empty())?;
    let size = |name: &str| {
        let value = facts
            .effective
            .get(name)
            .or_else(|| facts.requested.get(name));
        value.and_then(serde_json::Value::as_f64).unwrap_or(1.0)
    };
    let product =
        size("tensor_parallel_size") * size("pipeline_parallel_size") * size("data_parallel_size");
    (product >= 1.0).then_some(product)
}

fn pooled_latency(starts: &[&EngineStart]) -> Option<Latency> {
    let mut sample = LatencySample::default();
    let mut any = false;
    for step in starts.iter().flat_map(|start| counted_steps(start)) {
        if step.online.is_some() {
            sample.add(step, step.tokens.as_ref());
            any = true;
        }
    }
    any.then(|| sample.summarise())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DeviceInfo, StartStatus, builder};
    use serde_json::json;

    fn metrics(record: &CellRecord) -> Option<CellMetrics> {
        CellMetrics::of(record, &step_rows(record))
    }

    #[test]
    fn a_rate_is_the_sum_over_the_sum() {
        let record = builder::done("demo", "bf16", &[&[1.0, 2.0], &[3.0, 4.0]]);
        let m = metrics(&record).unwrap();
        assert_eq!((m.starts, m.steps), (2, 4));
        assert!((m.output_throughput - 4.0 * 256.0 / 10.0).abs() < 1e-9);
        assert!((m.makespan_s - 2.5).abs() < 1e-9);
        assert!((m.prefix_hit_rate.unwrap() - 0.25).abs() < 1e-9);
        assert_eq!(m.load_s, Some(40.0));
        assert_eq!(m.output_throughput_per_device, None);
    }

    #[test]
    fn only_valid_measured_steps_of_complete_starts_count() {
        let mut record = builder::done("demo", "bf16", &[&[1.0, 2.0], &[100.0]]);
        record.starts[0].steps[2].status = StepStatus::Invalid;
        record.starts[1].status = StartStatus::Interrupted;
        let m = metrics(&record).unwrap();
        assert_eq!((m.starts, m.steps), (1, 1));
        assert!((m.makespan_s - 1.0).abs() < 1e-9);
        let counted: Vec<bool> = step_rows(&record).iter().map(|r| r.counted).collect();
        assert_eq!(counted, [false, true, false, false, false]);
    }

    #[test]
    fn where_no_step_is_valid_the_invalid_ones_are_shown() {
        let mut record = builder::done("demo", "bf16", &[&[1.0, 2.0]]);
        for step in &mut record.starts[0].steps {
            step.status = StepStatus::Invalid;
        }
        assert_eq!(metrics(&record).unwrap().steps, 2);
        assert_eq!(metrics(&builder::planned("demo", "bf16")), None);
        assert_eq!(metrics(&builder::failed("demo", "bf16")), None);
    }

    #[test]
    fn a_counter_that_one_step_lacks_is_absent_not_zero() {
        let mut record = builder::done("demo", "bf16", &[&[1.0, 2.0]]);
        assert_eq!(metrics(&record).unwrap().preemptions, Some(0));
        record.starts[0].steps[1].counters.preemptions = None;
        assert_eq!(metrics(&record).unwrap().preemptions, None);
    }

    #[test]
    fn throughput_per_device_counts_the_devices_that_the_engine_used() {
        let mut record = builder::done("demo", "bf16", &[&[1.0]]);
        let start = &mut record.starts[0];
        start.devices = vec![
            DeviceInfo {
                index: 0,
                name: "X".to_owned(),
                uuid: None,
                memory_bytes: 1,
                driver: None,
                power_limit_w: None,
                clock_mhz: None,
            };
            8
        ];
        let facts = start.engine.as_mut().unwrap();
        facts
            .effective
            .insert("tensor_parallel_size".to_owned(), json!(4));
        let m = metrics(&record).unwrap();
        assert_eq!(
            m.output_throughput_per_device,
            Some(m.output_throughput / 4.0)
        );
    }

    #[test]
    fn a_step_that_ends_by_time_costs_its_time_per_token() {
        let mut record = builder::done("demo", "bf16", &[&[2.0]]);
        let step = &mut record.starts[0].steps[1];
        assert!((cost_s(step) - 2.0).abs() < 1e-12);
        step.duration_s = Some(1.5);
        assert!((cost_s(step) - 2.0 / 256.0).abs() < 1e-12);
        let logs = block_logs(&record, Arm::Main);
        assert!((logs[0].mean_ln_makespan - (2.0_f64 / 256.0).ln()).abs() < 1e-12);
    }

    #[test]
    fn block_logs_are_means_of_logs_per_start() {
        let record = builder::done("demo", "bf16", &[&[1.0, 4.0], &[2.0]]);
        let logs = block_logs(&record, Arm::Main);
        assert_eq!(logs.len(), 2);
        assert!((logs[0].mean_ln_makespan - 2.0_f64.ln()).abs() < 1e-12);
        assert_eq!(logs[1].block, 1);
        assert!(block_logs(&record, Arm::Calibration).is_empty());
    }
}
