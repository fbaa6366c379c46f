//! A plan as text, for a terminal or an issue.

use std::fmt::{self, Write as _};

use indexmap::IndexMap;
use serde_json::Value;

use super::{Plan, PlannedCell, Turn};
use crate::config::{CellSettings, FanOut, Limits, Sourced};
use crate::load::Api;
use crate::record::{Arm, RESULTS, redact};
use crate::units::{Bytes, Mode, thousands};
use crate::workload::{Description, LengthSummary, Placement, describe};

/// Width of the words on the left.
const LEFT: usize = 10;

/// The whole plan. Its first line says which matrix it is and why.
pub(crate) fn to_text(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = Text { plan }.write(&mut text);
    text
}

/// Which matrix it is and why, in one line: also the first line of a run.
pub(crate) fn matrix_line(plan: &Plan) -> String {
    let source = &plan.settings.matrix.source;
    format!("{:LEFT$}  {source} ({})", "matrix", source.why())
}

struct Text<'a> {
    plan: &'a Plan,
}

impl Text<'_> {
    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "{}", matrix_line(self.plan))?;
        self.write_matrix(out)?;
        self.write_run(out)?;
        if !self.plan.notes.is_empty() {
            writeln!(out)?;
        }
        for note in &self.plan.notes {
            writeln!(out, "note: {note}")?;
        }
        self.write_cells(out)?;
        writeln!(out, "\nsettings")?;
        let settings = &self.plan.settings.values;
        write_values(out, settings.iter())
    }

    fn write_matrix(&self, out: &mut String) -> fmt::Result {
        let plan = self.plan;
        let matrix = &plan.settings.matrix;
        let (runs, skips) = (plan.runs().count(), plan.skips().count());
        writeln!(out, "{:LEFT$}  {runs} to run, {skips} skipped", "cells")?;
        let precisions: Vec<_> = matrix
            .precisions
            .iter()
            .filter(|p| matrix.selected_precisions.contains(&p.id))
            .collect();
        let models: Vec<_> = matrix
            .models
            .iter()
            .filter(|m| matrix.selected_models.contains(&m.id))
            .collect();
        let mut rows = vec![vec![String::new()]];
        for precision in &precisions {
            let star = if precision.id == matrix.baseline {
                " *"
            } else {
                ""
            };
            rows[0].push(format!("{}{star}", precision.label));
        }
        for model in models {
            let mut row = vec![model.label.clone()];
            for precision in &precisions {
                let cell = plan.cells.iter().find(|c| {
                    c.settings.id.model == model.id && c.settings.id.precision == precision.id
                });
                row.push(cell.map_or_else(String::new, in_matrix));
            }
            rows.push(row);
        }
        writeln!(out)?;
        write_grid(out, &rows)?;
        if matrix.selected_precisions.contains(&matrix.baseline) {
            writeln!(out, "  * the baseline that the others are compared with")?;
        }
        writeln!(out)?;
        for (cell, skip) in plan.skips() {
            writeln!(out, "skipped: {}: {skip}", cell.settings.id)?;
        }
        if skips > 0 {
            writeln!(out)?;
        }
        Ok(())
    }

    fn write_run(&self, out: &mut String) -> fmt::Result {
        let (plan, run) = (self.plan, &self.plan.settings.run);
        let step = describe(&plan.settings.workload, run.seed);
        writeln!(
            out,
            "{:LEFT$}  {}: {}{} = {} sequences{}",
            "a step",
            run.mode,
            match run.online.duration {
                Some(duration) if run.mode == Mode::Online =>
                    format!("for {} s, in batches of ", duration.as_secs_f64()),
                _ => String::new(),
            },
            self.shown_requests(&step),
            thousands(step.sequences),
            if plan.settings.uncounted {
                "; lengths are counted when the run begins".to_owned()
            } else {
                format!(
                    ", {} tokens in, {} out",
                    length(&step.prompt),
                    length(&step.response)
                )
            },
        )?;
        self.write_load(out)?;
        self.write_spread(out, &step)?;
        writeln!(
            out,
            "{:LEFT$}  {}",
            "",
            match run.fan_out {
                FanOut::Requests => "each sample is a request of its own, as in verl",
                FanOut::N => "each prompt is one request with n samples",
            }
        )?;
        writeln!(
            out,
            "{:LEFT$}  {}{} warm-up + {} measured on each engine start; {} a cell",
            "steps",
            match run.points() {
                1 => String::new(),
                points => format!("at each of {points} points "),
            },
            run.warmup,
            run.steps,
            counted(run.blocks as usize, "engine start", "engine starts"),
        )?;
        if let (Some(until), Some(most)) = (run.inference.until, run.inference.max_blocks) {
            writeln!(
                out,
                "{:LEFT$}  then as many more as intervals of +-{:.1} % need, {most} in all at most",
                "",
                100.0 * until,
            )?;
        }
        for (block, order) in plan.order.iter().enumerate() {
            let name = if block == 0 { "order" } else { "" };
            let number = match plan.order.len() {
                1 => String::new(),
                _ => format!("block {}: ", block + 1),
            };
            writeln!(out, "{name:LEFT$}  {number}{}", self.shown_order(order))?;
        }
        writeln!(
            out,
            "{:LEFT$}  random within each model, by seed {}",
            "", run.seed
        )?;
        let results = plan.settings.out.value.join(RESULTS);
        writeln!(out, "{:LEFT$}  {}", "results", results.display())?;
        if let Some(estimate) = &plan.estimate {
            writeln!(out, "{:LEFT$}  {}", "estimate", estimate.words())?;
        }
        Ok(())
    }

    /// Online: when the requests are sent, and where.
    fn write_load(&self, out: &mut String) -> fmt::Result {
        let run = &self.plan.settings.run;
        if run.mode == Mode::Offline {
            return Ok(());
        }
        let points: Vec<String> = run
            .online
            .points()
            .iter()
            .map(ToString::to_string)
            .collect();
        writeln!(out, "{:LEFT$}  {}", "sent", points.join("; "))?;
        if run.online.duration.is_some() {
            writeln!(
                out,
                "{:LEFT$}  as many batches as the time allows; compared by output tokens per second",
                ""
            )?;
        }
        if run.online.api == Api::Chat {
            writeln!(
                out,
                "{:LEFT$}  by /v1/chat/completions as text: prompt lengths are about what is asked for",
                ""
            )?;
        }
        Ok(())
    }

    /// `32 prompts x 8`, or of how many prompts one replica serves some samples.
    fn shown_requests(&self, step: &Description) -> String {
        let prompts = thousands(u64::from(step.prompts));
        match self.plan.settings.workload.placement {
            Placement::Local => format!("{prompts} prompts x {}", self.plan.settings.workload.n),
            Placement::Scatter { .. } => format!("samples of {prompts} prompts"),
        }
    }

    /// What a tail and replicas make of a step; nothing where all lengths are equal on one engine.
    fn write_spread(&self, out: &mut String, step: &Description) -> fmt::Result {
        let workload = &self.plan.settings.workload;
        let r = &step.response;
        if r.at_cap < 1.0 {
            writeln!(
                out,
                "{:LEFT$}  responses: p50 {:.0}, p90 {:.0}, p99 {:.0}; {:.1} % at the longest; {} tokens in all",
                "",
                r.p50,
                r.p90,
                r.p99,
                100.0 * r.at_cap,
                thousands(step.output_tokens),
            )?;
        }
        let replicas = workload.placement.replicas();
        if replicas > 1 {
            writeln!(
                out,
                "{:LEFT$}  the share of one of {replicas} replicas of {} prompts x {}, siblings scattered as by verl's balancer",
                "", workload.num_prompts, workload.n,
            )?;
        }
        Ok(())
    }

    /// `qwen3-1.7b: w8a8, bf16; pangu-7b: bf16, w8a8`.
    fn shown_order(&self, order: &[Turn]) -> String {
        let id = |turn: &Turn| &self.plan.cells[turn.cell].settings.id;
        let models: Vec<String> = order
            .chunk_by(|a, b| id(a).model == id(b).model)
            .map(|turns| {
                let precision = |turn: &Turn| match turn.arm {
                    Arm::Main => id(turn).precision.to_string(),
                    Arm::Calibration => format!("{} again", id(turn).precision),
                };
                let precisions: Vec<String> = turns.iter().map(precision).collect();
                format!("{}: {}", id(&turns[0]).model, precisions.join(", "))
            })
            .collect();
        models.join("; ")
    }

    /// What is the same in all cells that run is said once.
    fn write_cells(&self, out: &mut String) -> fmt::Result {
        let cells: Vec<&PlannedCell> = self.plan.runs().collect();
        let Some(first) = cells.first() else {
            return Ok(());
        };
        let args = shared(first, &cells, |cell| &cell.args);
        let env = shared(first, &cells, |cell| &cell.settings.env);
        let limits = cells
            .iter()
            .all(|c| c.settings.limits == first.settings.limits);
        if cells.len() > 1 && !(args.is_empty() && env.is_empty()) {
            writeln!(out, "\nengine arguments of all cells")?;
            write_values(out, args.iter().map(|(name, value)| (name, *value)))?;
            if !env.is_empty() {
                writeln!(out, "\nengine environment of all cells")?;
                write_values(out, env.iter().map(|(name, value)| (name, *value)))?;
            }
            if limits {
                writeln!(out, "\n{}", shown_limits(&first.settings))?;
            }
        }
        let alone = cells.len() == 1;
        for cell in &cells {
            writeln!(out, "\n{}{}", cell.settings.id, shown_checkpoint(cell))?;
            let own = |name: &String| alone || !args.contains_key(name);
            write_values(out, cell.args.iter().filter(|(name, _)| own(name)))?;
            let own = |name: &String| alone || !env.contains_key(name);
            write_values(out, cell.settings.env.iter().filter(|(name, _)| own(name)))?;
            if alone || !limits {
                writeln!(out, "  {}", shown_limits(&cell.settings))?;
            }
        }
        Ok(())
    }
}

/// One length, or the mean and the longest of several.
fn length(summary: &LengthSummary) -> String {
    let longest = thousands(u64::from(summary.max));
    if summary.at_cap >= 1.0 {
        longest
    } else {
        format!("{:.0} on average (up to {longest})", summary.mean)
    }
}

/// The entries that all cells have with one value from one origin.
fn shared<'a, T: PartialEq>(
    first: &'a PlannedCell,
    cells: &[&'a PlannedCell],
    of: impl Fn(&'a PlannedCell) -> &'a IndexMap<String, Sourced<T>>,
) -> IndexMap<String, &'a Sourced<T>> {
    of(first)
        .iter()
        .filter(|(name, value)| cells.iter().all(|cell| of(cell).get(*name) == Some(value)))
        .map(|(name, value)| (name.clone(), value))
        .collect()
}

/// One line a value, origins aligned.
fn write_values<'a, T: Clone + Into<Value> + 'a>(
    out: &mut String,
    values: impl Iterator<Item = (&'a String, &'a Sourced<T>)>,
) -> fmt::Result {
    const WIDEST: usize = 44;
    let lines: Vec<(String, String)> = values
        .map(|(name, v)| {
            (
                format!("{name} = {}", redact::shown(name, v.value.clone().into())),
                v.origin.to_string(),
            )
        })
        .collect();
    let fitting = lines.iter().map(|(text, _)| text.chars().count());
    let width = fitting.filter(|width| *width <= WIDEST).max().unwrap_or(0);
    for (text, origin) in lines {
        writeln!(out, "  {text:width$}  {origin}")?;
    }
    Ok(())
}

fn write_grid(out: &mut String, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|text| text.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in rows {
        let mut line = String::from("  ");
        for (text, width) in row.iter().zip(&widths) {
            write!(line, "{text:width$}  ")?;
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// `run`, with the size of the weights where it is known, or `skip`.
fn in_matrix(cell: &PlannedCell) -> String {
    if cell.skip.is_some() {
        return "skip".to_owned();
    }
    match cell.checkpoint.as_ref().and_then(|c| c.bytes) {
        Some(bytes) => format!("run, {}", Bytes(bytes)),
        None => "run".to_owned(),
    }
}

fn shown_checkpoint(cell: &PlannedCell) -> String {
    let Some(checkpoint) = &cell.checkpoint else {
        return String::new();
    };
    let mut words = vec![checkpoint.path.clone()];
    words.extend(checkpoint.format.clone());
    words.extend(checkpoint.bytes.map(|bytes| Bytes(bytes).to_string()));
    if checkpoint.shape_only {
        words.push("shape-only: speed, not text".to_owned());
    }
    format!(": {}", words.join(", "))
}

fn shown_limits(cell: &CellSettings) -> String {
    let Limits {
        start,
        stall,
        stop,
        profile_flush: _,
    } = cell.limits;
    format!(
        "time limits: {} s to start, {} s without progress, {} s to stop",
        start.as_secs_f64(),
        stall.as_secs_f64(),
        stop.as_secs_f64()
    )
}

fn counted(count: usize, one: &str, many: &str) -> String {
    let word = if count == 1 { one } else { many };
    format!("{} {word}", thousands(count as u64))
}
