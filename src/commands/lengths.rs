//! `--lengths-from`: files of observed lengths; where they hold only texts, the checkpoint's tokenizer counts.

use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::common;
use crate::config::declared::LENGTHS_FROM;
use crate::config::{Given, LoadRequest, Settings};
use crate::error::{CommandError, Exit, PathError};
use crate::output::note;
use crate::workload::{DumpError, Observation, Observed, observed, parse_dump};

const COUNTER: &str = include_str!("count_tokens.py");

/// Reads all files of `--lengths-from` as one distribution. Absent without the flag, and where there are texts whose
/// tokens are to be counted: that takes an engine's Python, so [`count`] does it when a run begins.
pub(crate) fn read(request: &LoadRequest) -> Result<Option<Observed>, CommandError> {
    let files = files(&request.flags);
    if files.is_empty() {
        return Ok(None);
    }
    let observations = observations(&request.cwd, &files)?;
    if observations.iter().any(Observation::has_text) {
        return Ok(None);
    }
    observed(&observations, &names(&files), |_| Ok(Vec::new()))
        .map(Some)
        .map_err(usage)
}

/// Counts the texts of `--lengths-from` with the tokenizer of the first cell that would run; absent if there are none.
pub(crate) fn count(
    settings: &Settings,
    request: &LoadRequest,
    python: &Path,
) -> Result<Option<Observed>, CommandError> {
    if !settings.uncounted {
        return Ok(None);
    }
    let files = files(&request.flags);
    let observations = observations(&request.cwd, &files)?;
    let plan = common::plan(settings.clone(), request)?;
    let tokenizer = plan
        .runs()
        .find_map(|cell| {
            let named = cell
                .args
                .get("tokenizer")
                .or_else(|| cell.args.get("model"))?;
            named.value.as_str().map(PathBuf::from)
        })
        .ok_or_else(|| {
            CommandError::environment(
                "no cell would run, so there is no tokenizer to count the texts with",
            )
            .hint("`rollbench plan` says why each cell is skipped")
        })?;
    counted(&observations, &files, |texts| {
        count_with(python, &tokenizer, texts)
    })
    .map(Some)
}

/// One distribution of observations whose texts `count` counts.
fn counted(
    observations: &[Observation],
    files: &[PathBuf],
    count: impl FnOnce(&[&str]) -> Result<Vec<u32>, CommandError>,
) -> Result<Observed, CommandError> {
    let mut failure = None;
    let found = observed(observations, &names(files), |texts| {
        count(texts).map_err(|error| {
            let message = error.error.to_string();
            failure = Some(error);
            message
        })
    });
    // The command's own failure has the better exit code and hints.
    found.map_err(|error| failure.unwrap_or_else(|| usage(error)))
}

fn files(flags: &Given) -> Vec<PathBuf> {
    let files = flags.texts(&LENGTHS_FROM.declaration).iter();
    files.map(PathBuf::from).collect()
}

/// The same without a configuration: where the files hold only texts, `python` (or `managed`) counts with `tokenizer`.
pub(crate) fn read_for(
    flags: &Given,
    python: &str,
    tokenizer: Option<&Path>,
) -> Result<Option<Observed>, CommandError> {
    let files = files(flags);
    if files.is_empty() {
        return Ok(None);
    }
    let observations = observations(Path::new(""), &files)?;
    counted(&observations, &files, |texts| match tokenizer {
        Some(tokenizer) => count_with(&common::python_named(python)?, tokenizer, texts),
        None => Err(CommandError::environment(
            "these files hold texts, and no record there names a tokenizer to count them with",
        )
        .hint("give a file with lengths instead of texts, one number a line")),
    })
    .map(Some)
}

fn names(files: &[PathBuf]) -> String {
    let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    names.join(", ")
}

fn observations(base: &Path, files: &[PathBuf]) -> Result<Vec<Observation>, CommandError> {
    let mut observations = Vec::new();
    for file in files {
        let path = base.join(file);
        let bytes = std::fs::read(&path).map_err(|source| {
            CommandError::new(Exit::Usage, PathError::on("read", &path)(source))
                .hint("--lengths-from takes files: verl's {step}.jsonl, a column of numbers, or ShareGPT-like JSON")
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            CommandError::usage(format!("{} is not UTF-8 (at byte {at})", file.display()))
        })?;
        observations.extend(parse_dump(&file.display().to_string(), &text).map_err(usage)?);
    }
    Ok(observations)
}

fn usage(error: DumpError) -> CommandError {
    CommandError::new(Exit::Usage, error)
}

fn count_with(python: &Path, tokenizer: &Path, texts: &[&str]) -> Result<Vec<u32>, CommandError> {
    note(format_args!(
        "counting the tokens of {} texts with {}",
        texts.len(),
        tokenizer.display()
    ));
    run_counter(python, tokenizer, texts).map_err(|why| {
        CommandError::environment(format!(
            "the tokenizer of {} cannot count: {why}",
            tokenizer.display()
        ))
        .hint("give a file with lengths instead of texts, one number a line")
    })
}

fn run_counter(python: &Path, tokenizer: &Path, texts: &[&str]) -> Result<Vec<u32>, String> {
    let mut input = tempfile::tempfile().map_err(|e| format!("no temporary file: {e}"))?;
    let written = serde_json::to_vec(texts)
        .map_err(std::io::Error::other)
        .and_then(|json| input.write_all(&json))
        .and_then(|()| input.rewind());
    written.map_err(|e| format!("the temporary file cannot be written: {e}"))?;
    let output = Command::new(python)
        .args(["-c", COUNTER])
        .arg(tokenizer)
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .map_err(|e| format!("{} cannot be started: {e}", python.display()))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(told
            .lines()
            .last()
            .unwrap_or("it failed without a word")
            .to_owned());
    }
    let told = String::from_utf8_lossy(&output.stdout);
    // Libraries may print before it.
    let counts = told
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("counts "));
    let counts = counts.ok_or("it printed no counts")?;
    serde_json::from_str(counts).map_err(|e| format!("it printed no counts: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Python that is a shell script, so that no library is needed.
    fn script(body: &str) -> (tempfile::TempDir, PathBuf) {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("python");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (dir, path)
    }

    #[test]
    fn counts_come_back_past_chatter() {
        let (_dir, python) = script("cat >/dev/null; echo hello; echo 'counts [3, 1]'");
        assert_eq!(
            run_counter(&python, Path::new("/m"), &["a b c", "d"]),
            Ok(vec![3, 1])
        );
    }

    #[test]
    fn a_tokenizer_that_cannot_load_says_why() {
        let (_dir, python) =
            script("echo 'Traceback' >&2; echo 'OSError: no tokenizer in /m' >&2; exit 1");
        let error = run_counter(&python, Path::new("/m"), &["a"]).expect_err("fails");
        assert_eq!(error, "OSError: no tokenizer in /m");
        let error = run_counter(Path::new("/nowhere/python"), Path::new("/m"), &["a"]);
        assert!(error.expect_err("fails").contains("cannot be started"));
    }
}
