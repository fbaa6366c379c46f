//! What `load` prints: a block for each point, a table over all of them, or JSON.

use std::fmt::Write as _;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::options::LoadOptions;
use crate::config::LoadPoint;
use crate::error::{CommandError, Exit};
use crate::load::{Api, Target};
use crate::record::{ClientFacts, Found, Role, Step, StepStatus, read_results};
use crate::stats::{Distribution, Latency, StepMetrics, good_requests};
use crate::units::{CellId, Mode};

/// One measured step of one point.
pub(super) struct MeasuredPoint {
    pub(super) plan: LoadPoint,
    pub(super) step: Step,
    pub(super) metrics: StepMetrics,
    /// Requests that kept the objectives; absent without objectives.
    pub(super) good_requests: Option<f64>,
}

/// What the record at `results` holds of the measured steps of `cell`, in their order.
pub(super) fn measured(
    options: &LoadOptions,
    results: &Path,
    cell: &CellId,
) -> Result<Vec<MeasuredPoint>, CommandError> {
    let ours = |found| match found {
        Found::Record(record) if record.cell.id == *cell && record.cell.mode == Mode::Online => {
            Some(*record)
        }
        _ => None,
    };
    let (found, _) =
        read_results(results, ours).map_err(|error| CommandError::new(Exit::Environment, error))?;
    let Some(start) = found
        .into_iter()
        .flatten()
        .next()
        .and_then(|mut record| record.starts.pop())
    else {
        return Ok(Vec::new());
    };
    let points = options.online.points();
    let measured = |step: Step| {
        let plan = *points.iter().find(|plan| Some(plan.point) == step.point)?;
        let slo = options.online.goodput.as_ref();
        let good_requests = slo.and_then(|slo| good_requests(&step, slo));
        let metrics = StepMetrics::of(&step, Some(options.spec.response.max()));
        Some(MeasuredPoint {
            plan,
            step,
            metrics,
            good_requests,
        })
    };
    let steps = start
        .steps
        .into_iter()
        .filter(|step| step.role == Role::Measured);
    Ok(steps.filter_map(measured).collect())
}

/// The first line: what is loaded with what.
pub(super) fn headline(
    options: &LoadOptions,
    target: &Target,
    model: &str,
    version: Option<&str>,
) -> String {
    let spec = &options.spec;
    let version = version.map_or_else(String::new, |v| format!(" (version {v})"));
    let amount = match options.online.duration {
        None => format!("{} prompts x {}", spec.num_prompts, spec.n),
        Some(d) => format!("{} s of prompts x {}", d.as_secs_f64(), spec.n),
    };
    let (about, unit) = match target.api {
        Api::Completions => ("", "tokens"),
        Api::Chat => (
            "about ",
            "tokens (chat sends text: lengths as the server counts them)",
        ),
    };
    format!(
        "{target}: {model}{version}; {amount}, {about}{} in, {} out {unit}",
        spec.prompt.max(),
        spec.response.max()
    )
}

pub(super) fn text(options: &LoadOptions, points: &[MeasuredPoint]) -> String {
    let mut out = String::new();
    for measured in points {
        block(&mut out, options, measured);
        out.push('\n');
    }
    if points.len() > 1 {
        sweep(&mut out, points);
    }
    out
}

fn block(out: &mut String, options: &LoadOptions, measured: &MeasuredPoint) {
    let _ = writeln!(out, "{}", measured.plan);
    let metrics = &measured.metrics;
    if metrics.completed > 0 {
        rates(out, measured);
        let rows = latencies(metrics, options.online.api);
        let _ = writeln!(out, "\n{}", table(&rows));
    }
    if let Some(client) = &measured.step.client {
        let _ = write!(
            out,
            "  client: {}",
            client_line(client, measured.step.makespan_ns)
        );
        let merged = metrics.online.as_ref().and_then(|o| o.merged_chunks);
        if let Some(merged) = merged.filter(|share| *share >= 0.005) {
            let percent = merged * 100.0;
            let _ = write!(
                out,
                "; {percent:.0} % of the chunks read together with the one before"
            );
        }
        out.push('\n');
    }
    if let Some(server) = &measured.step.server {
        let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        let _ = write!(
            out,
            "  server: at most {} running, {} waiting, {:.0} % of the KV cache",
            most(&server.running),
            most(&server.waiting),
            most(&server.kv) * 100.0
        );
        let counters = &measured.step.counters;
        if let Some(preemptions) = counters.preemptions {
            let _ = write!(out, "; {preemptions} preemptions");
        }
        if let (Some(hits), Some(queries @ 1..)) = (counters.prefix_hits, counters.prefix_queries) {
            let share = hits as f64 / queries as f64 * 100.0;
            let _ = write!(out, "; prefix cache hits {share:.0} %");
        }
        out.push('\n');
    }
    let doubt = measured.step.latency_doubt();
    for reason in measured.step.reasons.iter().chain(&doubt) {
        let _ = writeln!(out, "  ! {reason}");
    }
}

fn rates(out: &mut String, measured: &MeasuredPoint) {
    let metrics = &measured.metrics;
    let _ = writeln!(
        out,
        "  {} requests done, {} failed, in {:.2} s",
        metrics.completed,
        metrics.requests - metrics.completed,
        metrics.makespan_s
    );
    let _ = write!(
        out,
        "  {} requests/s   output {} tok/s   total {} tok/s",
        or_dash(metrics.request_throughput, 2),
        or_dash(metrics.output_throughput, 1),
        or_dash(metrics.total_token_throughput, 1)
    );
    if let Some(good) = measured.good_requests {
        let goodput = good / metrics.makespan_s;
        let _ = write!(out, "   goodput {goodput:.2} requests/s");
    }
    out.push('\n');
    // An open loop reaches its peak for moments only.
    let closed = measured.step.client.as_ref().and_then(|c| c.asked_streams);
    let steady = metrics.online.as_ref().and_then(|o| o.steady.as_ref());
    if let (Some(steady), Some(_)) = (steady, closed) {
        let _ = writeln!(
            out,
            "  steady from {:.2} to {:.2} s ({} at a time): output {:.1} tok/s",
            steady.from_s, steady.to_s, steady.peak, steady.output_throughput
        );
    }
}

fn or_dash(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn client_line(client: &ClientFacts, makespan_ns: u64) -> String {
    let share = client.cpu_s / (makespan_ns as f64 / 1e9) * 100.0;
    let streams = match client.asked_streams {
        Some(asked) => format!("{} of {asked} streams at once", client.peak_streams),
        None => format!("at most {} streams at once", client.peak_streams),
    };
    let lag = &client.read_lag;
    let stamps = if lag.stamped == lag.reads {
        "arrivals stamped by the kernel".to_owned()
    } else if lag.stamped == 0 {
        "arrivals stamped when read".to_owned()
    } else {
        format!(
            "{} of {} arrivals stamped by the kernel",
            lag.stamped, lag.reads
        )
    };
    format!(
        "{share:.1} % of one processor; {streams}; {stamps}, read {:.2} ms later on average",
        lag.mean_ns as f64 / 1e6
    )
}

type Rows<'a> = Vec<(&'static str, &'a Distribution)>;

fn latencies(metrics: &StepMetrics, api: Api) -> Rows<'_> {
    let Some(l) = &metrics.latency else {
        return Vec::new();
    };
    let content = l.ttft_content_ms.as_ref().filter(|_| api == Api::Chat);
    // Where every chunk holds one token, the gaps between tokens are those between chunks.
    let per_token = l
        .itl_token_ms
        .as_ref()
        .filter(|_| l.itl_token_ms != l.itl_ms);
    let waited = l.queue_ms.as_ref().filter(|q| q.max > 0.0);
    [
        ("TTFT", l.ttft_ms.as_ref()),
        ("TTFT without role chunk", content),
        ("TPOT", l.tpot_ms.as_ref()),
        ("ITL", l.itl_ms.as_ref()),
        ("ITL per token", per_token),
        ("E2EL", l.e2el_ms.as_ref()),
        ("queue before being due", waited),
        ("send lag (not in the above)", l.send_lag_ms.as_ref()),
    ]
    .into_iter()
    .filter_map(|(name, of)| Some((name, of?)))
    .collect()
}

fn table(rows: &Rows<'_>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ms", "mean", "p50", "p90", "p95", "p99", "max"]);
    for (name, d) in rows {
        let mut row = vec![(*name).to_owned()];
        row.extend([d.mean, d.p50, d.p90, d.p95, d.p99, d.max].map(millis));
        table.add_row(row);
    }
    right(&mut table, 1..7);
    indent(&table)
}

fn sweep(out: &mut String, points: &[MeasuredPoint]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "point",
        "req/s",
        "output tok/s",
        "TTFT p50",
        "TTFT p99",
        "TPOT p50",
        "ITL p99",
        "E2EL p50",
        "",
    ]);
    for measured in points {
        let mut row = vec![measured.plan.to_string()];
        let metrics = &measured.metrics;
        row.push(or_dash(metrics.request_throughput, 2));
        row.push(or_dash(metrics.output_throughput, 1));
        let pick =
            |of: fn(&Latency) -> Option<f64>| or_dash(metrics.latency.as_ref().and_then(of), 2);
        row.push(pick(|l| l.ttft_ms.map(|d| d.p50)));
        row.push(pick(|l| l.ttft_ms.map(|d| d.p99)));
        row.push(pick(|l| l.tpot_ms.map(|d| d.p50)));
        row.push(pick(|l| l.itl_ms.map(|d| d.p99)));
        row.push(pick(|l| l.e2el_ms.map(|d| d.p50)));
        let mark = match measured.step.status {
            StepStatus::Ok => "",
            StepStatus::Invalid => "!",
            StepStatus::Failed => "failed",
        };
        row.push(mark.to_owned());
        table.add_row(row);
    }
    right(&mut table, 1..8);
    out.push_str(&indent(&table));
}

fn right(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn indent(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        let _ = writeln!(text, "  {}", line.trim());
    }
    text
}

fn millis(value: f64) -> String {
    format!("{value:.2}")
}

/// Under the keys of `vllm bench serve --save-result`, with what it does not have beside them.
pub(super) fn json(
    options: &LoadOptions,
    target: &Target,
    model: &str,
    points: &[MeasuredPoint],
) -> Result<String, CommandError> {
    let points: Vec<Value> = points
        .iter()
        .map(|measured| point_json(options, measured))
        .collect();
    let whole = json!({
        "schema": "rollbench.load/1",
        "url": target.to_string(),
        "model_id": model,
        "workload": options.spec,
        "slo": options.online.goodput,
        "seed": options.seed,
        "points": points,
    });
    let mut text = serde_json::to_string_pretty(&whole).map_err(anyhow::Error::from)?;
    text.push('\n');
    Ok(text)
}

fn point_json(options: &LoadOptions, measured: &MeasuredPoint) -> Value {
    let plan = &measured.plan;
    let mut out = measured.metrics.vllm_json(measured.good_requests);
    let rate = plan
        .point
        .rate
        .map_or_else(|| json!("inf"), |rate| json!(rate));
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    put("num_prompts", json!(options.spec.num_prompts));
    put("request_rate", rate);
    put("max_concurrency", json!(plan.point.concurrency));
    put("pacing", json!(plan.pacing.to_string()));
    put("status", json!(measured.step.status));
    put("reasons", json!(measured.step.reasons));
    put("metrics", json!(measured.metrics));
    put("client", client_json(measured));
    put("server", json!(measured.step.server));
    put("counters", json!(measured.step.counters));
    Value::Object(out)
}

/// The client's facts without one value per request, which are in the record.
fn client_json(measured: &MeasuredPoint) -> Value {
    let mut client = json!(measured.step.client);
    if let Some(fields) = client.as_object_mut() {
        fields.remove("send_lag_ns");
    }
    client
}
