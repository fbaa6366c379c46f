//! `rollbench summarize DIR`: renders the records of a folder again. Never measures, never changes a record.

use std::path::Path;

use crate::error::{CommandError, Exit, PathError};
use crate::output::{self, note};
use crate::record::results_dir;
use crate::report::{self, Format, Summary};
use crate::stats::net::StepTime;

/// Summarises `dir`: the folder that was given as `--out`, or its `benchmark_results`. Exit 1 if a file had to be passed
/// over, 3 if there is no such folder.
///
/// With `step_time`, the summary also says what the speed-ups mean for a training step of these times.
pub(crate) fn run(
    dir: &Path,
    format: Format,
    step_time: Option<&str>,
) -> Result<Exit, CommandError> {
    let times = step_time.map(self::step_time).transpose()?;
    show_with(&results_dir(dir), format, times)
}

/// `gen=100,rest=60`, or the name of a log.
fn step_time(text: &str) -> Result<StepTime, CommandError> {
    let parsed = if text.contains('=') {
        text.parse()
    } else {
        let log = std::fs::read(text).map_err(|source| {
            let path = Path::new(text);
            CommandError::new(Exit::Usage, PathError::on("read", path)(source))
                .hint("--step-time takes gen=SECONDS,rest=SECONDS[,sync=SECONDS], or the log of a verl run")
        })?;
        StepTime::from_verl_log(&String::from_utf8_lossy(&log))
    };
    parsed.map_err(|error| CommandError::usage(format!("--step-time: {error}")))
}

/// Reads the records in `results`, writes the summary's files beside them, and shows the summary: data on stdout, the
/// rest on stderr. A folder that cannot be written is no reason not to show it.
pub(crate) fn show(results: &Path, format: Format) -> Result<Exit, CommandError> {
    show_with(results, format, None)
}

/// The same, without showing the summary.
pub(crate) fn write(results: &Path) -> Result<Summary, CommandError> {
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
    Ok(summary)
}

fn show_with(
    results: &Path,
    format: Format,
    times: Option<StepTime>,
) -> Result<Exit, CommandError> {
    let summary = write(results)?;
    // Not in the files: they follow from the records alone.
    let summary = match times {
        Some(times) => summary.with_step_time(times),
        None => summary,
    };
    let bytes = report::render(&summary, format).map_err(anyhow::Error::from)?;
    output::data(&bytes).map_err(anyhow::Error::from)?;
    Ok(if summary.passed_over.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    })
}
