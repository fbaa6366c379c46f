//! `rollbench summarize DIR`: renders the records of a folder again. Never measures, never changes a record.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use crate::error::{CommandError, Exit, PathError};
use crate::output;
use crate::record::results_dir;
use crate::report::{self, Format};

/// What to summarise, and how to show it.
#[derive(Debug, Clone)]
pub(crate) struct Arguments {
    /// The folder that was given as `--out`, or its `benchmark_results`.
    pub(crate) dir: PathBuf,
    /// Markdown.
    pub(crate) markdown: bool,
    /// CSV.
    pub(crate) csv: bool,
    /// JSON.
    pub(crate) json: bool,
}

/// Exit 1 if a file had to be passed over, 3 if there is no such folder. Data goes to stdout, the rest to stderr.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, CommandError> {
    let results = results_dir(&arguments.dir);
    let summary = report::read(&results).map_err(|error| {
        CommandError::new(Exit::Environment, error)
            .hint("give the folder that a run wrote to (its --out, or benchmark_results in it)")
    })?;
    for file in &summary.passed_over {
        output::note(format_args!("passed over {}: {}", file.file, file.reason));
    }
    if let Err(error) = report::write_all(&results, &summary) {
        output::note(format_args!(
            "the summary's files were not written: {}",
            chain(&error)
        ));
    }
    let format = match arguments {
        Arguments { markdown: true, .. } => Format::Markdown,
        Arguments { csv: true, .. } => Format::Csv,
        Arguments { json: true, .. } => Format::Json,
        _ => Format::Text {
            width: terminal_width(),
        },
    };
    let bytes = report::render(&summary, format).map_err(anyhow::Error::from)?;
    output::data(&String::from_utf8_lossy(&bytes)).map_err(anyhow::Error::from)?;
    Ok(if summary.passed_over.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    })
}

/// The width of the terminal that stdout is; absent if it is none.
pub(crate) fn terminal_width() -> Option<u16> {
    let stdout = std::io::stdout();
    let size = terminal_size::terminal_size_of(&stdout);
    size.filter(|_| stdout.is_terminal())
        .map(|(width, _)| width.0)
}

fn chain(error: &PathError) -> String {
    format!("{error}: {}", error.source)
}
