//! `rollbench summarize DIR`: renders the records of a folder again. Never measures, never changes a record.

use std::path::Path;

use crate::error::{CommandError, Exit, PathError};
use crate::output::{self, note};
use crate::record::results_dir;
use crate::report::{self, Format, Language, PAGE, Summary, Written};
use crate::stats::net::{StepTime, StepTimeError};
use crate::verl;

/// Summarises `dir`: the folder that was given as `--out`, or its `benchmark_results`. Exit 1 if a file had to be passed
/// over, a result of another program has no answered request, or there is no result; 3 if there is no such folder.
///
/// Files are written only beside records of rollbench, or with `write`.
///
/// With `figures`, its pictures are written too. With `step_time`, the summary also says what the speed-ups mean for a training step of these times.
pub(crate) fn run(
    dir: &Path,
    format: Format,
    step_time: Option<&str>,
    write: bool,
    figures: Option<Language>,
) -> Result<Exit, CommandError> {
    let times = step_time.map(self::step_time).transpose()?;
    show_with(&results_dir(dir), format, times, write, figures)
}

/// Where generation overlaps training there are none, and the reason is said with the summary.
type Times = Result<StepTime, StepTimeError>;

/// `gen=100,rest=60`, or the name of a log.
fn step_time(text: &str) -> Result<Times, CommandError> {
    let parsed = if text.contains('=') {
        text.parse()
    } else {
        let log = std::fs::read(text).map_err(|source| {
            let path = Path::new(text);
            CommandError::new(Exit::Usage, PathError::on("read", path)(source))
                .hint("--step-time takes gen=SECONDS,rest=SECONDS[,sync=SECONDS], or the log of a verl run")
        })?;
        verl::step_time(&String::from_utf8_lossy(&log))
    };
    match parsed {
        Err(error) if !matches!(error, StepTimeError::Overlapping(_)) => {
            Err(CommandError::usage(format!("--step-time: {error}")))
        }
        times => Ok(times),
    }
}

/// Reads the records in `results`, writes the summary's files beside them, and shows the summary: data on stdout, the
/// rest on stderr. A folder that cannot be written is no reason not to show it.
pub(crate) fn show(results: &Path, format: Format) -> Result<Exit, CommandError> {
    show_with(results, format, None, false, None)
}

/// The same, without showing the summary.
pub(crate) fn write(results: &Path) -> Result<Summary, CommandError> {
    Ok(read_and_write(results, false)?.0)
}

/// The summary, and whether its files are written.
fn read_and_write(results: &Path, asked: bool) -> Result<(Summary, bool), CommandError> {
    let summary = report::read(results).map_err(|error| {
        CommandError::new(Exit::Environment, error)
            .hint("give the folder that a run wrote to (its --out, or benchmark_results in it)")
    })?;
    for file in &summary.passed_over {
        note(format_args!("passed over {}: {}", file.file, file.reason));
    }
    if is_empty(&summary) {
        return Ok((summary, false));
    }
    let written = report::write_all(results, &summary, asked);
    let all = matches!(written, Ok(Written::All));
    match written {
        Ok(Written::All) => {}
        Ok(Written::NotAsked) => note(format_args!(
            "nothing was written: {} holds no record of rollbench (with --write, summary.txt, .md, .csv, .json, .html \
             and steps.csv would go there)",
            results.display()
        )),
        Ok(Written::InTheWay(files)) => note(format_args!(
            "the summary's files were not written: {} in {} is not of rollbench (move it away, or keep what is shown \
             here: --markdown, --csv, --json)",
            files.join(", "),
            results.display()
        )),
        Err(PathError { source, .. }) => note(format_args!(
            "the summary's files were not written to {}: {source}",
            results.display()
        )),
    }
    Ok((summary, all))
}

fn pictures(results: &Path, summary: &Summary, language: Language) -> Result<(), CommandError> {
    match report::write_pictures(results, summary, language) {
        Ok(None) => note(format_args!(
            "wrote {}, and links to it in summary.md",
            results.join("figures").display()
        )),
        Ok(Some(file)) => note(format_args!(
            "no picture was written: {file} in {} is not of rollbench (move it away)",
            results.join("figures").display()
        )),
        Err(error) => return Err(CommandError::new(Exit::Environment, error)),
    }
    Ok(())
}

fn is_empty(summary: &Summary) -> bool {
    summary.cells.is_empty() && summary.imported.is_empty()
}

fn show_with(
    results: &Path,
    format: Format,
    times: Option<Times>,
    asked: bool,
    figures: Option<Language>,
) -> Result<Exit, CommandError> {
    let (summary, written) = read_and_write(results, asked)?;
    if let Some(language) = figures.filter(|_| written) {
        pictures(results, &summary, language)?;
    }
    // Not in the files: they follow from the records alone.
    let summary = match times {
        Some(Ok(times)) => summary.with_step_time(times),
        Some(Err(overlapping)) => summary.with_note(format!("--step-time: {overlapping}")),
        None => summary,
    };
    let bytes = report::render(&summary, format).map_err(anyhow::Error::from)?;
    if written && matches!(format, Format::Html(_)) {
        report::write_page(results, &bytes)
            .map_err(|error| CommandError::new(Exit::Environment, error))?;
        note(format_args!("wrote {}", results.join(PAGE).display()));
    } else {
        output::data(&bytes)?;
    }
    let failed = summary.imported.iter().any(|row| row.failed_cell);
    Ok(
        if summary.passed_over.is_empty() && !failed && !is_empty(&summary) {
            Exit::Done
        } else {
            Exit::Partial
        },
    )
}
