//! `rollbench compare BASE NEW`: two result folders, cell by cell.

use std::path::Path;

use crate::error::{CommandError, Exit};
use crate::output;
use crate::record::{CellRecord, Found, read_results, results_dir};
use crate::report::{Format, render_sets};
use crate::stats::compare::{NothingInCommon, Rules, compare};

/// Exit 4 if a cell is slower by more than the threshold; else 1 if a cell of the base set is not measured in the new
/// one, the threshold decides nothing about one, or a file had to be passed over.
pub(crate) fn run(
    base_dir: &Path,
    new_dir: &Path,
    rules: Rules,
    format: Format,
) -> Result<Exit, CommandError> {
    let (base, base_whole) = records(base_dir)?;
    let (new, new_whole) = records(new_dir)?;
    let comparison = compare(&base, &new, rules).map_err(|nothing| {
        let named = NothingInCommon {
            base: base_dir.display().to_string(),
            new: new_dir.display().to_string(),
            ..nothing
        };
        CommandError::new(Exit::Usage, named)
            .hint("cells match by model id, precision id and mode (offline, online)")
    })?;
    let shown = render_sets(&comparison, format).map_err(anyhow::Error::from)?;
    output::data(shown.as_bytes()).map_err(anyhow::Error::from)?;
    Ok(if comparison.exceeded() {
        Exit::Threshold
    } else if comparison.lost() || comparison.undecided() || !base_whole || !new_whole {
        Exit::Partial
    } else {
        Exit::Done
    })
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
