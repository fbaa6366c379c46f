//! The summary as sections of tables and lists, which text and Markdown draw alike.

use std::fmt::Write as _;

use indexmap::IndexSet;

use super::fidelity_words::{fidelity_lines, fidelity_table};
use super::figures::{NONE, count, number, or_none, percent};
use super::measured_on::{checkpoints, measured_on};
use super::model::{CellRow, ImportedRow, Note, Outcome, Summary};
use super::profile;
use crate::profile::Verdict;
use crate::record::Point;
use crate::stats::judged::JudgedBy;
use crate::stats::{Distribution, Latency, SMALLEST_EFFECT, ends};
use crate::units::Mode;

/// What a summary as text begins with: its first section, whichever that is.
pub(super) const TITLES: [&str; 4] = [OFFLINE, ONLINE, IMPORTED, "No results."];
const OFFLINE: &str = "Offline: LLM.generate, all requests at once";
const ONLINE: &str = "Online: vllm serve, streaming client";
const IMPORTED: &str = "Imported";

/// A titled part of the summary.
pub(super) struct Section {
    pub(super) title: String,
    pub(super) body: Body,
}

pub(super) enum Body {
    Table(Table),
    /// Lines, each with a command to go on with, if there is one.
    List(Vec<Note>),
}

/// Cells as text; the first `labels` columns are words, the rest numbers.
pub(super) struct Table {
    pub(super) labels: usize,
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// Numbered remarks on table rows, said below the tables.
#[derive(Default)]
struct Remarks(Vec<String>);

impl Remarks {
    /// Adds a remark and gives its mark, such as ` (2)`.
    fn add(&mut self, text: String) -> String {
        let number = self
            .0
            .iter()
            .position(|known| *known == text)
            .unwrap_or_else(|| {
                self.0.push(text);
                self.0.len() - 1
            });
        format!(" ({})", number + 1)
    }
}

/// All sections that have something to say.
pub(super) fn sections(summary: &Summary) -> Vec<Section> {
    let mut remarks = Remarks::default();
    let mut sections = Vec::new();
    for mode in [Mode::Offline, Mode::Online] {
        let cells: Vec<_> = summary.cells.iter().filter(|c| c.mode == mode).collect();
        if cells.is_empty() {
            continue;
        }
        let title = match mode {
            Mode::Offline => OFFLINE,
            Mode::Online => ONLINE,
        };
        sections.push(table(title, throughput_table(&cells, &mut remarks)));
        if mode == Mode::Online {
            sections.push(table(
                "Online: latency",
                latency_table(&cells, &mut remarks),
            ));
            sections.extend(full_load_table(&cells).map(|t| table("Online: under full load", t)));
        }
    }
    sections.extend(list("Against the baseline", verdicts(summary)));
    sections.extend(list("Why", summary.cells.iter().flat_map(why)));
    for cell in &summary.cells {
        if let Some(made) = &cell.why {
            let title = format!("{}: a decode step by category", cell.name());
            sections.push(table(&title, profile::changes(made)));
        }
    }
    sections.extend(running_table(summary).map(|t| table("Speed-up by running sequences", t)));
    if !summary.fidelity.is_empty() {
        sections.push(table(
            "Fidelity against the baseline",
            fidelity_table(summary),
        ));
        sections.extend(list("Is it safe?", fidelity_lines(summary)));
    }
    let steps = summary.training_step.iter().map(|row| row.sentence.clone());
    sections.extend(list("The whole training step", steps));
    if !summary.imported.is_empty() {
        sections.push(table(
            IMPORTED,
            imported_table(&summary.imported, &mut remarks),
        ));
    }
    let remarks = remarks
        .0
        .iter()
        .enumerate()
        .map(|(i, text)| format!("({}) {text}", i + 1));
    sections.extend(list("Remarks", remarks));
    sections.extend(list("Warnings", warnings(summary)));
    sections.extend(list("Processes that outlived their engine", leaks(summary)));
    let passed_over = summary
        .passed_over
        .iter()
        .map(|p| format!("{}: {}", p.file, p.reason));
    sections.extend(list("Files passed over", passed_over));
    sections.extend(checkpoints(summary).map(|t| table("Checkpoints", t)));
    sections.extend(list("Measured on", measured_on(summary)));
    if !summary.notes.is_empty() {
        sections.push(Section {
            title: "Notes".to_owned(),
            body: Body::List(summary.notes.clone()),
        });
    }
    sections
}

pub(super) fn table(title: &str, table: Table) -> Section {
    Section {
        title: title.to_owned(),
        body: Body::Table(table),
    }
}

pub(super) fn list(title: &str, lines: impl IntoIterator<Item = String>) -> Option<Section> {
    let items: Vec<Note> = lines
        .into_iter()
        .map(|text| Note {
            text,
            command: None,
        })
        .collect();
    (!items.is_empty()).then(|| Section {
        title: title.to_owned(),
        body: Body::List(items),
    })
}

pub(super) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn throughput_table(cells: &[&CellRow], remarks: &mut Remarks) -> Table {
    let speedups = cells.iter().any(|c| c.comparison.is_some());
    let points = cells.iter().any(|c| c.point.is_some());
    let mut header = words(&["Model", "Precision"]);
    if points {
        header.push("Sent".to_owned());
    }
    header.push("Measured".to_owned());
    if speedups {
        header.push("Speed-up".to_owned());
    }
    header.extend(words(&["Output tok/s", "Total tok/s", "Requests/s"]));
    let goodput = cells.iter().any(|c| {
        c.metrics
            .as_ref()
            .is_some_and(|m| m.request_goodput.is_some())
    });
    if goodput {
        header.push("Goodput/s".to_owned());
    }
    header.extend(words(&[
        "Makespan s",
        "Tail %",
        "Preempt.",
        "KV tokens",
        "Load s",
    ]));
    let row = |cell: &&CellRow| {
        let m = cell.metrics.as_ref();
        let mut row = vec![cell.model_label.clone(), cell.precision_label.clone()];
        if points {
            row.push(sent(cell));
        }
        row.push(measured(cell, remarks));
        if speedups {
            row.push(speedup(cell, remarks));
        }
        row.extend([
            or_none(m.map(|m| m.output_throughput), number),
            or_none(m.map(|m| m.total_token_throughput), number),
            or_none(m.map(|m| m.request_throughput), number),
        ]);
        if goodput {
            row.push(or_none(m.and_then(|m| m.request_goodput), number));
        }
        row.extend([
            or_none(m.map(|m| m.makespan_s), number),
            or_none(m.and_then(|m| m.tail_share), percent),
            or_none(m.and_then(|m| m.preemptions), count),
            or_none(m.and_then(|m| m.kv_tokens), count),
            or_none(m.and_then(|m| m.load_s), |s| format!("{s:.1}")),
        ]);
        row
    };
    Table {
        labels: if points { 4 } else { 3 },
        rows: cells.iter().map(row).collect(),
        header,
    }
}

/// How the requests of an online cell were sent.
fn sent(cell: &CellRow) -> String {
    cell.point.unwrap_or_default().to_string()
}

/// How much was measured, or why not, with marks for the reasons.
fn measured(cell: &CellRow, remarks: &mut Remarks) -> String {
    let (title, name) = (cell.title(), cell.name());
    let mut marks = String::new();
    let mut shown = match (&cell.metrics, cell.outcome) {
        (Some(m), outcome) => {
            let steps = match (m.starts, m.steps) {
                (1, 1) => "1 step".to_owned(),
                (1, steps) => format!("{steps} steps"),
                (starts, steps) if steps % starts == 0 => {
                    format!("{starts} x {} steps", steps / starts)
                }
                (starts, steps) => format!("{steps} steps in {starts} starts"),
            };
            if outcome == Outcome::Done {
                steps
            } else {
                format!("{steps}, {} of {} starts", m.starts, cell.planned_starts)
            }
        }
        (None, Outcome::Skipped) => "skipped".to_owned(),
        (None, Outcome::Failed) => "failed".to_owned(),
        (None, Outcome::Interrupted) => "interrupted".to_owned(),
        (None, Outcome::Running) => "running".to_owned(),
        (None, Outcome::Planned) => "not begun".to_owned(),
        (None, Outcome::Done | Outcome::Partial) => "no valid step".to_owned(),
    };
    if let Some(skip) = &cell.skip {
        marks += &remarks.add(format!("{name}: skipped: {skip}"));
    }
    for reason in &cell.invalid {
        marks += &remarks.add(format!("{title}: not valid: {reason}"));
    }
    for failure in &cell.failures {
        let mut text = format!(
            "{name}: failed while {}: {}",
            failure.phase, failure.message
        );
        for more in [&failure.diagnosis, &failure.hint].into_iter().flatten() {
            let _ = write!(text, "; {more}");
        }
        if !failure.log.is_empty() {
            let _ = write!(text, " (log: {})", failure.log);
        }
        marks += &remarks.add(text);
    }
    if cell.interrupted_starts > 0 {
        let starts = match cell.interrupted_starts {
            1 => "an engine start was".to_owned(),
            n => format!("{n} engine starts were"),
        };
        marks += &remarks.add(format!(
            "{name}: {starts} interrupted; kept in the record, and in no number"
        ));
    }
    if !cell.invalid.is_empty() {
        shown += ", not valid";
    }
    shown + &marks
}

fn speedup(cell: &CellRow, remarks: &mut Remarks) -> String {
    if cell.baseline {
        return if cell.metrics.is_some() {
            "baseline"
        } else {
            NONE
        }
        .to_owned();
    }
    let Some(comparison) = &cell.comparison else {
        return NONE.to_owned();
    };
    if let Some(why) = &comparison.incomparable {
        return format!(
            "{NONE}{}",
            remarks.add(format!("{}: not compared: {why}", cell.title()))
        );
    }
    let mark = if comparison.across_sessions { "*" } else { "" };
    let bound = |sign: &str| {
        or_none(comparison.bound, |e| {
            format!("{sign} {:.2}x{mark}", e.ratio)
        })
    };
    match comparison.judged_by {
        JudgedBy::Throughput => {}
        JudgedBy::Latency => return format!("by latency{mark}"),
        JudgedBy::AtLeast => return bound(">="),
        JudgedBy::AtMost => return bound("<="),
    }
    or_none(comparison.estimate, |e| format!("{:.2}x{mark}", e.ratio))
}

fn latency_table(cells: &[&CellRow], remarks: &mut Remarks) -> Table {
    let points = cells.iter().any(|c| c.point.is_some());
    let mut header = words(&["Model", "Precision"]);
    if points {
        header.push("Sent".to_owned());
    }
    header.extend(words(&[
        "TTFT p50 ms",
        "p99",
        "TPOT p50 ms",
        "p99",
        "ITL p50 ms",
        "p99",
        "E2EL p50 ms",
        "p99",
    ]));
    let mut row = |cell: &&CellRow| {
        let none = Latency::default();
        let latency = cell
            .metrics
            .as_ref()
            .and_then(|m| m.latency.as_ref())
            .unwrap_or(&none);
        let doubt = latency_doubt(cell).map_or_else(String::new, |said| remarks.add(said));
        let precision = cell.precision_label.clone() + &doubt;
        let mut row = vec![cell.model_label.clone(), precision];
        if points {
            row.push(sent(cell));
        }
        for d in [
            latency.ttft_ms,
            latency.tpot_ms,
            latency.itl_ms,
            latency.e2el_ms,
        ] {
            let at = |of: fn(Distribution) -> f64| or_none(d.map(of), number);
            row.extend([at(|d| d.p50), at(|d| d.p99)]);
        }
        row
    };
    Table {
        labels: if points { 3 } else { 2 },
        header,
        rows: cells.iter().map(&mut row).collect(),
    }
}

/// Why a cell's latencies are not valid; absent if they are.
fn latency_doubt(cell: &CellRow) -> Option<String> {
    let metrics = cell.metrics.as_ref().filter(|m| !m.latency_is_valid())?;
    let latency = metrics.latency.as_ref()?;
    let p99 = |of: Option<Distribution>| {
        or_none(of, |d| {
            let sign = if d.is_bound(0.99) { ">= " } else { "" };
            format!("{sign}{} ms", number(d.p99))
        })
    };
    Some(format!(
        "{}: latencies not valid: {} of {} requests were due and never sent, since the limit on concurrency held them back \
         until the time was over; from the schedule TTFT p99 {}, E2EL p99 {}",
        cell.title(),
        or_none(metrics.unsent, count),
        or_none(metrics.offered, count),
        p99(latency.ttft_from_schedule_ms),
        p99(latency.e2el_from_schedule_ms),
    ))
}

/// What the middle of the steps says, without the ramp at their beginnings and the drain at their ends.
fn full_load_table(cells: &[&CellRow]) -> Option<Table> {
    let points = cells.iter().any(|c| c.point.is_some());
    let mut header = words(&["Model", "Precision"]);
    if points {
        header.push("Sent".to_owned());
    }
    header.extend(words(&[
        "From s",
        "To s",
        "At a time",
        "Output tok/s",
        "Merged chunks %",
    ]));
    let row = |cell: &&CellRow| {
        let metrics = cell.metrics.as_ref()?;
        let full = metrics.full_load?;
        let mut row = vec![cell.model_label.clone(), cell.precision_label.clone()];
        if points {
            row.push(sent(cell));
        }
        row.extend([
            number(full.from_s),
            number(full.to_s),
            full.peak.to_string(),
            number(full.output_throughput),
            or_none(metrics.merged_chunks, percent),
        ]);
        Some(row)
    };
    let rows: Vec<_> = cells.iter().filter_map(row).collect();
    (!rows.is_empty()).then_some(Table {
        labels: if points { 3 } else { 2 },
        header,
        rows,
    })
}

fn imported_table(imported: &[ImportedRow], remarks: &mut Remarks) -> Table {
    let header = [
        "Model",
        "Precision",
        "Measured by",
        "Load",
        "Runs",
        "Speed-up",
        "Output tok/s",
        "Total tok/s",
        "Requests/s",
    ];
    let row = |row: &ImportedRow| {
        let name = format!("{} {}", row.model, row.precision);
        let mut runs = if row.failed_cell { "failed" } else { "" }.to_owned();
        if runs.is_empty() {
            runs = row.runs.to_string();
        }
        for remark in &row.remarks {
            runs += &remarks.add(format!("{name} ({}): {remark}", row.load));
        }
        let ratio = match (&row.not_compared, row.speed_up) {
            (Some(why), _) => format!(
                "{NONE}{}",
                remarks.add(format!("{name} ({}): not compared: {why}", row.load))
            ),
            (None, ratio) => or_none(ratio, |ratio| {
                let mark = remarks
                    .add("no interval: such files do not tell engine starts apart".to_owned());
                format!("{ratio:.2}x{mark}")
            }),
        };
        let output = match row.output_throughput {
            Some(throughput) => number(throughput),
            None if row.failed_cell => NONE.to_owned(),
            None => format!(
                "unknown{}",
                remarks.add(format!(
                    "{} writes no count of output tokens: their throughput cannot be known from its file",
                    row.tool
                ))
            ),
        };
        vec![
            row.model.clone(),
            row.precision.clone(),
            row.tool.to_string(),
            row.load.clone(),
            runs,
            ratio,
            output,
            or_none(row.total_token_throughput, number),
            or_none(row.request_throughput, number),
        ]
    };
    Table {
        labels: 4,
        header: words(&header),
        rows: imported.iter().map(row).collect(),
    }
}

fn warnings(summary: &Summary) -> Vec<String> {
    let mut lines: IndexSet<String> = IndexSet::new();
    let cells = &summary.cells;
    for of_model in cells.chunk_by(|a, b| (&a.model, a.mode) == (&b.model, b.mode)) {
        for cell in of_model {
            // Where there is a ratio it stands beside that.
            let alone = cell.comparison.is_none() && !cell.fallbacks.is_empty();
            let fell_back = alone.then(|| fell_back(cell));
            for warning in cell.warnings.iter().chain(&fell_back) {
                // What holds at all points of a sweep is said once.
                let mut points = of_model.iter().filter(|c| c.precision == cell.precision);
                let everywhere = points.all(|point| {
                    point.warnings.contains(warning) || fell_back.as_ref() == Some(warning)
                });
                let title = if everywhere {
                    cell.name()
                } else {
                    cell.title()
                };
                lines.insert(format!("{title}: {warning}"));
            }
        }
    }
    lines.into_iter().collect()
}

/// The verdicts, a line a cell, and what else bears on them.
fn verdicts(summary: &Summary) -> Vec<String> {
    let mut lines: Vec<String> = summary.cells.iter().flat_map(verdict_lines).collect();
    for row in &summary.geometric_means {
        let interval = row
            .mean
            .interval
            .map(|i| format!(" (95 % CI {})", ends(&i, SMALLEST_EFFECT)))
            .unwrap_or_default();
        lines.push(format!(
            "All {} models{} {}: {:.2}x{interval}, the geometric mean of their speed-ups",
            row.mean.models,
            shown_mode(row.mode, row.point),
            row.precision_label,
            row.mean.ratio
        ));
    }
    for row in &summary.calibrations {
        lines.push(format!(
            "{}{}: {}",
            row.model_label,
            shown_mode(row.mode, row.point),
            row.sentence
        ));
    }
    lines
}

/// One line a profiled cell; what makes it worth less behind it.
fn why(cell: &CellRow) -> Vec<String> {
    let Some(made) = &cell.why else {
        return Vec::new();
    };
    let name = format!("{}{}", cell.name(), shown_mode(cell.mode, cell.point));
    let verdict = made.verdict.map_or("not measured", Verdict::name);
    let mut lines = vec![format!("{name}: why: {} ({verdict})", made.sentence)];
    if made.verdict == Some(Verdict::Contradiction) {
        lines.insert(
            0,
            format!("{name}: its profile contradicts what was measured: no claim is made"),
        );
    }
    lines.extend(
        made.reasons
            .iter()
            .map(|reason| format!("{name}: {reason}")),
    );
    lines
}

fn verdict_lines(cell: &CellRow) -> Vec<String> {
    let Some(comparison) = &cell.comparison else {
        return Vec::new();
    };
    let Some(verdict) = &comparison.verdict else {
        return Vec::new();
    };
    let mode = shown_mode(cell.mode, cell.point);
    let mut lines = vec![format!("{}{mode} {}", cell.model_label, verdict.sentence)];
    if !cell.fallbacks.is_empty() {
        lines.push(format!("{}{mode}: {}", cell.name(), fell_back(cell)));
    }
    if let Some(interval) = comparison.bootstrap {
        lines.push(format!(
            "{}{mode}: a bootstrap (BCa) gives {}",
            cell.name(),
            ends(&interval, SMALLEST_EFFECT)
        ));
    }
    if let Some(without) = comparison.without_outliers {
        let blocks = comparison
            .outliers
            .iter()
            .filter_map(|i| comparison.blocks.get(*i));
        let blocks = blocks.map(ToString::to_string);
        lines.push(format!(
            "{}{mode}: block {} (of {}, from 0) stands out; it is in the numbers, and without it the ratio is {without:.2}x",
            cell.name(),
            blocks.collect::<Vec<_>>().join(" and "),
            comparison.differences.len()
        ));
    }
    lines
}

fn fell_back(cell: &CellRow) -> String {
    format!(
        "by its log vLLM took a slower way: {}",
        cell.fallbacks.join("; ")
    )
}

fn shown_mode(mode: Mode, point: Option<Point>) -> String {
    match (mode, point) {
        (Mode::Offline, _) => String::new(),
        (Mode::Online, None) => " (online)".to_owned(),
        (Mode::Online, Some(point)) => format!(" (online, {point})"),
    }
}

/// The speed-up of each cell while so many sequences run; nothing where all lengths are equal, since then nearly all
/// the time passes at one number.
fn running_table(summary: &Summary) -> Option<Table> {
    const LEAST_SHARE: f64 = 0.02;
    let told = |cell: &&CellRow| {
        let classes = cell
            .comparison
            .as_ref()
            .map(|c| c.by_running.as_slice())
            .unwrap_or_default();
        classes
            .iter()
            .filter(|c| c.share_of_time >= LEAST_SHARE)
            .count()
            >= 2
    };
    let cells: Vec<&CellRow> = summary.cells.iter().filter(told).collect();
    let classes_of = |cell: &CellRow| {
        let comparison = cell.comparison.as_ref();
        comparison.map(|c| c.by_running.clone()).unwrap_or_default()
    };
    let mut bounds: Vec<(u32, u32)> = cells
        .iter()
        .flat_map(|cell| classes_of(cell))
        .filter(|c| c.share_of_time >= LEAST_SHARE)
        .map(|c| (c.low, c.high))
        .collect();
    bounds.sort_unstable();
    bounds.dedup();
    let mut header = words(&["Model", "Precision"]);
    header.extend(bounds.iter().map(|(low, high)| match high {
        1 => "1".to_owned(),
        _ => format!("{low}-{high}"),
    }));
    let row = |cell: &&CellRow| {
        let classes = classes_of(cell);
        let mut row = vec![cell.model_label.clone(), cell.precision_label.clone()];
        row.extend(bounds.iter().map(|(low, _)| {
            let class = classes.iter().find(|c| c.low == *low);
            or_none(class, |c| format!("{:.2}x", c.ratio))
        }));
        row
    };
    (!cells.is_empty()).then(|| Table {
        labels: 2,
        header,
        rows: cells.iter().map(row).collect(),
    })
}

fn leaks(summary: &Summary) -> Vec<String> {
    let line = |leak: &super::model::LeakRow| {
        let end = if leak.ended {
            "was ended"
        } else {
            "could not be ended"
        };
        format!(
            "{} block {}: {} (pid {}) {end}",
            leak.cell, leak.block, leak.name, leak.pid
        )
    };
    summary.leaks.iter().map(line).collect()
}
