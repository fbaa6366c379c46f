//! Which files of a folder are profiles, and reading them on all cores.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::digest::{Digest, digests};
use super::rules::Rules;
use super::trace::Trace;
use super::{ascend, chrome};

/// Folders are searched no deeper.
const DEEPEST: usize = 6;

/// A file to read, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Chrome(PathBuf),
    Kernels(PathBuf),
    Totals {
        statistic: PathBuf,
        steps: Option<PathBuf>,
    },
}

impl Source {
    fn path(&self) -> &Path {
        match self {
            Self::Chrome(path)
            | Self::Kernels(path)
            | Self::Totals {
                statistic: path, ..
            } => path,
        }
    }

    fn read(&self, rules: &Rules) -> io::Result<Trace> {
        match self {
            Self::Chrome(path) => chrome::read(path, rules),
            Self::Kernels(path) => ascend::read(path, rules),
            Self::Totals { statistic, steps } => {
                ascend::read_totals(statistic, steps.as_deref(), rules)
            }
        }
    }
}

/// What a folder or a file holds.
#[derive(Debug, Default)]
pub(crate) struct Profiles {
    /// One a device.
    pub(crate) digests: Vec<Digest>,
    /// What could not be read or is not there, with the path.
    pub(crate) notes: Vec<String>,
}

/// Reads all profiles in `path`, a file or a folder. An error only if `path` itself cannot be read.
pub(crate) fn read(path: &Path, rules: &Rules) -> io::Result<Profiles> {
    let mut profiles = Profiles::default();
    let mut sources = Vec::new();
    if fs::metadata(path)?.is_dir() {
        search(path, 0, &mut sources, &mut profiles.notes);
    } else {
        sources.push(source(path));
    }
    sources.sort();
    for (source, trace) in sources.iter().zip(traces(&sources, rules)) {
        let shown = source
            .path()
            .strip_prefix(path)
            .ok()
            .filter(|rest| *rest != Path::new(""));
        let shown = shown.map_or_else(
            || {
                source
                    .path()
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned()
            },
            |rest| rest.display().to_string(),
        );
        match trace {
            Err(error) => profiles.notes.push(format!("{shown}: {error}")),
            Ok(mut made) => {
                for digest in &mut made.0 {
                    digest.file.clone_from(&shown);
                    digest.rank = digest.rank.or_else(|| rank(&shown));
                }
                if made.0.is_empty() {
                    profiles.notes.push(format!(
                        "{shown}: no kernels, and no operators on a thread with steps of an engine"
                    ));
                }
                profiles
                    .notes
                    .extend(made.1.iter().map(|note| format!("{shown}: {note}")));
                profiles.digests.append(&mut made.0);
            }
        }
    }
    Ok(profiles)
}

/// Digests and notes of each, read on as many threads as there are processors.
fn traces(sources: &[Source], rules: &Rules) -> Vec<io::Result<(Vec<Digest>, Vec<String>)>> {
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(sources.len());
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<io::Result<_>>>> =
        sources.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let at = sources.iter().position(|s| s == source).unwrap_or(0);
                    let read = source.read(rules).map(|trace| {
                        let notes = trace.notes.clone();
                        (digests(trace, rules, ""), notes)
                    });
                    if let Ok(mut slot) = done[at].lock() {
                        *slot = Some(read);
                    }
                }
            });
        }
    });
    let lost = || Err(io::Error::other("its reader ended early"));
    done.into_iter()
        .map(|slot| slot.into_inner().ok().flatten().unwrap_or_else(lost))
        .collect()
}

/// How a file that was named is read: tables by their header's name, everything else as a trace.
fn source(path: &Path) -> Source {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    if name.contains("op_statistic") {
        let steps = path.with_file_name("step_trace_time.csv");
        Source::Totals {
            statistic: path.to_owned(),
            steps: steps.is_file().then_some(steps),
        }
    } else if name.contains(".csv") {
        Source::Kernels(path.to_owned())
    } else {
        Source::Chrome(path.to_owned())
    }
}

fn search(folder: &Path, depth: usize, sources: &mut Vec<Source>, notes: &mut Vec<String>) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            notes.push(format!("{}: {error}", folder.display()));
            return;
        }
    };
    let name = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let paths: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect();
    let here = |name: &str| {
        paths
            .iter()
            .find(|path| path.file_name().is_some_and(|n| n == name))
    };
    // The same work stands in several files there: one of them is read.
    if let Some(kernels) = here("kernel_details.csv") {
        sources.push(Source::Kernels(kernels.clone()));
    } else if let Some(statistic) = here("op_statistic.csv") {
        sources.push(source(statistic));
    } else if let Some(view) = here("trace_view.json") {
        sources.push(Source::Chrome(view.clone()));
    } else {
        let traces = paths.iter().filter(|path| path.is_file() && is_trace(path));
        sources.extend(traces.map(|path| Source::Chrome(path.clone())));
    }
    if name.ends_with("_ascend_pt") {
        let output = folder.join("ASCEND_PROFILER_OUTPUT");
        let analyse = format!(
            "{}: torch_npu.profiler.profiler.analyse(\"{}\") makes it",
            folder.display(),
            folder.display()
        );
        if !output.is_dir() {
            notes.push(format!("there is no ASCEND_PROFILER_OUTPUT in {analyse}"));
        } else if !output.join("analyse.done").exists() {
            notes.push(format!(
                "its analysis is not finished (no analyse.done) in {analyse}"
            ));
        }
    }
    for path in paths.iter().filter(|path| depth < DEEPEST && path.is_dir()) {
        // A trace of how graphs were captured is none of steps.
        if path
            .file_name()
            .is_some_and(|name| name != "capture_traces" && name != "FRAMEWORK")
        {
            search(path, depth + 1, sources, notes);
        }
    }
}

/// By name: a front end's trace has no device, and what lies beside traces is no trace.
fn is_trace(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let json = [".json", ".json.gz", ".trace", ".trace.gz"]
        .iter()
        .any(|end| name.ends_with(end));
    json && !name.contains(".async_llm.")
        && !name.ends_with("profile.json")
        && !name.starts_with("profiler_")
}

/// `..._rank0.123.pt.trace.json`, `...-rank-0...`.
fn rank(name: &str) -> Option<u32> {
    let at = name.rfind("rank")? + 4;
    let digits = name[at..].trim_start_matches(['-', '_']);
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_read_from_names() {
        assert_eq!(
            rank("dp0_pp0_tp3_dcp0_ep3_rank3.176.pt.trace.json.gz"),
            Some(3)
        );
        assert_eq!(rank("ab12-rank-0.176.pt.trace.json"), Some(0));
        assert_eq!(rank("trace.json"), None);
    }

    #[test]
    fn a_front_end_is_no_trace() {
        assert!(!is_trace(Path::new("host_1.async_llm.12.pt.trace.json.gz")));
        assert!(is_trace(Path::new("s0_rank0.12.pt.trace.json.gz")));
        assert!(!is_trace(Path::new("s0_rank0.profiler_out.txt")));
    }
}
