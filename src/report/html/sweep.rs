//! A model served over the points of a sweep: speed for a user against speed of the device, and latencies by load.

use super::figure::{Figure, Section};
use super::svg::{Anchor, Drawing, Margins, Scale, stroke, tick_label};
use super::view::View;
use super::words;
use crate::record::Point;
use crate::report::document::Table;
use crate::report::figures::number;
use crate::report::model::CellRow;
use crate::stats::{CellMetrics, Distribution, Latency};
use crate::units::{Mode, ModelId};

/// The section: three figures for each model with a sweep.
pub(super) fn section(view: &View) -> Section {
    let mut models: Vec<&ModelId> = Vec::new();
    for cell in view
        .summary
        .cells
        .iter()
        .filter(|cell| cell.mode == Mode::Online)
    {
        if !models.contains(&&cell.model) {
            models.push(&cell.model);
        }
    }
    let figures: Vec<Figure> = models
        .iter()
        .flat_map(|model| of_model(view, model))
        .collect();
    Section {
        title: words::SERVED,
        name: "sweep",
        narrow: true,
        figures: if figures.is_empty() {
            Err(view.language.say(words::NO_SWEEP).to_owned())
        } else {
            Ok(figures)
        },
    }
}

fn of_model(view: &View, model: &ModelId) -> Vec<Figure> {
    let here = |cell: &&CellRow| cell.mode == Mode::Online && cell.model == *model;
    let cells: Vec<&CellRow> = view.summary.cells.iter().filter(here).collect();
    let mut points: Vec<Point> = Vec::new();
    for cell in &cells {
        let point = cell.point.unwrap_or_default();
        if !points.contains(&point) {
            points.push(point);
        }
    }
    if points.len() < 2 {
        return Vec::new();
    }
    let ttft: fn(&Latency) -> Option<Distribution> = |latency| latency.ttft_ms;
    let itl: fn(&Latency) -> Option<Distribution> = |latency| latency.itl_ms;
    let by_load = |name, of| over_points(view, &cells, &points, name, of);
    [
        pareto(view, &cells),
        by_load("TTFT", ttft),
        by_load("ITL", itl),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// `8`, or `2/s`: what was held at the point.
fn short(point: Point) -> String {
    match (point.rate, point.concurrency) {
        (Some(rate), _) => format!("{rate}/s"),
        (None, Some(limit)) => limit.to_string(),
        (None, None) => point.to_string(),
    }
}

/// Tokens per second of one user, and of the device.
fn speeds(metrics: &CellMetrics) -> Option<(f64, f64)> {
    let tpot = metrics.latency.as_ref()?.tpot_ms?.p50;
    let device = metrics
        .output_throughput_per_device
        .unwrap_or(metrics.output_throughput);
    (tpot > 0.0).then_some((1e3 / tpot, device))
}

/// Number, name and values of each precision's cells.
type Lines<'a, T> = Vec<(usize, &'a str, Vec<(Point, T)>)>;

fn lines<'a, T>(
    view: &View,
    cells: &[&'a CellRow],
    of: impl Fn(&CellMetrics) -> Option<T>,
) -> Lines<'a, T> {
    let mut lines: Lines<'a, T> = Vec::new();
    for cell in cells {
        let Some(value) = cell.metrics.as_ref().and_then(&of) else {
            continue;
        };
        let series = view.series(&cell.precision);
        let value = (cell.point.unwrap_or_default(), value);
        match lines.iter_mut().find(|(known, ..)| *known == series) {
            Some((.., values)) => values.push(value),
            None => lines.push((series, &cell.precision_label, vec![value])),
        }
    }
    lines
}

fn pareto(view: &View, cells: &[&CellRow]) -> Option<Figure> {
    let language = view.language;
    let lines = lines(view, cells, speeds);
    let all = || lines.iter().flat_map(|(.., values)| values);
    let fastest = all().map(|(_, (user, _))| *user).reduce(f64::max)?;
    let most = all().map(|(_, (_, device))| *device).fold(0.0, f64::max);
    let (x, y) = (
        Scale::linear(0.0, fastest * 1.12),
        Scale::linear(0.0, most * 1.12),
    );
    let mut drawing = Drawing::new(
        (520.0, 280.0),
        Margins::default(),
        &view.legend(cells),
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
    drawing.x_axis(&ticks(x), language.say(words::USER_AXIS));
    drawing.y_axis(&ticks(y), language.say(words::DEVICE_AXIS));
    let mut rows = Vec::new();
    for (series, label, values) in &lines {
        let places: Vec<(f64, f64)> = values.iter().map(|(_, place)| *place).collect();
        drawing.path(&places, false, &format!("{} plain", stroke(*series)), label);
        for (point, place) in values {
            let at = drawing.at(*place);
            let tip = format!("{label}, {point}: {}, {}", number(place.0), number(place.1));
            drawing.mark(at, *series, 4.0, "", &tip);
            drawing.text(
                (at.0 + 7.0, at.1 - 6.0),
                Anchor::Start,
                "dim",
                &short(*point),
            );
            let speeds = [number(place.0), number(place.1)];
            rows.push(
                [
                    vec![(*label).to_owned(), point.to_string()],
                    speeds.to_vec(),
                ]
                .concat(),
            );
        }
    }
    Some(Figure {
        title: language.fill(words::PARETO_OF, &[&cells.first()?.model_label]),
        caption: language.say(words::PARETO_TOLD).to_owned(),
        drawing,
        numbers: Table {
            labels: 2,
            header: ["Precision", "Sent", "tok/s/user", "tok/s/device"]
                .map(str::to_owned)
                .to_vec(),
            rows,
        },
    })
}

/// A latency's median and 99th percentile over the points.
fn over_points(
    view: &View,
    cells: &[&CellRow],
    points: &[Point],
    name: &str,
    of: fn(&Latency) -> Option<Distribution>,
) -> Option<Figure> {
    // A chunk read together with the one before it came after 0 ms: a logarithm has no place for that.
    const LEAST_MS: f64 = 0.01;
    let language = view.language;
    let lines = lines(view, cells, |metrics| of(metrics.latency.as_ref()?));
    let all = || lines.iter().flat_map(|(.., values)| values);
    let least = all()
        .map(|(_, d)| d.p50.min(d.p99))
        .reduce(f64::min)?
        .max(LEAST_MS);
    let most = all().map(|(_, d)| d.p50.max(d.p99)).fold(least, f64::max);
    let y = Scale::log(least * 0.8, most * 1.25);
    let x = Scale::linear(0.0, points.len() as f64);
    let mut drawing = Drawing::new(
        (520.0, 280.0),
        Margins::default(),
        &view.legend(cells),
        x,
        y,
    );
    let ticks: Vec<_> = y.ticks(7).into_iter().map(|t| (t, tick_label(t))).collect();
    drawing.y_axis(&ticks, language.fill(words::MS_AXIS, &[name]).as_str());
    drawing.baseline(language.say(words::POINT_AXIS));
    for (place, point) in points.iter().enumerate() {
        let at = (drawing.x(place as f64 + 0.5), drawing.bottom + 15.0);
        drawing.text(at, Anchor::Middle, "dim", &short(*point));
    }
    let mut rows = Vec::new();
    for (series, label, values) in &lines {
        let curve = |of: fn(&Distribution) -> f64| -> Vec<(f64, f64)> {
            let places = values.iter().filter_map(|(point, distribution)| {
                let place = points.iter().position(|known| known == point)?;
                Some((place as f64 + 0.5, of(distribution)))
            });
            places.collect()
        };
        let colour = stroke(*series);
        drawing.path(
            &curve(|d| d.p99),
            false,
            &format!("{colour} plain half"),
            label,
        );
        drawing.path(&curve(|d| d.p50), false, &format!("{colour} thick"), label);
        for place in curve(|d| d.p50) {
            let tip = format!("{label}: {} ms", number(place.1));
            drawing.mark(drawing.at(place), *series, 3.5, "", &tip);
        }
        for (point, d) in values {
            let numbers = [number(d.p50), number(d.p99)];
            rows.push(
                [
                    vec![(*label).to_owned(), point.to_string()],
                    numbers.to_vec(),
                ]
                .concat(),
            );
        }
    }
    Some(Figure {
        title: language.fill(words::LATENCY_OF, &[name, &cells.first()?.model_label]),
        caption: language.say(words::LATENCY_TOLD).to_owned(),
        drawing,
        numbers: Table {
            labels: 2,
            header: ["Precision", "Sent", "p50 ms", "p99 ms"]
                .map(str::to_owned)
                .to_vec(),
            rows,
        },
    })
}
