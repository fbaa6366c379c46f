//! `rollbench compare BASE NEW`: two result folders, cell by cell.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::{CommandError, Exit};
use crate::output;
use crate::record::{CellRecord, Found, read_results, results_dir};
use crate::report::{FidelityRow, Format, fidelity_rows, render_sets};
use crate::stats::compare::{FidelityComparison, NothingInCommon, Rules, compare};
use crate::stats::fidelity::fidelity_gate;
use crate::stats::mismatch::Measured;
use crate::units::CellId;

/// Exit 4 if a cell is slower by more than the threshold; else 1 if a cell of the base set is not measured in the new
/// one, the threshold decides nothing about one, or a file had to be passed over.
pub(crate) fn run(
    base_dir: &Path,
    new_dir: &Path,
    rules: Rules,
    max_kl: Option<f64>,
    format: Format,
) -> Result<Exit, CommandError> {
    let (base, base_whole) = records(base_dir)?;
    let (new, new_whole) = records(new_dir)?;
    let mut comparison = compare(&base, &new, rules).map_err(|nothing| {
        let named = NothingInCommon {
            base: base_dir.display().to_string(),
            new: new_dir.display().to_string(),
            ..nothing
        };
        CommandError::new(Exit::Usage, named)
            .hint("cells match by model id, precision id and mode (offline, online)")
    })?;
    comparison.fidelity = fidelity(base_dir, new_dir, max_kl)?;
    comparison.max_kl = max_kl;
    let shown = render_sets(&comparison, format).map_err(anyhow::Error::from)?;
    output::data(shown.as_bytes())?;
    Ok(if comparison.exceeded() {
        Exit::Threshold
    } else if comparison.lost() || comparison.undecided() || !base_whole || !new_whole {
        Exit::Partial
    } else {
        Exit::Done
    })
}

/// The mismatch of each cell that either folder has measured.
fn fidelity(
    base: &Path,
    new: &Path,
    max_kl: Option<f64>,
) -> Result<Vec<FidelityComparison>, CommandError> {
    let excesses = |dir: &Path| -> Result<BTreeMap<CellId, Measured>, CommandError> {
        let (rows, _) = fidelity_rows(&results_dir(dir))
            .map_err(|error| CommandError::new(Exit::Environment, error))?;
        let excess = |row: FidelityRow| Some((row.cell_id(), row.numbers?.excess));
        Ok(rows.into_iter().filter_map(excess).collect())
    };
    let (base, new) = (excesses(base)?, excesses(new)?);
    let cells: BTreeSet<&CellId> = base.keys().chain(new.keys()).collect();
    let row = |cell: &CellId| FidelityComparison {
        cell: cell.clone(),
        base: base.get(cell).copied(),
        new: new.get(cell).copied(),
        gate: max_kl.map(|limit| fidelity_gate(new.get(cell), limit)),
    };
    Ok(cells.into_iter().map(row).collect())
}

/// The records of a folder, and whether none of its files was passed over.
fn records(dir: &Path) -> Result<(Vec<CellRecord>, bool), CommandError> {
    let results = results_dir(dir);
    let (found, passed_over) = read_results(&results, |found| match found {
        Found::Record(record) => Some(*record),
        Found::Foreign(_) => None,
    })
    .map_err(|error| {
        CommandError::new(Exit::Environment, error)
            .hint("give the folder that a run wrote to (its --out, or benchmark_results in it)")
    })?;
    for file in &passed_over {
        output::note(format_args!(
            "passed over {}: {}",
            results.join(&file.file).display(),
            file.reason
        ));
    }
    Ok((
        found.into_iter().flatten().collect(),
        passed_over.is_empty(),
    ))
}
