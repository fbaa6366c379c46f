//! `rollbench profile DIR|FILE... [--against DIR]`: where the time of a decode step went, and why another precision's is
//! shorter or longer.

use std::path::{Path, PathBuf};

use crate::error::{CommandError, Exit, PathError};
use crate::output;
use crate::profile::{self, Digest, Measured, Profiles, Rules};
use crate::record::{CellRecord, Found, RESULTS, read_results};
use crate::report::{Format, ProfileReport, render_profile};
use crate::stats::decode_iterations_ns;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Options {
    /// What is read.
    pub(crate) paths: Vec<PathBuf>,
    /// What it is compared with.
    pub(crate) against: Option<PathBuf>,
    /// Rules to be tried before the built-in ones.
    pub(crate) rules: Option<PathBuf>,
    /// Kernels to list.
    pub(crate) top: usize,
}

/// Exit 1 if something there could not be read whole, 3 if there is no profile in it.
pub(crate) fn run(options: &Options, format: Format) -> Result<Exit, CommandError> {
    let rules = rules(options.rules.as_deref())?;
    let mut read = Profiles::default();
    for path in &options.paths {
        let mut one = profiles(path, &rules)?;
        read.digests.append(&mut one.digests);
        read.notes.append(&mut one.notes);
    }
    let against = options
        .against
        .as_deref()
        .map(|path| profiles(path, &rules))
        .transpose()?;
    let explanation = match (&against, &options.against) {
        (Some(base), Some(path)) => {
            let measured = measured((path, &base.digests), (&options.paths[0], &read.digests));
            let made = profile::explain(&base.digests, &read.digests, measured, &rules);
            Some(made.ok_or_else(nothing_to_compare)?)
        }
        _ => None,
    };
    let base = against.unwrap_or_default();
    let whole = read.notes.is_empty() && base.notes.is_empty();
    for note in base.notes.iter().chain(&read.notes) {
        output::note(note);
    }
    let report = ProfileReport {
        base: base.digests,
        profiles: read.digests,
        explanation,
        top: options.top,
    };
    let shown = render_profile(&report, format).map_err(anyhow::Error::from)?;
    output::data(&shown)?;
    Ok(if whole { Exit::Done } else { Exit::Partial })
}

fn nothing_to_compare() -> CommandError {
    CommandError::environment(
        "one of the two has no decode steps that can be told apart: there is nothing to compare",
    )
    .hint("`rollbench profile` on each alone shows what it holds")
}

/// What the measured steps beside two profile folders of rollbench say of the same batch; absent for anybody else's.
fn measured(base: (&Path, &[Digest]), other: (&Path, &[Digest])) -> Option<Measured> {
    let iterations = |(path, digests): (&Path, &[Digest])| {
        let batch = digests
            .iter()
            .find_map(|digest| digest.decode.as_ref()?.batch)?;
        Some(decode_iterations_ns(&record_of(path)?, batch))
    };
    Measured::of(&iterations(base)?, &iterations(other)?)
}

/// The record of the cell whose folder in `benchmark_profiles/` this is.
fn record_of(profile: &Path) -> Option<CellRecord> {
    let folder = std::path::absolute(profile).ok()?;
    let name = folder.file_name()?.to_str()?;
    let results = folder.parent()?.parent()?.join(RESULTS);
    let (found, _) = read_results(&results, |found| match found {
        Found::Record(record) => Some(*record),
        Found::Foreign(_) => None,
    })
    .ok()?;
    let of_cell = |record: &CellRecord| {
        let rest = name.strip_prefix(&record.cell.id.to_string());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    // Ids may hold dots too: the longest is meant.
    let cells = found.into_iter().flatten().filter(of_cell);
    cells.max_by_key(|record| record.cell.id.to_string().len())
}

fn rules(own: Option<&Path>) -> Result<Rules, CommandError> {
    let text = own
        .map(|path| {
            std::fs::read_to_string(path).map_err(|source| {
                CommandError::new(Exit::Usage, PathError::on("read", path)(source))
            })
        })
        .transpose()?;
    Rules::new(text.as_deref()).map_err(|error| {
        let named = own.map_or_else(String::new, |path| format!("{}: ", path.display()));
        CommandError::usage(format!("{named}{error}"))
    })
}

fn profiles(path: &Path, rules: &Rules) -> Result<Profiles, CommandError> {
    let read = profile::read(path, rules).map_err(|source| {
        CommandError::new(Exit::Environment, PathError::on("read", path)(source))
    })?;
    if read.digests.is_empty() {
        for note in &read.notes {
            output::note(note);
        }
        return Err(CommandError::environment(format!("there is no profile in {}", path.display())).hint(
            "a profile is a Chrome trace of kernels (*.pt.trace.json, plain or gzip) or Ascend's \
             ASCEND_PROFILER_OUTPUT; an empty folder mostly means that the profiler was not configured when the engine \
             started, or was never stopped (docs/profile.md lists the causes)",
        ));
    }
    Ok(read)
}
