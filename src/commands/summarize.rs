//! `rollbench summarize DIR`: renders the records of a folder again. Never measures, never changes a record.

use std::path::Path;

use crate::error::{CommandError, Exit, PathError};
use crate::output::{self, note};
use crate::record::results_dir;
use crate::report::{self, Format};

/// Summarises `dir`: the folder that was given as `--out`, or its `benchmark_results`. Exit 1 if a file had to be passed
/// over, 3 if there is no such folder.
pub(crate) fn run(dir: &Path, format: Format) -> Result<Exit, CommandError> {
    show(&results_dir(dir), format)
}

/// Reads the records in `results`, writes the summary's files beside them, and shows the summary: data on stdout, the
/// rest on stderr. A folder that cannot be written is no reason not to show it.
pub(crate) fn show(results: &Path, format: Format) -> Result<Exit, CommandError> {
    let summary = report::read(results).map_err(|error| {
        CommandError::new(Exit::Environment, error)
            .hint("give the folder that a run wrote to (its --out, or benchmark_results in it)")
    })?;
    for file in &summary.passed_over {
        note(format_args!("passed over {}: {}", file.file, file.reason));
    }
    if let Err(PathError { source, .. }) = report::write_all(results, &summary) {
        note(format_args!(
            "the summary's files were not written to {}: {source}",
            results.display()
        ));
    }
    let bytes = report::render(&summary, format).map_err(anyhow::Error::from)?;
    output::data(&bytes).map_err(anyhow::Error::from)?;
    Ok(if summary.passed_over.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    })
}
