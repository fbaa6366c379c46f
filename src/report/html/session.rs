//! What every engine start did when: waits, loads, steps and failures.

use super::figure::{Figure, Section};
use super::svg::{Anchor, Drawing, Margins, Scale, fill, tick_label, width};
use super::view::View;
use super::words;
use crate::report::document::Table;
use crate::report::figures::number;
use crate::report::model::{CellRow, Part, Ran};

const ROW: f64 = 24.0;
const BAR: f64 = 13.0;

/// The section: a chart for each session on each boot of its machine.
pub(super) fn section(view: &View) -> Section {
    let mut clocks: Vec<(&str, &str)> = Vec::new();
    for ran in view.summary.cells.iter().flat_map(|cell| &cell.ran) {
        if !clocks.contains(&(&ran.session, &ran.boot)) {
            clocks.push((&ran.session, &ran.boot));
        }
    }
    let figures: Vec<_> = clocks
        .iter()
        .filter_map(|(session, boot)| figure(view, session, boot))
        .collect();
    Section {
        title: words::WENT,
        name: "session",
        narrow: false,
        figures: if figures.is_empty() {
            Err(view.language.say(words::NOTHING_RAN).to_owned())
        } else {
            Ok(figures)
        },
    }
}

fn figure(view: &View, session: &str, boot: &str) -> Option<Figure> {
    let language = view.language;
    let here = |ran: &&Ran| ran.session == session && ran.boot == boot;
    let rows: Vec<(&CellRow, Vec<&Ran>)> = view
        .summary
        .cells
        .iter()
        .map(|cell| (cell, cell.ran.iter().filter(here).collect::<Vec<_>>()))
        .filter(|(_, starts)| !starts.is_empty())
        .collect();
    let starts = || rows.iter().flat_map(|(_, starts)| starts);
    let zero_ns = starts().map(|ran| ran.begin_ns).min()?;
    let seconds = |at_ns: u64| at_ns.saturating_sub(zero_ns) as f64 / 1e9;
    let ends = starts().flat_map(|ran| &ran.parts);
    let end_s = ends
        .map(|(_, at, length)| seconds(at + length))
        .fold(0.0, f64::max);
    let x = Scale::linear(0.0, end_s);
    let names = rows
        .iter()
        .map(|(cell, _)| width(&cell.name()))
        .fold(0.0, f64::max);
    let margins = Margins {
        left: names + 22.0,
        ..Margins::default()
    };
    let height = ROW * rows.len() as f64 + 60.0;
    let mut drawing = Drawing::new((1060.0, height), margins, &[], x, Scale::linear(0.0, 1.0));
    let ticks: Vec<_> = x.ticks(9).into_iter().map(|t| (t, tick_label(t))).collect();
    drawing.x_axis(&ticks, language.say(words::SINCE_START));
    let mut y = drawing.top + 6.0;
    for (cell, starts) in &rows {
        let left = drawing.left;
        drawing.text((left - 10.0, y + 11.0), Anchor::End, "", &cell.name());
        let colour = fill(view.series(&cell.precision));
        for ran in starts {
            let end_ns = ran.parts.iter().map(|(_, at, length)| at + length).max();
            let (from, to) = (
                drawing.x(seconds(ran.begin_ns)),
                drawing.x(seconds(end_ns.unwrap_or(ran.begin_ns))),
            );
            for (part, at_ns, length_ns) in &ran.parts {
                let (class, name) = drawn(*part, language);
                let (from, to) = (
                    drawing.x(seconds(*at_ns)),
                    drawing.x(seconds(at_ns + length_ns)),
                );
                let tip = format!(
                    "{name}, block {}: {} s",
                    ran.block,
                    number(*length_ns as f64 / 1e9)
                );
                let class = if class == "band" {
                    class.to_owned()
                } else {
                    format!("{colour} {class}")
                };
                drawing.rect((from, y), (to - from, BAR), class.trim_end(), &tip);
            }
            if ran.failed {
                let (from, to) = (from - 1.0, to.max(from + 4.0) + 1.0);
                let tip = format!("block {}: {}", ran.block, language.say(words::FAILED));
                drawing.rect((from, y - 1.0), (to - from, BAR + 2.0), "failed", &tip);
            }
        }
        y += ROW;
    }
    Some(Figure {
        title: language.fill(words::SESSION_OF, &[session]),
        caption: language.say(words::SESSION_TOLD).to_owned(),
        drawing,
        numbers: numbers(&rows),
    })
}

/// How a part is drawn, and its name.
fn drawn(part: Part, language: words::Language) -> (&'static str, &'static str) {
    match part {
        Part::Gate => ("band", language.say(words::GATE)),
        Part::Load => ("pale", language.say(words::LOAD)),
        Part::Warmup => ("half", language.say(words::WARM_UP)),
        Part::Measured => ("", language.say(words::MEASURED)),
        Part::Profiled => ("half", language.say(words::PROFILED)),
        Part::Stop => ("band", language.say(words::STOP)),
    }
}

/// Seconds of each part, a row a cell.
fn numbers(rows: &[(&CellRow, Vec<&Ran>)]) -> Table {
    let of = |starts: &[&Ran], wanted: &[Part]| {
        let parts = starts.iter().flat_map(|ran| &ran.parts);
        let here = parts.filter(|(part, ..)| wanted.contains(part));
        number(here.map(|(.., length_ns)| *length_ns as f64 / 1e9).sum())
    };
    let row = |(cell, starts): &(&CellRow, Vec<&Ran>)| {
        vec![
            cell.name(),
            starts.len().to_string(),
            of(starts, &[Part::Gate]),
            of(starts, &[Part::Load]),
            of(starts, &[Part::Warmup]),
            of(starts, &[Part::Measured, Part::Profiled]),
            of(starts, &[Part::Stop]),
        ]
    };
    let header = [
        "Cell",
        "engine starts",
        "gate s",
        "Load s",
        "warm-up s",
        "steps s",
        "stop s",
    ];
    Table {
        labels: 1,
        header: header.map(str::to_owned).to_vec(),
        rows: rows.iter().map(row).collect(),
    }
}
