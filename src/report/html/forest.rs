//! Every speed-up with its interval, beside the smallest effect and the baseline measured twice.

use super::figure::{Figure, Section};
use super::svg::{Anchor, Drawing, Margins, Scale, fill, stroke, tick_label, width};
use super::view::View;
use super::words::{self, Language};
use crate::report::document::Table;
use crate::report::figures::NONE;
use crate::stats::compare::SetComparison;
use crate::stats::judged::JudgedBy;
use crate::stats::{Estimate, Interval, RatioWords, SMALLEST_EFFECT};

/// A row: a heading, or a ratio.
enum Row {
    Heading(String),
    Ratio(Ratio),
}

struct Ratio {
    label: String,
    series: usize,
    /// Of the baseline over itself.
    twice: bool,
    bound: JudgedBy,
    ratio: f64,
    interval: Option<Interval>,
    told: String,
}

const ROW: f64 = 26.0;

/// The section with its one figure.
pub(super) fn section(view: &View) -> Section {
    let rows = rows(view);
    let latest = view.summary.sessions.last();
    let smallest = latest.map_or(SMALLEST_EFFECT, |s| s.smallest_effect);
    let figures = if rows.is_empty() {
        Err(view.language.say(words::NO_COMPARISON).to_owned())
    } else {
        Ok(vec![figure(view.language, smallest, &rows)])
    };
    Section {
        title: words::SPEED_UPS,
        name: "speed_up",
        narrow: false,
        figures,
    }
}

fn rows(view: &View) -> Vec<Row> {
    let mut rows = Vec::new();
    for group in view.groups() {
        let mut here: Vec<Row> = Vec::new();
        for cell in &group.cells {
            let Some(comparison) = &cell.comparison else {
                continue;
            };
            let Some(estimate) = comparison.estimate.or(comparison.bound) else {
                continue;
            };
            here.push(Row::Ratio(Ratio {
                label: cell.precision_label.clone(),
                series: view.series(&cell.precision),
                twice: false,
                bound: comparison.judged_by,
                ratio: estimate.ratio,
                interval: estimate.interval,
                told: told(&estimate, comparison.judged_by, view.smallest_effect(cell)),
            }));
        }
        let first = group.cells[0];
        let twice =
            view.summary.calibrations.iter().filter(|c| {
                c.model == first.model && c.mode == first.mode && c.point == first.point
            });
        here.extend(twice.map(|row| {
            let estimate = row.resolution.estimate;
            Row::Ratio(Ratio {
                label: view.language.say(words::TWICE).to_owned(),
                series: 0,
                twice: true,
                bound: JudgedBy::Throughput,
                ratio: estimate.ratio,
                interval: estimate.interval,
                told: told(&estimate, JudgedBy::Throughput, view.smallest_effect(first)),
            })
        }));
        if !here.is_empty() {
            rows.push(Row::Heading(group.title));
            rows.extend(here);
        }
    }
    for row in &view.summary.geometric_means {
        let models = row.mean.models.to_string();
        let mut heading = view.language.fill(words::ALL_MODELS, &[&models]);
        if let Some(point) = row.point {
            heading = format!("{heading} ({point})");
        }
        let estimate = Estimate {
            ratio: row.mean.ratio,
            blocks: row.mean.models,
            sd_log: None,
            interval: row.mean.interval,
        };
        let known = rows
            .iter()
            .any(|row| matches!(row, Row::Heading(h) if *h == heading));
        if !known {
            rows.push(Row::Heading(heading));
        }
        rows.push(Row::Ratio(Ratio {
            label: row.precision_label.clone(),
            series: view.series(&row.precision),
            twice: false,
            bound: JudgedBy::Throughput,
            ratio: estimate.ratio,
            interval: estimate.interval,
            told: told(&estimate, JudgedBy::Throughput, SMALLEST_EFFECT),
        }));
    }
    rows
}

/// The ratio in figures, as tables have it.
fn told(estimate: &Estimate, by: JudgedBy, smallest_effect: f64) -> String {
    let words = RatioWords::of(estimate, smallest_effect);
    let sign = match by {
        JudgedBy::AtLeast => ">= ",
        JudgedBy::AtMost => "<= ",
        JudgedBy::Throughput | JudgedBy::Latency => "",
    };
    match estimate.interval {
        Some(_) => format!("{sign}{}x ({})", words.ratio, words.interval),
        None => format!("{sign}{}x", words.ratio),
    }
}

/// Ends of the axis: all ratios and intervals, but no interval so wide that the others cannot be told apart.
fn extent(rows: &[Row]) -> (f64, f64) {
    let ratios = || {
        rows.iter().filter_map(|row| match row {
            Row::Ratio(ratio) => Some(ratio),
            Row::Heading(_) => None,
        })
    };
    let least = ratios().map(|r| r.ratio).fold(1.0, f64::min);
    let most = ratios().map(|r| r.ratio).fold(1.0, f64::max);
    let ends = ratios().filter_map(|r| r.interval);
    let low = ends.clone().map(|i| i.low).fold(least.min(0.95), f64::min);
    let high = ends.map(|i| i.high).fold(most.max(1.05), f64::max);
    (low.max(least / 2.0) * 0.98, high.min(most * 2.0) * 1.02)
}

/// Two result sets: NEW over BASE, cell by cell. Absent without a ratio.
pub(super) fn of_sets(comparison: &SetComparison, language: Language) -> Option<Figure> {
    let smallest = comparison.smallest_effect;
    let rows = comparison.rows.iter().filter_map(|row| {
        let estimate = row.speed_up.or(row.bound)?;
        Some(Row::Ratio(Ratio {
            label: row.key.to_string(),
            series: 0,
            twice: false,
            bound: row.judged_by,
            ratio: estimate.ratio,
            interval: estimate.interval,
            told: told(&estimate, row.judged_by, smallest),
        }))
    });
    let rows: Vec<Row> = rows.collect();
    (!rows.is_empty()).then(|| figure(language, smallest, &rows))
}

fn figure(language: Language, smallest: f64, rows: &[Row]) -> Figure {
    let texts = |of: fn(&Ratio) -> &str| {
        rows.iter().fold(0.0, |widest: f64, row| match row {
            Row::Ratio(ratio) => widest.max(width(of(ratio))),
            Row::Heading(_) => widest,
        })
    };
    let margins = Margins {
        left: texts(|r| &r.label) + 34.0,
        right: texts(|r| &r.told) + 22.0,
        bottom: 42.0,
    };
    let (low, high) = extent(rows);
    let scale = Scale::log(low, high);
    let height = ROW * rows.len() as f64 + 60.0;
    let mut drawing = Drawing::new(
        (1060.0, height),
        margins,
        &[],
        scale,
        Scale::linear(0.0, 1.0),
    );
    let (from, to) = (drawing.x(1.0 / (1.0 + smallest)), drawing.x(1.0 + smallest));
    let (top, bottom) = (drawing.top, drawing.bottom);
    let tip = format!("{:.3}x - {:.3}x", 1.0 / (1.0 + smallest), 1.0 + smallest);
    drawing.rect((from, top), (to - from, bottom - top), "band", &tip);
    let ticks: Vec<_> = scale
        .ticks(9)
        .into_iter()
        .map(|t| (t, format!("{}x", tick_label(t))))
        .collect();
    drawing.x_axis(&ticks, language.say(words::SPEED_AXIS));
    drawing.line((drawing.x(1.0), top), (drawing.x(1.0), bottom), "axis");
    let mut y = top + ROW / 2.0;
    for row in rows {
        match row {
            Row::Heading(title) => drawing.text((8.0, y + 4.0), Anchor::Start, "strong", title),
            Row::Ratio(ratio) => draw(&mut drawing, ratio, y, (low, high)),
        }
        y += ROW;
    }
    Figure {
        title: language.say(words::SPEED_UP).to_owned(),
        caption: language.say(words::SPEED_UP_TOLD).to_owned(),
        drawing,
        numbers: numbers(rows),
    }
}

fn draw(drawing: &mut Drawing, row: &Ratio, y: f64, (low, high): (f64, f64)) {
    let class = if row.twice {
        format!("s{} d2 plain", row.series)
    } else {
        format!(
            "{} thick",
            stroke(row.series).split(' ').next().unwrap_or_default()
        )
    };
    if let Some(interval) = row.interval {
        let (from, to) = (drawing.x(interval.low), drawing.x(interval.high));
        drawing.line((from, y), (to, y), &class);
        for (x, end) in [(from, interval.low), (to, interval.high)] {
            if (low..=high).contains(&end) {
                drawing.line((x, y - 5.0), (x, y + 5.0), &class);
            } else {
                arrow(
                    drawing,
                    (x, y),
                    if end < low { -1.0 } else { 1.0 },
                    row.series,
                );
            }
        }
    }
    let at = (drawing.x(row.ratio), y);
    match row.bound {
        JudgedBy::AtLeast => arrow(drawing, (at.0 + 16.0, y), 1.0, row.series),
        JudgedBy::AtMost => arrow(drawing, (at.0 - 16.0, y), -1.0, row.series),
        JudgedBy::Throughput | JudgedBy::Latency => {}
    }
    let shape = if row.twice { "hollow" } else { "" };
    drawing.mark(at, row.series, 5.5, shape, &row.told);
    let dim = if row.twice { "dim" } else { "" };
    let (left, right) = (drawing.left, drawing.right);
    drawing.text((left - 12.0, y + 4.0), Anchor::End, dim, &row.label);
    drawing.text((right + 10.0, y + 4.0), Anchor::Start, dim, &row.told);
}

/// A head that says that it goes on that way.
fn arrow(drawing: &mut Drawing, (x, y): (f64, f64), way: f64, series: usize) {
    let class = format!(
        "{} thick",
        stroke(series).split(' ').next().unwrap_or_default()
    );
    drawing.line((x - 6.0 * way, y - 4.5), (x, y), &class);
    drawing.line((x - 6.0 * way, y + 4.5), (x, y), &class);
    drawing.rect((x - 0.4, y - 0.4), (0.8, 0.8), &fill(series), "");
}

fn numbers(rows: &[Row]) -> Table {
    let mut of = String::new();
    let mut cells = Vec::new();
    for row in rows {
        match row {
            Row::Heading(title) => title.clone_into(&mut of),
            Row::Ratio(ratio) => {
                let end = |of: fn(&Interval) -> f64| {
                    ratio
                        .interval
                        .as_ref()
                        .map_or(NONE.to_owned(), |i| format!("{:.3}", of(i)))
                };
                cells.push(vec![
                    of.clone(),
                    ratio.label.clone(),
                    format!("{:.3}", ratio.ratio),
                    end(|i| i.low),
                    end(|i| i.high),
                ]);
            }
        }
    }
    Table {
        labels: 2,
        header: ["Model", "Precision", "Speed-up", "low", "high"]
            .map(str::to_owned)
            .to_vec(),
        rows: cells,
    }
}
