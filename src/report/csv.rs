//! `summary.csv` (a row a cell) and `steps.csv` (a row a step): one header, units in the names, an empty field where
//! there is no number.

use serde::Serialize;

use super::figures::rounded;
use super::model::{CellRow, Comparison, ImportedRow, Summary};
use crate::record::{Point, Tool};
use crate::stats::fidelity::FidelityVerdict;
use crate::stats::{CellMetrics, Distribution, Judgement, Latency, StepRow};
use crate::units::Mode;

/// A field: text, or a number, or nothing.
struct Field(String);

impl From<&str> for Field {
    /// A spreadsheet runs what begins like a formula, and what is in others' records is others' words.
    fn from(text: &str) -> Self {
        if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            Self(format!("'{text}"))
        } else {
            Self(text.to_owned())
        }
    }
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<f64> for Field {
    fn from(number: f64) -> Self {
        if number.is_finite() {
            Self(rounded(number).to_string())
        } else {
            Self(String::new())
        }
    }
}

impl From<bool> for Field {
    fn from(value: bool) -> Self {
        Self(value.to_string())
    }
}

macro_rules! from_integers {
    ($($type:ty),*) => {$(
        impl From<$type> for Field {
            fn from(number: $type) -> Self {
                Self(number.to_string())
            }
        }
    )*};
}
from_integers!(u32, u64, usize);

impl<T: Into<Field>> From<Option<T>> for Field {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(|| Self(String::new()), Into::into)
    }
}

/// The name that serde gives a unit variant.
fn name<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// The tag that serde gives a judgement.
fn judgement(judgement: &Judgement) -> String {
    match serde_json::to_value(judgement) {
        Ok(value) => value["verdict"].as_str().unwrap_or_default().to_owned(),
        Err(_) => String::new(),
    }
}

/// Fields by column; a column that is not named is empty.
type Row = Vec<(&'static str, Field)>;

macro_rules! row {
    ($($column:literal: $value:expr),* $(,)?) => { vec![$(($column, Field::from($value))),*] };
}

const CELL_COLUMNS: &[&str] = &[
    "model",
    "precision",
    "mode",
    "request_rate_req_s",
    "ramp_req_s",
    "max_concurrency",
    "load",
    "measured_by",
    "session",
    "outcome",
    "baseline",
    "starts",
    "planned_starts",
    "steps",
    "speedup",
    "speedup_low",
    "speedup_high",
    "speedup_level",
    "speedup_baseline",
    "speedup_blocks",
    "speedup_across_sessions",
    "verdict",
    "verdict_sentence",
    "judged_by",
    "speedup_bound",
    "speedup_bound_low",
    "speedup_bound_high",
    "speedup_p50_ttft",
    "speedup_p50_ttft_low",
    "speedup_p50_ttft_high",
    "speedup_p99_ttft",
    "speedup_p99_ttft_low",
    "speedup_p99_ttft_high",
    "speedup_p50_tpot",
    "speedup_p50_tpot_low",
    "speedup_p50_tpot_high",
    "speedup_p99_tpot",
    "speedup_p99_tpot_low",
    "speedup_p99_tpot_high",
    "speedup_p50_e2el",
    "speedup_p50_e2el_low",
    "speedup_p50_e2el_high",
    "speedup_p99_e2el",
    "speedup_p99_e2el_low",
    "speedup_p99_e2el_high",
    "offered_requests",
    "sent_requests",
    "unsent_requests",
    "latency_valid",
    "offered_rate_req_s",
    "keeps_up",
    "output_throughput_tok_s",
    "output_throughput_per_device_tok_s",
    "total_token_throughput_tok_s",
    "request_throughput_req_s",
    "steady_output_throughput_tok_s",
    "request_goodput_req_s",
    "makespan_s",
    "output_tokens",
    "prompt_tokens",
    "time_to_50_s",
    "time_to_90_s",
    "time_to_99_s",
    "tail_share",
    "bubble_ratio",
    "length_inflation_max",
    "length_inflation_p99",
    "preemptions",
    "prefix_hit_rate",
    "kv_peak",
    "kv_tokens",
    "weights_bytes",
    "load_s",
    "failed_requests",
    "mean_ttft_ms",
    "p50_ttft_ms",
    "p90_ttft_ms",
    "p95_ttft_ms",
    "p99_ttft_ms",
    "mean_tpot_ms",
    "p50_tpot_ms",
    "p90_tpot_ms",
    "p95_tpot_ms",
    "p99_tpot_ms",
    "mean_itl_ms",
    "p50_itl_ms",
    "p90_itl_ms",
    "p95_itl_ms",
    "p99_itl_ms",
    "mean_e2el_ms",
    "p50_e2el_ms",
    "p90_e2el_ms",
    "p95_e2el_ms",
    "p99_e2el_ms",
    "mean_ttft_content_ms",
    "p50_ttft_content_ms",
    "p90_ttft_content_ms",
    "p95_ttft_content_ms",
    "p99_ttft_content_ms",
    "mean_itl_token_ms",
    "p50_itl_token_ms",
    "p90_itl_token_ms",
    "p95_itl_token_ms",
    "p99_itl_token_ms",
    "mean_close_ms",
    "p50_close_ms",
    "p90_close_ms",
    "p95_close_ms",
    "p99_close_ms",
    "mean_queue_ms",
    "p50_queue_ms",
    "p90_queue_ms",
    "p95_queue_ms",
    "p99_queue_ms",
    "mean_ttft_from_schedule_ms",
    "p50_ttft_from_schedule_ms",
    "p90_ttft_from_schedule_ms",
    "p95_ttft_from_schedule_ms",
    "p99_ttft_from_schedule_ms",
    "mean_e2el_from_schedule_ms",
    "p50_e2el_from_schedule_ms",
    "p90_e2el_from_schedule_ms",
    "p95_e2el_from_schedule_ms",
    "p99_e2el_from_schedule_ms",
    "mean_send_lag_ms",
    "p50_send_lag_ms",
    "p90_send_lag_ms",
    "p95_send_lag_ms",
    "p99_send_lag_ms",
    "mean_connect_ms",
    "p50_connect_ms",
    "p90_connect_ms",
    "p95_connect_ms",
    "p99_connect_ms",
    "k3_kl",
    "floor_k3_kl",
    "k3_kl_excess",
    "k3_kl_excess_low",
    "k3_kl_excess_high",
    "fidelity_verdict",
    "valid",
    "invalid_reasons",
    "warnings",
    "reason",
    "checkpoint",
    "checkpoint_format",
    "checkpoint_bytes",
    "kernels",
    "cannot_be_known",
];

const STEP_COLUMNS: &[&str] = &[
    "model",
    "precision",
    "mode",
    "session",
    "start",
    "arm",
    "block",
    "attempt",
    "step",
    "role",
    "workload",
    "request_rate_req_s",
    "ramp_req_s",
    "max_concurrency",
    "duration_s",
    "status",
    "counted",
    "reasons",
    "makespan_s",
    "requests",
    "sequences",
    "failed",
    "offered",
    "sent",
    "unsent",
    "latency_doubt",
    "prompt_tokens",
    "output_tokens",
    "output_throughput_tok_s",
    "total_token_throughput_tok_s",
    "request_throughput_req_s",
    "request_goodput_req_s",
    "time_to_50_s",
    "time_to_90_s",
    "time_to_99_s",
    "tail_share",
    "bubble_ratio",
    "length_inflation_max",
    "length_inflation_p99",
    "preemptions",
    "prefix_queries",
    "prefix_hits",
    "kv_peak",
    "p50_ttft_ms",
    "p99_ttft_ms",
    "p50_tpot_ms",
    "p99_tpot_ms",
    "p50_itl_ms",
    "p99_itl_ms",
    "p50_e2el_ms",
    "p99_e2el_ms",
    // What verl logs of a step, by verl's names.
    "timing_s/gen",
    "timing_per_token_ms/gen",
    "response_length/mean",
    "response_length/max",
    "response_length/min",
    "response_length/clip_ratio",
];

/// `summary.csv`: the cells, then the results of other programs.
pub(super) fn cells(summary: &Summary) -> Result<Vec<u8>, csv::Error> {
    let cells = summary.cells.iter().map(cell);
    write(
        CELL_COLUMNS,
        cells.chain(summary.imported.iter().map(imported)),
    )
}

/// `steps.csv`.
pub(super) fn steps(summary: &Summary) -> Result<Vec<u8>, csv::Error> {
    let of_cell = |cell| move |row| step(cell, row);
    let rows = summary
        .cells
        .iter()
        .flat_map(|cell| cell.steps.iter().map(of_cell(cell)));
    write(STEP_COLUMNS, rows)
}

fn write(columns: &[&str], rows: impl Iterator<Item = Row>) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns)?;
    for row in rows {
        debug_assert!(row.iter().all(|(name, _)| columns.contains(name)));
        writer.write_record(columns.iter().map(|column| {
            let field = row.iter().find(|(name, _)| name == column);
            field.map_or("", |(_, field)| field.0.as_str())
        }))?;
    }
    writer
        .into_inner()
        .map_err(|error| error.into_error().into())
}

fn cell(cell: &CellRow) -> Row {
    let failures = cell
        .failures
        .iter()
        .map(|f| format!("{}: {}", f.phase, f.message));
    let reasons: Vec<String> = cell.skip.iter().cloned().chain(failures).collect();
    let comparison = cell.comparison.as_ref();
    let estimate = comparison.and_then(|c| c.estimate);
    let interval = estimate.and_then(|e| e.interval);
    let verdict = comparison.and_then(|c| c.verdict.as_ref());
    let checkpoint = cell.checkpoint.as_ref();
    let fidelity = cell.fidelity;
    let mut row = row! {
        "model": cell.model.as_str(),
        "precision": cell.precision.as_str(),
        "mode": cell.mode.to_string(),
        "request_rate_req_s": rate(cell.mode, cell.point),
        "ramp_req_s": cell.point.and_then(|p| p.ramp).map(|ramp| ramp.to_string()),
        "max_concurrency": cell.point.and_then(|p| p.concurrency),
        "measured_by": "rollbench",
        "session": cell.session.as_str(),
        "outcome": name(&cell.outcome),
        "baseline": cell.baseline,
        "planned_starts": cell.planned_starts,
        "speedup": estimate.map(|e| e.ratio),
        "speedup_low": interval.map(|i| i.low),
        "speedup_high": interval.map(|i| i.high),
        "speedup_level": interval.map(|i| i.level),
        "speedup_baseline": comparison.map(|c| c.baseline.as_str()),
        "speedup_blocks": estimate.map(|e| e.blocks),
        "speedup_across_sessions": estimate.and(comparison).map(|c| c.across_sessions),
        "verdict": verdict.and_then(|v| v.judgement.as_ref()).map(judgement),
        "verdict_sentence": verdict.map(|v| v.sentence.as_str()),
        "offered_requests": cell.pace.map(|pace| pace.requests).or(cell.metrics.as_ref().and_then(|m| m.offered)),
        "offered_rate_req_s": cell.pace.map(|pace| pace.offered_req_s()),
        "keeps_up": cell.pace.map(|pace| pace.keeps_up),
        "k3_kl": fidelity.map(|f| f.k3_kl),
        "floor_k3_kl": fidelity.map(|f| f.floor_k3_kl),
        "k3_kl_excess": fidelity.map(|f| f.excess.value),
        "k3_kl_excess_low": fidelity.and_then(|f| f.excess.interval).map(|[low, _]| low),
        "k3_kl_excess_high": fidelity.and_then(|f| f.excess.interval).map(|[_, high]| high),
        "fidelity_verdict": fidelity.and_then(|f| f.verdict).map(FidelityVerdict::name),
        "valid": cell.metrics.as_ref().map(|_| cell.invalid.is_empty()),
        "invalid_reasons": cell.invalid.join("; "),
        "warnings": [&cell.warnings[..], &cell.fallbacks].concat().join("; "),
        "reason": reasons.join("; "),
        "checkpoint": checkpoint.map(|c| c.path.as_str()),
        "checkpoint_format": checkpoint.and_then(|c| c.format.as_deref()),
        "checkpoint_bytes": checkpoint.and_then(|c| c.bytes),
        "kernels": cell.kernels.join("; "),
    };
    if let Some(comparison) = comparison.filter(|c| c.incomparable.is_none()) {
        row.extend(paced(comparison));
    }
    if let Some(metrics) = &cell.metrics {
        row.extend(cell_metrics(metrics));
    }
    row
}

/// By what a cell was judged where a schedule offered its requests.
fn paced(comparison: &Comparison) -> Row {
    let bound = comparison.bound;
    let interval = bound.and_then(|bound| bound.interval);
    let mut row = row! {
        "judged_by": name(&comparison.judged_by),
        "speedup_bound": bound.map(|bound| bound.ratio),
        "speedup_bound_low": interval.map(|i| i.low),
        "speedup_bound_high": interval.map(|i| i.high),
    };
    for ratio in &comparison.latency {
        let stem = format!("speedup_{}", name(&ratio.metric));
        let interval = ratio.estimate.interval;
        let fields = [
            ("", Some(ratio.estimate.ratio)),
            ("_low", interval.map(|i| i.low)),
            ("_high", interval.map(|i| i.high)),
        ];
        for (end, value) in fields {
            let column = format!("{stem}{end}");
            let known = CELL_COLUMNS.iter().find(|known| **known == column);
            row.extend(known.map(|column| (*column, value.into())));
        }
    }
    row
}

fn cell_metrics(m: &CellMetrics) -> Row {
    let mut row = row! {
        "starts": m.starts,
        "steps": m.steps,
        "output_throughput_tok_s": m.output_throughput,
        "output_throughput_per_device_tok_s": m.output_throughput_per_device,
        "total_token_throughput_tok_s": m.total_token_throughput,
        "request_throughput_req_s": m.request_throughput,
        "steady_output_throughput_tok_s": m.steady_output_throughput,
        "request_goodput_req_s": m.request_goodput,
        "makespan_s": m.makespan_s,
        "output_tokens": m.output_tokens,
        "prompt_tokens": m.prompt_tokens,
        "time_to_50_s": m.time_to_50_s,
        "time_to_90_s": m.time_to_90_s,
        "time_to_99_s": m.time_to_99_s,
        "tail_share": m.tail_share,
        "bubble_ratio": m.bubble_ratio,
        "length_inflation_max": m.length_inflation_max,
        "length_inflation_p99": m.length_inflation_p99,
        "preemptions": m.preemptions,
        "prefix_hit_rate": m.prefix_hit_rate,
        "kv_peak": m.kv_peak,
        "kv_tokens": m.kv_tokens,
        "weights_bytes": m.weights_bytes,
        "load_s": m.load_s,
        "failed_requests": m.failed,
        "sent_requests": m.sent,
        "unsent_requests": m.unsent,
    };
    if let Some(latency) = &m.latency {
        row.push(("latency_valid", m.latency_is_valid().into()));
        row.extend(latencies(latency));
    }
    row
}

/// As `vllm bench serve` takes it: a number, or `inf` for all at once. Absent offline and in a ramp.
fn rate(mode: Mode, point: Option<Point>) -> Option<String> {
    let point = point.unwrap_or_default();
    let paced = mode == Mode::Online && point.ramp.is_none();
    let shown = point
        .rate
        .map_or_else(|| "inf".to_owned(), |rate| rate.to_string());
    paced.then_some(shown)
}

/// `value`, or `>=value` where what was never sent makes it a lower bound; `share` is the percentile's, 1 for the mean.
fn bound(of: &Distribution, share: f64, value: f64) -> Field {
    let field = Field::from(value);
    if of.is_bound(share) {
        return Field(format!(">={}", field.0));
    }
    field
}

macro_rules! quantiles {
    ($name:literal, $of:expr) => {
        [
            (
                concat!("mean_", $name, "_ms"),
                $of.map(|d| bound(&d, 1.0, d.mean)),
            ),
            (
                concat!("p50_", $name, "_ms"),
                $of.map(|d| bound(&d, 0.5, d.p50)),
            ),
            (
                concat!("p90_", $name, "_ms"),
                $of.map(|d| bound(&d, 0.9, d.p90)),
            ),
            (
                concat!("p95_", $name, "_ms"),
                $of.map(|d| bound(&d, 0.95, d.p95)),
            ),
            (
                concat!("p99_", $name, "_ms"),
                $of.map(|d| bound(&d, 0.99, d.p99)),
            ),
        ]
    };
}

fn latencies(l: &Latency) -> Row {
    let all = [
        quantiles!("ttft", l.ttft_ms),
        quantiles!("tpot", l.tpot_ms),
        quantiles!("itl", l.itl_ms),
        quantiles!("e2el", l.e2el_ms),
        quantiles!("ttft_content", l.ttft_content_ms),
        quantiles!("itl_token", l.itl_token_ms),
        quantiles!("close", l.close_ms),
        quantiles!("queue", l.queue_ms),
        quantiles!("ttft_from_schedule", l.ttft_from_schedule_ms),
        quantiles!("e2el_from_schedule", l.e2el_from_schedule_ms),
        quantiles!("send_lag", l.send_lag_ms),
        quantiles!("connect", l.connect_ms),
    ];
    let known = all.into_iter().flatten();
    known.map(|(name, value)| (name, value.into())).collect()
}

fn imported(row: &ImportedRow) -> Row {
    let mode = match row.tool {
        Tool::BenchThroughput => Mode::Offline,
        Tool::BenchServe => Mode::Online,
    };
    let mut fields = row! {
        "model": row.model.as_str(),
        "precision": row.precision.as_str(),
        "mode": mode.to_string(),
        "measured_by": row.tool.to_string(),
        "outcome": if row.failed_cell { "failed" } else { "done" },
        "load": row.load.as_str(),
        "starts": row.runs,
        "speedup": row.speed_up,
        "speedup_baseline": row.speed_up.map(|_| "bf16"),
        "reason": row.remarks.join("; "),
        "output_tokens": row.output_tokens,
        "output_throughput_tok_s": row.output_throughput,
        "total_token_throughput_tok_s": row.total_token_throughput,
        "request_throughput_req_s": row.request_throughput,
        "failed_requests": row.failed,
        "cannot_be_known": row.cannot_be_known.join("; "),
    };
    for (name, value) in &row.latencies_ms {
        // Its median goes by that name, ours by `p50`.
        let name = name.replacen("median_", "p50_", 1);
        if let Some(column) = CELL_COLUMNS.iter().find(|column| **column == name) {
            fields.push((column, (*value).into()));
        }
    }
    fields
}

fn step(cell: &CellRow, step: &StepRow) -> Row {
    let m = &step.metrics;
    let length = m.response_length.as_ref();
    let mut row = row! {
        "model": cell.model.as_str(),
        "precision": cell.precision.as_str(),
        "mode": cell.mode.to_string(),
        "session": step.session.as_str(),
        "start": step.start.as_str(),
        "arm": name(&step.arm),
        "block": step.block,
        "attempt": step.attempt,
        "step": step.step,
        "role": name(&step.role),
        "workload": step.workload.as_str(),
        "request_rate_req_s": rate(cell.mode, step.point),
        "ramp_req_s": step.point.and_then(|p| p.ramp).map(|ramp| ramp.to_string()),
        "max_concurrency": step.point.and_then(|p| p.concurrency),
        "duration_s": step.duration_s,
        "status": name(&step.status),
        "counted": step.counted,
        "reasons": step.reasons.join("; "),
        "makespan_s": m.makespan_s,
        "requests": m.requests,
        "sequences": m.sequences,
        "failed": m.failed,
        "offered": m.offered,
        "sent": m.sent,
        "unsent": m.unsent,
        "latency_doubt": step.latency_doubt.as_deref(),
        "prompt_tokens": m.prompt_tokens,
        "output_tokens": m.output_tokens,
        "output_throughput_tok_s": m.output_throughput,
        "total_token_throughput_tok_s": m.total_token_throughput,
        "request_throughput_req_s": m.request_throughput,
        "request_goodput_req_s": step.good_requests.map(|good| good / m.makespan_s),
        "time_to_50_s": m.time_to_50_s,
        "time_to_90_s": m.time_to_90_s,
        "time_to_99_s": m.time_to_99_s,
        "tail_share": m.tail_share,
        "bubble_ratio": m.bubble_ratio,
        "length_inflation_max": length.map(crate::stats::ResponseLength::inflation_max),
        "length_inflation_p99": length.map(crate::stats::ResponseLength::inflation_p99),
        "preemptions": m.preemptions,
        "prefix_queries": m.prefix_queries,
        "prefix_hits": m.prefix_hits,
        "kv_peak": m.kv_peak,
        "timing_s/gen": m.makespan_s,
        "timing_per_token_ms/gen": 1e3 * m.makespan_s / m.output_tokens as f64,
        "response_length/mean": length.map(|l| l.mean),
        "response_length/max": length.map(|l| l.max),
        "response_length/min": length.map(|l| l.min),
        "response_length/clip_ratio": length.and_then(|l| l.clip_ratio),
    };
    if let Some(latency) = &m.latency {
        let known = latencies(latency).into_iter();
        row.extend(known.filter(|(name, _)| STEP_COLUMNS.contains(name)));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_are_no_formulas_and_numbers_stay_numbers() {
        for word in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"] {
            assert_eq!(Field::from(word).0, format!("'{word}"));
        }
        assert_eq!(Field::from("a=1").0, "a=1");
        assert_eq!(Field::from(-0.5).0, "-0.5");
    }
}
