//! Predicted makespans and speed-ups, in several formats.

use serde::Serialize;

use super::document::{Section, Table, list, table, words};
use super::figures::{NONE, number, or_none, percent};
use super::unlike::not_compared;
use super::write::Format;
use super::{json, markdown, text};
use crate::record::Unlike;
use crate::stats::{Estimate, RatioWords};
use crate::units::{CellId, Mode};
use crate::workload::{Description, WorkloadSpec};

/// A batch that was not run, and how long each cell would take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Prediction {
    /// The batch.
    pub workload: WorkloadSpec,
    /// Its size.
    pub step: Description,
    /// One row a cell, in the order of the summary.
    pub rows: Vec<PredictedRow>,
    /// The smallest effect of interest, 0.02 for 2 %.
    pub smallest_effect: f64,
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PredictedRow {
    /// Model and precision.
    #[serde(flatten)]
    pub cell: CellId,
    /// Offline or online.
    pub mode: Mode,
    /// What tables show.
    pub title: String,
    /// The makespan of the steps that were measured, in seconds; absent without any.
    pub measured_makespan_s: Option<f64>,
    /// The predicted makespan in seconds, with an interval over the engine starts; absent if refused.
    pub makespan_s: Option<Estimate>,
    /// How far the model is from when the sequences of its own steps ended, at the worst moment, relative to the
    /// makespan; absent if refused.
    pub fit_error: Option<f64>,
    /// The predicted speed-up over the model's baseline; absent for the baseline and where one of the two is refused.
    pub speed_up: Option<Estimate>,
    /// The conditions in which it and the baseline were not measured alike: then there is no speed-up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unlike: Vec<Unlike>,
    /// Why there is no prediction; absent if there is one.
    pub refusal: Option<String>,
}

/// The prediction as text, Markdown or (in every other format) JSON.
pub(crate) fn render_prediction(
    prediction: &Prediction,
    format: Format,
) -> std::io::Result<String> {
    Ok(match format {
        Format::Text { width } => text::text(sections(prediction), width),
        Format::Markdown => markdown::markdown(sections(prediction)),
        Format::Csv | Format::Json | Format::Verl | Format::Html(_) => json::json(prediction)?,
    })
}

fn sections(prediction: &Prediction) -> Vec<Section> {
    let step = &prediction.step;
    let batch = format!(
        "{} sequences of {} prompts: {:.0} tokens in, {:.0} out on average (p90 {:.0}, longest {})",
        step.sequences,
        step.prompts,
        step.prompt.mean,
        step.response.mean,
        step.response.p90,
        step.response.max
    );
    let refused = prediction
        .rows
        .iter()
        .filter_map(|row| Some(format!("{}: {}", row.title, row.refusal.as_ref()?)));
    let mut sections: Vec<Section> = list("A batch that was not run", [batch])
        .into_iter()
        .collect();
    sections.push(table("Predicted", predicted(prediction)));
    sections.extend(list("Not predicted", refused));
    sections.extend(list(
        "What it stands on",
        prediction.rows.iter().any(|r| r.makespan_s.is_some()).then(|| {
            "Costs per iteration, token, context and prompt token, fitted to when sequences ended in the measured steps. \
             The intervals are over engine starts, at 95 %; they do not hold what the model itself misses, which its own \
             steps show in the last column."
                .to_owned()
        }),
    ));
    sections
}

fn predicted(prediction: &Prediction) -> Table {
    let row = |row: &PredictedRow| {
        let (makespan, within) = match row.makespan_s {
            Some(e) => (
                number(e.ratio),
                or_none(e.interval, |i| {
                    format!("{}-{}", number(i.low), number(i.high))
                }),
            ),
            None => (NONE.to_owned(), NONE.to_owned()),
        };
        let (ratio, interval) = if let Some(e) = row.speed_up {
            let words = RatioWords::of(&e, prediction.smallest_effect);
            (format!("{}x", words.ratio), words.interval)
        } else {
            let why = not_compared(&row.unlike).map(|why| format!("not compared: {why}"));
            (or_none(why, |why| why), NONE.to_owned())
        };
        vec![
            row.title.clone(),
            or_none(row.measured_makespan_s, number),
            makespan,
            within,
            ratio,
            interval,
            or_none(row.fit_error, percent),
        ]
    };
    Table {
        labels: 1,
        header: words(&[
            "Cell",
            "Measured s",
            "Predicted s",
            "95 % CI",
            "Speed-up",
            "95 % CI",
            "Own course missed by %",
        ]),
        rows: prediction.rows.iter().map(row).collect(),
    }
}
