//! What a speed-up costs: how far the policy of a precision is from the baseline's.

use super::figure::{Figure, Section};
use super::svg::{Anchor, Drawing, Margins, Scale, stroke, tick_label};
use super::view::{Group, View};
use super::words;
use crate::report::document::Table;
use crate::report::model::CellRow;

/// The section: a figure for each model whose fidelity was measured.
pub(super) fn section(view: &View) -> Section {
    let why = || view.language.say(words::NO_FIDELITY).to_owned();
    Section::of_groups(view, (words::COST, "fidelity"), figure, why)
}

/// Speed-up, distance, and its interval.
fn place(cell: &CellRow) -> Option<(f64, f64, Option<[f64; 2]>)> {
    let ratio = cell.comparison.as_ref()?.estimate?.ratio;
    let excess = cell.fidelity?.excess;
    Some((ratio, excess.value, excess.interval))
}

fn figure(view: &View, group: &Group) -> Option<Figure> {
    let language = view.language;
    let cells: Vec<&CellRow> = group
        .cells
        .iter()
        .filter(|cell| place(cell).is_some())
        .copied()
        .collect();
    let places = || cells.iter().filter_map(|cell| place(cell));
    let low = places().map(|p| p.0).reduce(f64::min)?.min(0.95) * 0.97;
    let high = places().map(|p| p.0).fold(1.05, f64::max) * 1.1;
    let ends =
        || places().flat_map(|(_, value, interval)| interval.into_iter().flatten().chain([value]));
    let (least, most) = (ends().fold(0.0, f64::min), ends().fold(1e-9, f64::max));
    let (x, y) = (
        Scale::log(low, high),
        Scale::linear(least * 1.1, most * 1.1),
    );
    let margins = Margins {
        left: 78.0,
        ..Margins::default()
    };
    let mut drawing = Drawing::new((520.0, 250.0), margins, &[], x, y);
    let ratios: Vec<_> = x
        .ticks(6)
        .into_iter()
        .map(|t| (t, format!("{}x", tick_label(t))))
        .collect();
    drawing.x_axis(&ratios, language.say(words::TIMES_AXIS));
    let distances: Vec<_> = y.ticks(5).into_iter().map(|t| (t, tick_label(t))).collect();
    drawing.y_axis(&distances, language.say(words::KL_AXIS));
    let mut rows = Vec::new();
    for cell in &cells {
        let (ratio, value, interval) = place(cell)?;
        let series = view.series(&cell.precision);
        if let Some([from, to]) = interval {
            let (from, to) = (drawing.at((ratio, from)), drawing.at((ratio, to)));
            drawing.line(from, to, &format!("{} plain", stroke(series)));
        }
        let at = drawing.at((ratio, value));
        drawing.mark(at, series, 5.0, "", &format!("{ratio:.2}x, {value:.2e}"));
        drawing.text(
            (at.0 + 9.0, at.1 - 7.0),
            Anchor::Start,
            "",
            &cell.precision_label,
        );
        let end = |at: usize| interval.map_or("-".to_owned(), |ends| format!("{:.2e}", ends[at]));
        rows.push(vec![
            cell.precision_label.clone(),
            format!("{ratio:.3}"),
            format!("{value:.2e}"),
            end(0),
            end(1),
        ]);
    }
    Some(Figure {
        title: language.fill(words::FIDELITY_OF, &[&group.title]),
        caption: language.say(words::FIDELITY_TOLD).to_owned(),
        drawing,
        numbers: Table {
            labels: 1,
            header: ["Precision", "Speed-up", "excess K3 KL", "low", "high"]
                .map(str::to_owned)
                .to_vec(),
            rows,
        },
    })
}
