//! What a session left in its folder, once the engine is gone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::profile::{self, Digest, Rules};
use crate::record::{COMPLETE, Profile};

const NOTHING: &str = "the profiler wrote nothing: it recorded no iteration (a delay that is longer than the session, \
    or a vLLM that does not read how it was configured)";
/// The parser of `torch_npu` takes minutes for a few steps.
const ANALYSE: Duration = Duration::from_mins(20);
const ANALYSE_PY: &str =
    "import sys; from torch_npu.profiler.profiler import analyse; analyse(sys.argv[1])";

/// What it holds: read, compressed unless `keep_raw`, and named with its state. `trouble`
/// is what went wrong while it was taken.
pub(super) fn kept(
    dir: &Path,
    python: &Path,
    keep_raw: bool,
    trouble: Option<String>,
    log: &[u8],
) -> (Profile, Vec<Digest>) {
    let mut trouble = trouble.or_else(|| analyse(dir, python).err());
    let read = Rules::new(None)
        .map_err(io::Error::other)
        .and_then(|rules| profile::read(dir, &rules));
    let (digests, notes) = match read {
        Ok(read) => (read.digests, read.notes),
        Err(error) => (Vec::new(), vec![error.to_string()]),
    };
    if digests.is_empty() && trouble.is_none() {
        trouble = Some(
            said(log)
                .unwrap_or_else(|| notes.first().cloned().unwrap_or_else(|| NOTHING.to_owned())),
        );
    } else if trouble.is_none() && digests.iter().any(|digest| digest.truncated) {
        trouble =
            Some("truncated: the engine was ended while it wrote, or the disk was full".to_owned());
    }
    if !keep_raw && let Err(error) = compress(dir) {
        trouble = trouble.or(Some(format!("its traces are not compressed: {error}")));
    }
    let profile = Profile {
        dir: dir.display().to_string(),
        status: trouble.unwrap_or_else(|| COMPLETE.to_owned()),
        files: files(dir),
        ..Profile::default()
    };
    (profile, digests)
}

/// What the engine's log says of its profiler: vLLM swallows what goes wrong there into two lines.
fn said(log: &[u8]) -> Option<String> {
    let log = String::from_utf8_lossy(log);
    let told = [
        "Failed to start profiler",
        "Failed to stop profiler",
        "Profiling is not enabled",
        "Profiler is not enabled",
    ];
    let line = log
        .lines()
        .rev()
        .find(|line| told.iter().any(|words| line.contains(words)))?;
    let begin = told.iter().filter_map(|words| line.find(words)).min()?;
    Some(line[begin..].to_owned())
}

/// Names of the files in it, below it too.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => found.extend(
                    entry
                        .path()
                        .strip_prefix(dir)
                        .map(|name| name.display().to_string())
                        .ok(),
                ),
            }
        }
    }
    found.sort();
    found
}

/// Each plain trace by its compressed form, which is whole before the plain one goes.
fn compress(dir: &Path) -> io::Result<()> {
    for name in files(dir)
        .iter()
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "json"))
    {
        let plain = dir.join(name);
        let partial = dir.join(format!("{name}.gz.part"));
        let mut encoder = flate2::write::GzEncoder::new(
            fs::File::create(&partial)?,
            flate2::Compression::default(),
        );
        io::copy(&mut fs::File::open(&plain)?, &mut encoder)?;
        encoder.finish()?.sync_all()?;
        fs::rename(&partial, dir.join(format!("{name}.gz")))?;
        fs::remove_file(&plain)?;
    }
    Ok(())
}

/// `torch_npu` parses what it recorded in the process that recorded it, unless that is a daemon, as vLLM's workers are:
/// then the engine's own Python does it here.
fn analyse(dir: &Path, python: &Path) -> Result<(), String> {
    let raw: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().ends_with("_ascend_pt"))
        })
        .collect();
    let done = |path: &PathBuf| path.join("ASCEND_PROFILER_OUTPUT/analyse.done").exists();
    if raw.iter().all(done) {
        return Ok(());
    }
    let mut child = std::process::Command::new(python)
        .args(["-c", ANALYSE_PY])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("torch_npu's analysis could not be started: {error}"))?;
    let begin = std::time::Instant::now();
    while begin.elapsed() < ANALYSE {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(200)),
            Ok(Some(status)) if status.success() => {
                return match raw.iter().find(|path| !done(path)) {
                    None => Ok(()),
                    Some(path) => Err(format!(
                        "torch_npu's analysis left no analyse.done in {}",
                        path.display()
                    )),
                };
            }
            Ok(Some(status)) => return Err(format!("torch_npu's analysis failed ({status})")),
            Err(error) => {
                return Err(format!(
                    "torch_npu's analysis cannot be waited for: {error}"
                ));
            }
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(format!(
        "torch_npu's analysis was not done after {} min",
        ANALYSE.as_secs() / 60
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_compressed_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("a.pt.trace.json"), "[]").expect("written");
        compress(dir.path()).expect("compressed");
        assert_eq!(files(dir.path()), ["a.pt.trace.json.gz"]);
    }
}
