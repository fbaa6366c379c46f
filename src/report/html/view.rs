//! What every figure starts from: the summary, the language, and which series a precision is.

use super::words::Language;
use crate::report::model::{CellRow, Summary};
use crate::stats::SMALLEST_EFFECT;
use crate::units::{Mode, PrecisionId};

/// A summary that is being drawn.
pub(super) struct View<'a> {
    pub(super) summary: &'a Summary,
    pub(super) language: Language,
    precisions: Vec<&'a PrecisionId>,
}

/// Cells that may be compared with each other: a model in one mode at one point.
pub(super) struct Group<'a> {
    /// Model, mode and point.
    pub(super) title: String,
    pub(super) cells: Vec<&'a CellRow>,
}

impl<'a> View<'a> {
    pub(super) fn new(summary: &'a Summary, language: Language) -> Self {
        let mut precisions = Vec::new();
        for cell in &summary.cells {
            if !precisions.contains(&&cell.precision) {
                precisions.push(&cell.precision);
            }
        }
        // Nobody's colour changes with the model that happens to come first.
        precisions.sort_by_key(|precision| {
            let declared = summary.sessions.iter().find_map(|session| {
                let all = &session.matrix.precisions;
                all.iter().position(|known| known == *precision)
            });
            declared.unwrap_or(usize::MAX)
        });
        Self {
            summary,
            language,
            precisions,
        }
    }

    /// The number of a precision's colour, shape and dashes: its place in the declaration.
    pub(super) fn series(&self, precision: &PrecisionId) -> usize {
        let place = self.precisions.iter().position(|known| *known == precision);
        place.unwrap_or_default()
    }

    /// Number and name of each of these cells' series.
    pub(super) fn legend(&self, cells: &[&CellRow]) -> Vec<(usize, String)> {
        let mut legend = Vec::new();
        for cell in cells {
            let entry = (self.series(&cell.precision), cell.precision_label.clone());
            if !legend.contains(&entry) {
                legend.push(entry);
            }
        }
        legend
    }

    pub(super) fn groups(&self) -> Vec<Group<'a>> {
        let mut groups: Vec<Group<'a>> = Vec::new();
        for cell in &self.summary.cells {
            match groups.last_mut() {
                Some(group) if alike(group.cells[0], cell) => group.cells.push(cell),
                _ => groups.push(Group {
                    title: of_group(cell),
                    cells: vec![cell],
                }),
            }
        }
        groups
    }

    /// The smallest effect of interest of the cell's session: 0.02 for 2 %.
    pub(super) fn smallest_effect(&self, cell: &CellRow) -> f64 {
        let session = self.summary.sessions.iter().find(|s| s.id == cell.session);
        session.map_or(SMALLEST_EFFECT, |session| session.smallest_effect)
    }

    /// The label of a cell's baseline.
    pub(super) fn baseline_label(&self, cell: &CellRow) -> String {
        let baseline = cell.comparison.as_ref().map(|c| &c.baseline);
        let row = self.summary.cells.iter().find(|other| {
            (&other.model, other.mode) == (&cell.model, cell.mode)
                && Some(&other.precision) == baseline
        });
        row.map(|row| row.precision_label.clone())
            .or_else(|| baseline.map(ToString::to_string))
            .unwrap_or_default()
    }
}

fn alike(one: &CellRow, other: &CellRow) -> bool {
    (&one.model, one.mode) == (&other.model, other.mode)
        && one.point.unwrap_or_default() == other.point.unwrap_or_default()
}

fn of_group(cell: &CellRow) -> String {
    match (cell.mode, cell.point) {
        (Mode::Online, None) => format!("{} (online)", cell.model_label),
        _ => cell.of_model(),
    }
}
