//! Sequences running over a step: the slots that are idle while the longest responses end.

use super::figure::{Figure, Section};
use super::svg::{Drawing, Margins, Scale, stroke, tick_label};
use super::view::{Group, View};
use super::words;
use crate::report::document::Table;
use crate::report::figures::{NONE, number, or_none, percent};
use crate::report::model::CellRow;

/// The section: a figure for each model at each point.
pub(super) fn section(view: &View) -> Section {
    let why = || view.language.say(words::NO_RUNNING).to_owned();
    Section::of_groups(view, (words::BUBBLE, "running"), figure, why)
}

fn figure(view: &View, group: &Group) -> Option<Figure> {
    let language = view.language;
    let told = |cell: &&&CellRow| !cell.running_over_time.is_empty();
    let cells: Vec<&CellRow> = group.cells.iter().filter(told).copied().collect();
    let points = || cells.iter().flat_map(|cell| &cell.running_over_time);
    let end_s = points().map(|(at_s, _)| *at_s).reduce(f64::max)?;
    let most = points()
        .map(|(_, running)| f64::from(*running))
        .fold(1.0, f64::max);
    let (x, y) = (
        Scale::linear(0.0, end_s * 1.02),
        Scale::linear(0.0, most * 1.05),
    );
    let mut drawing = Drawing::new(
        (520.0, 250.0),
        Margins::default(),
        &view.legend(&cells),
        x,
        y,
    );
    let ticks = |scale: Scale| -> Vec<(f64, String)> {
        scale
            .ticks(6)
            .into_iter()
            .map(|t| (t, tick_label(t)))
            .collect()
    };
    drawing.x_axis(&ticks(x), language.say(words::SINCE_SUBMIT));
    drawing.y_axis(&ticks(y), language.say(words::RUNNING));
    let mut bubbles = Vec::new();
    for cell in &cells {
        let class = format!("{} plain", stroke(view.series(&cell.precision)));
        let curve: Vec<_> = cell
            .running_over_time
            .iter()
            .map(|(at_s, n)| (*at_s, f64::from(*n)))
            .collect();
        drawing.path(&curve, true, &class, &cell.precision_label);
        if let Some(bubble) = cell.metrics.as_ref().and_then(|m| m.bubble_ratio) {
            bubbles.push(format!("{} {} %", cell.precision_label, percent(bubble)));
        }
    }
    Some(Figure {
        title: language.fill(words::RUNNING_OF, &[&group.title]),
        caption: language.fill(words::RUNNING_TOLD, &[&bubbles.join(", ")]),
        drawing,
        numbers: numbers(&cells),
    })
}

fn numbers(cells: &[&CellRow]) -> Table {
    let row = |cell: &&CellRow| {
        let m = cell.metrics.as_ref();
        let most = cell
            .running_over_time
            .iter()
            .map(|(_, running)| *running)
            .max();
        vec![
            cell.precision_label.clone(),
            or_none(m.and_then(|m| m.bubble_ratio), percent),
            most.map_or(NONE.to_owned(), |most| most.to_string()),
            or_none(m.map(|m| m.makespan_s), number),
        ]
    };
    Table {
        labels: 1,
        header: ["Precision", "bubble %", "most running", "Makespan s"]
            .map(str::to_owned)
            .to_vec(),
        rows: cells.iter().map(row).collect(),
    }
}
