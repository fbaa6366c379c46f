//! What is said over cells and models: calibrations, geometric means, drift, the whole training step.

use super::derive::DerivedCell;
use super::model::{CalibrationRow, GeometricMeanRow, Note, Summary, TrainingStepRow};
use crate::record::Point;
use crate::stats::net::{StepTime, net_effect};
use crate::stats::{drift, geometric_mean};
use crate::units::{Mode, PrecisionId};

/// The calibrations of all models that have one.
pub(super) fn calibrations(cells: &[DerivedCell]) -> Vec<CalibrationRow> {
    let row = |cell: &DerivedCell| {
        let resolution = cell.resolution()?;
        Some(CalibrationRow {
            model: cell.row.model.clone(),
            mode: cell.row.mode,
            point: cell.row.point,
            model_label: cell.row.model_label.clone(),
            resolution,
            sentence: resolution.sentence(),
        })
    };
    cells.iter().filter_map(row).collect()
}

/// Each precision over the models in which something may be said of it, in the order of the cells.
pub(super) fn geometric_means(cells: &[DerivedCell]) -> Vec<GeometricMeanRow> {
    let mut seen: Vec<(Mode, Option<Point>, &PrecisionId)> = Vec::new();
    let mut rows = Vec::new();
    for cell in cells {
        let which = (cell.row.mode, cell.row.point, &cell.row.precision);
        if seen.contains(&which) {
            continue;
        }
        seen.push(which);
        let judged: Vec<_> = cells
            .iter()
            .filter(|c| (c.row.mode, c.row.point, &c.row.precision) == which)
            .filter_map(|c| Some((c, c.row.comparison.as_ref()?)))
            .filter(|(_, c)| c.verdict.as_ref().is_some_and(|v| v.judgement.is_some()))
            .filter_map(|(cell, c)| Some((cell.conditions.across_models(), c.estimate?)))
            .collect();
        // A mean over models that were asked for different things is of nothing.
        let alike = judged
            .iter()
            .all(|(conditions, _)| conditions.unlike(&judged[0].0).is_empty());
        let estimates: Vec<_> = judged.iter().map(|(_, estimate)| *estimate).collect();
        rows.extend(
            alike
                .then(|| geometric_mean(&estimates))
                .flatten()
                .map(|mean| GeometricMeanRow {
                    precision: cell.row.precision.clone(),
                    mode: cell.row.mode,
                    point: cell.row.point,
                    precision_label: cell.row.precision_label.clone(),
                    mean,
                }),
        );
    }
    rows
}

/// A note for each model whose makespans went one way over the blocks of a session.
pub(super) fn drifts(cells: &[DerivedCell]) -> Vec<Note> {
    let together = |a: &DerivedCell, b: &DerivedCell| {
        (&a.row.model, a.row.mode, a.row.point, &a.session.id)
            == (&b.row.model, b.row.mode, b.row.point, &b.session.id)
    };
    let of_model = |cells: &[DerivedCell]| {
        let logs: Vec<Vec<f64>> = cells
            .iter()
            .filter(|cell| !cell.performance.blocks.is_empty())
            .map(|cell| {
                cell.performance
                    .blocks
                    .iter()
                    .map(|b| b.mean_ln_makespan)
                    .collect()
            })
            .collect();
        let drift = drift(&logs).filter(|drift| drift.warn)?;
        Some(Note {
            text: format!(
                "{}: makespans changed by {:+.1} % from block to block (p = {:.1e}). That cancels in the speed-ups, which \
                 are of one block each, and not in the throughputs.",
                cells[0].row.of_model(),
                100.0 * drift.per_block_log.exp_m1(),
                drift.p
            ),
            command: None,
        })
    };
    cells.chunk_by(together).filter_map(of_model).collect()
}

impl Summary {
    /// Adds a remark on the whole.
    #[must_use]
    pub(crate) fn with_note(mut self, text: String) -> Self {
        let command = None;
        self.notes.push(Note { text, command });
        self
    }

    /// Adds what the speed-ups mean for a training step that takes these times.
    #[must_use]
    pub fn with_step_time(mut self, times: StepTime) -> Self {
        self.training_step = self
            .cells
            .iter()
            .filter_map(|cell| {
                let comparison = cell.comparison.as_ref()?;
                // No claim about the rollout, none about the step.
                comparison.verdict.as_ref()?.judgement?;
                let effect = net_effect(times, &comparison.estimate?);
                Some(TrainingStepRow {
                    model: cell.model.clone(),
                    precision: cell.precision.clone(),
                    mode: cell.mode,
                    point: cell.point,
                    times,
                    effect,
                    sentence: effect.sentence(&cell.title(), times),
                })
            })
            .collect();
        self
    }
}
