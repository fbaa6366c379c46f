//! The speed-up while so many sequences run: which precision wins in a full batch, and which in the tail.

use super::figure::{Figure, Section};
use super::svg::{Anchor, Drawing, Margins, Scale, stroke, tick_label};
use super::view::{Group, View};
use super::words;
use crate::report::document::Table;
use crate::report::model::CellRow;
use crate::stats::tail::SpeedUpAt;

/// Below this share of the time a class is a moment.
const LEAST_SHARE: f64 = 0.02;

/// The section: a figure for each model at each point.
pub(super) fn section(view: &View) -> Section {
    let why = || view.language.say(words::NO_RUNNING).to_owned();
    Section::of_groups(view, (words::BATCH, "by_running"), figure, why)
}

struct Line<'a> {
    series: usize,
    label: &'a str,
    classes: Vec<&'a SpeedUpAt>,
}

fn line<'a>(view: &View, cell: &'a CellRow) -> Option<Line<'a>> {
    let classes = cell.comparison.as_ref()?.by_running.iter();
    let classes: Vec<_> = classes.filter(|c| c.share_of_time >= LEAST_SHARE).collect();
    // One class is the ratio itself.
    (classes.len() > 1).then(|| Line {
        series: view.series(&cell.precision),
        label: &cell.precision_label,
        classes,
    })
}

fn figure(view: &View, group: &Group) -> Option<Figure> {
    let language = view.language;
    let lines: Vec<Line> = group
        .cells
        .iter()
        .filter_map(|cell| line(view, cell))
        .collect();
    let mut bounds: Vec<(u32, u32)> = lines
        .iter()
        .flat_map(|l| &l.classes)
        .map(|c| (c.low, c.high))
        .collect();
    bounds.sort_unstable();
    bounds.dedup();
    let ratios = || lines.iter().flat_map(|l| &l.classes).map(|c| c.ratio);
    let low = ratios().reduce(f64::min)?.min(0.95) * 0.97;
    let high = ratios().fold(1.05, f64::max) * 1.03;
    let y = Scale::log(low, high);
    let x = Scale::linear(0.0, bounds.len() as f64);
    let legend: Vec<_> = lines
        .iter()
        .map(|l| (l.series, l.label.to_owned()))
        .collect();
    let mut drawing = Drawing::new((520.0, 250.0), Margins::default(), &legend, x, y);
    let ticks: Vec<_> = y
        .ticks(6)
        .into_iter()
        .map(|t| (t, format!("{}x", tick_label(t))))
        .collect();
    drawing.y_axis(&ticks, language.say(words::TIMES_AXIS));
    drawing.baseline(language.say(words::RUNNING_AXIS));
    let one = drawing.y(1.0);
    drawing.line((drawing.left, one), (drawing.right, one), "axis");
    for (place, bounds) in bounds.iter().enumerate() {
        let at = (drawing.x(place as f64 + 0.5), drawing.bottom + 15.0);
        drawing.text(at, Anchor::Middle, "dim", &class_label(*bounds));
    }
    for line in &lines {
        let places = line.classes.iter().filter_map(|class| {
            let place = bounds.iter().position(|b| *b == (class.low, class.high))?;
            Some((place as f64 + 0.5, class.ratio))
        });
        let places: Vec<(f64, f64)> = places.collect();
        drawing.path(
            &places,
            false,
            &format!("{} plain", stroke(line.series)),
            line.label,
        );
        for place in places {
            let tip = format!("{}: {:.2}x", line.label, place.1);
            drawing.mark(drawing.at(place), line.series, 4.0, "", &tip);
        }
    }
    Some(Figure {
        title: language.fill(words::BATCH_OF, &[&group.title]),
        caption: language.say(words::BATCH_TOLD).to_owned(),
        numbers: numbers(&lines),
        drawing,
    })
}

/// `4-7`.
fn class_label((low, high): (u32, u32)) -> String {
    if low == high {
        low.to_string()
    } else {
        format!("{low}-{high}")
    }
}

fn numbers(lines: &[Line]) -> Table {
    let rows = lines.iter().flat_map(|line| {
        line.classes.iter().map(|class| {
            vec![
                line.label.to_owned(),
                class_label((class.low, class.high)),
                format!("{:.3}", class.ratio),
                format!("{:.1}", 100.0 * class.share_of_time),
            ]
        })
    });
    Table {
        labels: 1,
        header: ["Precision", "running", "Speed-up", "time %"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
    }
}
