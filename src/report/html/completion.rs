//! How many sequences had ended when: the tail of a step.

use super::figure::{Figure, Section};
use super::style::SERIES;
use super::svg::{Drawing, Margins, Scale, stroke, tick_label};
use super::view::{Group, View};
use super::words;
use crate::report::document::Table;
use crate::report::drawn::PLACES;
use crate::report::figures::number;
use crate::report::model::CellRow;

/// Steps that are drawn beside the median.
const THIN: usize = 6;
/// The place of 90 %.
const T90: usize = PLACES * 9 / 10 - 1;

/// The section: a figure for each model at each point.
pub(super) fn section(view: &View) -> Section {
    let why = || view.language.say(words::NO_COMPLETION).to_owned();
    Section::of_groups(view, (words::TAIL, "completion"), figure, why)
}

fn figure(view: &View, group: &Group) -> Option<Figure> {
    let language = view.language;
    let told = |cell: &&&CellRow| !cell.completion.is_empty();
    let cells: Vec<&CellRow> = group.cells.iter().filter(told).copied().collect();
    let ends = cells
        .iter()
        .flat_map(|cell| &cell.completion)
        .filter_map(|step| step.last());
    let end_s = ends.copied().reduce(f64::max)?;
    let (x, y) = (Scale::linear(0.0, end_s * 1.02), Scale::linear(0.0, 1.0));
    let mut drawing = Drawing::new(
        (520.0, 250.0),
        Margins::default(),
        &view.legend(&cells),
        x,
        y,
    );
    let seconds: Vec<_> = x.ticks(6).into_iter().map(|t| (t, tick_label(t))).collect();
    let shares: Vec<_> = [0.0, 0.25, 0.5, 0.75, 0.9, 1.0]
        .map(|s| (s, format!("{:.0} %", 100.0 * s)))
        .to_vec();
    drawing.x_axis(&seconds, language.say(words::SINCE_SUBMIT));
    drawing.y_axis(&shares, language.say(words::ENDED));
    for cell in &cells {
        draw(&mut drawing, cell, view.series(&cell.precision));
    }
    Some(Figure {
        title: language.fill(words::COMPLETION_OF, &[&group.title]),
        caption: language.say(words::COMPLETION_TOLD).to_owned(),
        drawing,
        numbers: numbers(&cells),
    })
}

fn draw(drawing: &mut Drawing, cell: &CellRow, series: usize) {
    let curve = |ends: &[f64]| -> Vec<(f64, f64)> {
        let places = ends.iter().enumerate();
        let ended = places.map(|(place, end_s)| (*end_s, (place + 1) as f64 / PLACES as f64));
        std::iter::once((0.0, 0.0)).chain(ended).collect()
    };
    let colour = format!("s{}", series % SERIES);
    let every = cell.completion.len().div_ceil(THIN);
    for step in cell.completion.iter().step_by(every) {
        drawing.path(&curve(step), true, &format!("{colour} faint"), "");
    }
    let median = median(&cell.completion);
    let class = format!("{} thick", stroke(series));
    drawing.path(&curve(&median), true, &class, &cell.precision_label);
    let (from, to) = (
        drawing.at((median[T90], 0.9)),
        drawing.at((median[PLACES - 1], 0.9)),
    );
    drawing.line(from, to, &format!("{colour} tail"));
}

/// Place by place, over the steps; there is one at least.
fn median(steps: &[Vec<f64>]) -> Vec<f64> {
    let at = |place: usize| {
        let mut ends: Vec<f64> = steps.iter().map(|step| step[place]).collect();
        ends.sort_unstable_by(f64::total_cmp);
        ends[ends.len() / 2]
    };
    (0..PLACES).map(at).collect()
}

fn numbers(cells: &[&CellRow]) -> Table {
    let row = |cell: &&CellRow| {
        let median = median(&cell.completion);
        let at = |share: usize| number(median[PLACES * share / 100 - 1]);
        vec![
            cell.precision_label.clone(),
            at(50),
            at(90),
            at(98),
            at(100),
        ]
    };
    Table {
        labels: 1,
        header: ["Precision", "50 % s", "90 % s", "98 % s", "100 % s"]
            .map(str::to_owned)
            .to_vec(),
        rows: cells.iter().map(row).collect(),
    }
}
