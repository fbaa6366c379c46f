//! Every measured step, by block and arm: whether a ratio comes of steady steps or of one odd engine start.

use super::figure::{Figure, Section};
use super::svg::{Anchor, Drawing, Margins, Scale, stroke, tick_label};
use super::view::{Group, View};
use super::words;
use crate::record::{Arm, Role, StepStatus};
use crate::report::document::Table;
use crate::report::figures::number;
use crate::stats::StepRow;

/// The section: a figure for each model at each point.
pub(super) fn section(view: &View) -> Section {
    Section::of_groups(view, (words::STEADY, "steps"), figure, || {
        let mut outcomes: Vec<&str> = Vec::new();
        for cell in &view.summary.cells {
            let told = words::outcome(view.language, cell.outcome);
            if !outcomes.contains(&told) {
                outcomes.push(told);
            }
        }
        view.language.fill(words::NO_STEPS, &[&outcomes.join(", ")])
    })
}

/// The steps of one arm of a cell.
struct Column<'a> {
    series: usize,
    label: &'a str,
    arm: Arm,
    steps: Vec<&'a StepRow>,
}

fn columns<'a>(view: &View, group: &Group<'a>) -> Vec<Column<'a>> {
    let mut columns = Vec::new();
    for cell in &group.cells {
        for arm in [Arm::Main, Arm::Calibration] {
            let drawn = |step: &&StepRow| {
                step.arm == arm
                    && step.role == Role::Measured
                    && step.status != StepStatus::Failed
                    && step.metrics.makespan_s > 0.0
            };
            let steps: Vec<_> = cell.steps.iter().filter(drawn).collect();
            if !steps.is_empty() {
                columns.push(Column {
                    series: view.series(&cell.precision),
                    label: &cell.precision_label,
                    arm,
                    steps,
                });
            }
        }
    }
    columns
}

/// What a step is drawn by: its makespan, unless a time was given for it.
fn value(step: &StepRow) -> f64 {
    match step.duration_s {
        Some(_) => step.metrics.output_throughput.unwrap_or_default(),
        None => step.metrics.makespan_s,
    }
}

fn figure(view: &View, group: &Group) -> Option<Figure> {
    let language = view.language;
    let columns = columns(view, group);
    let steps = || columns.iter().flat_map(|column| &column.steps);
    let timed = steps().next()?.duration_s.is_some();
    let mut blocks: Vec<u32> = steps().map(|step| step.block).collect();
    blocks.sort_unstable();
    blocks.dedup();
    let (least, most) = steps()
        .map(|step| value(step))
        .fold((f64::MAX, 0.0), |(low, high): (f64, f64), v| {
            (low.min(v), high.max(v))
        });
    let spread = (most - least).max(0.05 * most);
    let y = Scale::linear((least - 0.15 * spread).max(0.0), most + 0.1 * spread);
    let x = Scale::linear(0.0, blocks.len() as f64);
    let legend = view.legend(&group.cells);
    let mut drawing = Drawing::new((520.0, 250.0), Margins::default(), &legend, x, y);
    let ticks: Vec<_> = y.ticks(5).into_iter().map(|t| (t, tick_label(t))).collect();
    let label = if timed {
        words::THROUGHPUT_AXIS
    } else {
        words::MAKESPAN_AXIS
    };
    drawing.y_axis(&ticks, language.say(label));
    drawing.baseline(language.say(words::BLOCK_AXIS));
    let every = blocks.len().div_ceil(16);
    for (place, block) in blocks.iter().enumerate() {
        let (from, bottom, top) = (drawing.x(place as f64), drawing.bottom, drawing.top);
        if place > 0 {
            drawing.line((from, top), (from, bottom), "grid");
        }
        if place % every == 0 {
            let middle = drawing.x(place as f64 + 0.5);
            drawing.text(
                (middle, bottom + 15.0),
                Anchor::Middle,
                "dim",
                &block.to_string(),
            );
        }
        for (slot, column) in columns.iter().enumerate() {
            let share = 0.1 + 0.8 * (slot as f64 + 0.5) / columns.len() as f64;
            let room = 0.8 * (drawing.right - drawing.left) / (blocks.len() * columns.len()) as f64;
            let of_block: Vec<&StepRow> = column
                .steps
                .iter()
                .copied()
                .filter(|step| step.block == *block)
                .collect();
            draw(
                &mut drawing,
                column,
                &of_block,
                (place as f64 + share, room),
            );
        }
    }
    Some(Figure {
        title: language.fill(words::STEPS_OF, &[&group.title]),
        caption: language.say(words::STEPS_TOLD).to_owned(),
        drawing,
        numbers: numbers(&columns, timed),
    })
}

/// The marks of one arm in one block, side by side in its room, and the mean of each engine start.
fn draw(drawing: &mut Drawing, column: &Column, steps: &[&StepRow], (middle, room): (f64, f64)) {
    let centre = drawing.x(middle);
    let gap = (room / (steps.len() as f64 + 1.0)).min(7.0);
    let radius = (0.45 * room).clamp(1.2, 3.4);
    let mut starts: Vec<(&str, f64, f64)> = Vec::new();
    for (number_in_start, step) in steps.iter().enumerate() {
        let x = centre + gap * (number_in_start as f64 - (steps.len() as f64 - 1.0) / 2.0);
        let y = drawing.y(value(step));
        let tip = format!(
            "{} block {} step {}: {}",
            column.label,
            step.block,
            step.step,
            number(value(step))
        );
        let class = match (column.arm, step.status) {
            (Arm::Calibration, _) => "hollow",
            (Arm::Main, StepStatus::Ok) => "",
            (Arm::Main, _) => "half",
        };
        drawing.mark((x, y), column.series, radius, class, &tip);
        if step.status != StepStatus::Ok {
            let r = radius + 2.0;
            drawing.line((x - r, y - r), (x + r, y + r), "failed");
            drawing.line((x - r, y + r), (x + r, y - r), "failed");
        }
        match starts.iter_mut().find(|(start, ..)| *start == step.start) {
            Some((_, sum, count)) => (*sum, *count) = (*sum + value(step).ln(), *count + 1.0),
            None => starts.push((&step.start, value(step).ln(), 1.0)),
        }
    }
    let half = (0.5 * room).clamp(2.0, 12.0);
    let class = format!(
        "{} plain",
        stroke(column.series).split(' ').next().unwrap_or_default()
    );
    for (_, sum, count) in starts {
        let y = drawing.y((sum / count).exp());
        drawing.line((centre - half, y), (centre + half, y), &class);
    }
}

fn numbers(columns: &[Column], timed: bool) -> Table {
    let value_name = if timed { "Output tok/s" } else { "Makespan s" };
    let rows = columns.iter().flat_map(|column| {
        column.steps.iter().map(|step| {
            let arm = match column.arm {
                Arm::Main => "main",
                Arm::Calibration => "calibration",
            };
            vec![
                column.label.to_owned(),
                arm.to_owned(),
                step.block.to_string(),
                step.step.to_string(),
                number(value(step)),
            ]
        })
    });
    Table {
        labels: 2,
        header: ["Precision", "arm", "block", "step", value_name]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
    }
}
