//! Where things lie in a results folder, and what a file's name says.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::units::{CellId, Mode};

/// The folder of records below `--out`.
pub(crate) const RESULTS: &str = "benchmark_results";
/// The folder of profiles below `--out`.
pub(crate) const PROFILES: &str = "benchmark_profiles";
/// Where earlier records go when their cell is measured anew.
pub(crate) const PREVIOUS: &str = "previous";
const JOURNAL: &str = ".journal";

/// The name of a cell's record: `<model>_<precision>.json`, online `<model>_<precision>.online.json`.
pub(crate) fn record_name(cell: &CellId, mode: Mode) -> String {
    match mode {
        Mode::Offline => format!("{cell}.json"),
        Mode::Online => format!("{cell}.online.json"),
    }
}

/// The journal's folder in the results folder `results`.
pub(crate) fn journal_dir(results: &Path) -> PathBuf {
    results.join(JOURNAL)
}

/// The folder for the records of the session that started at `started`, such as `previous/20260811T093000Z`.
pub(crate) fn previous_dir(results: &Path, started: Timestamp) -> PathBuf {
    results
        .join(PREVIOUS)
        .join(started.strftime("%Y%m%dT%H%M%SZ").to_string())
}

/// The results folder that `dir` means: itself, or its `benchmark_results`.
pub(crate) fn results_dir(dir: &Path) -> PathBuf {
    let below = dir.join(RESULTS);
    if below.is_dir() {
        below
    } else {
        dir.to_owned()
    }
}

/// What the stem of a foreign result's name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForeignName {
    pub(crate) model: String,
    pub(crate) precision: String,
    /// The number behind `_run`; absent without one.
    pub(crate) run: Option<u32>,
}

/// What was served in a folder of `vllm bench sweep`, `SERVE--<settings>-BENCH--<settings>`: the first settings, or
/// `default` where only the benchmark's were varied. Absent for any other folder.
pub(crate) fn sweep_name(folder: &str) -> Option<String> {
    if folder.starts_with("BENCH--") {
        return Some("default".to_owned());
    }
    let served = folder.strip_prefix("SERVE--")?;
    let served = served
        .split_once("-BENCH--")
        .map_or(served, |(served, _)| served);
    Some(if served.is_empty() { "default" } else { served }.to_owned())
}

/// Parts `<model>_<precision>[_runN]` at the last `_` (before `_runN`); absent if there is none to part at.
pub(crate) fn foreign_name(stem: &str) -> Option<ForeignName> {
    let (stem, run) = match stem.rsplit_once("_run") {
        Some((rest, digits))
            if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) =>
        {
            (rest, digits.parse().ok())
        }
        _ => (stem, None),
    };
    let (model, precision) = stem.rsplit_once('_')?;
    (!model.is_empty() && !precision.is_empty()).then(|| ForeignName {
        model: model.to_owned(),
        precision: precision.to_owned(),
        run,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_names_part_at_the_last_underscore() {
        let parts = |stem| foreign_name(stem).map(|n| (n.model, n.precision, n.run));
        let named =
            |model: &str, precision: &str, run| Some((model.to_owned(), precision.to_owned(), run));
        assert_eq!(parts("qwen3-1.7b_bf16"), named("qwen3-1.7b", "bf16", None));
        assert_eq!(parts("pangu_7b_w8a8"), named("pangu_7b", "w8a8", None));
        assert_eq!(parts("m_w8a8_run12"), named("m", "w8a8", Some(12)));
        assert_eq!(parts("m_runner"), named("m", "runner", None));
        assert_eq!(parts("m_run3"), None);
        assert_eq!(parts("results"), None);
        assert_eq!(parts("_bf16"), None);
    }

    #[test]
    fn modes_have_names_of_their_own() {
        let cell = CellId {
            model: "m".parse().unwrap(),
            precision: "fp8".parse().unwrap(),
        };
        assert_eq!(record_name(&cell, Mode::Offline), "m_fp8.json");
        assert_eq!(record_name(&cell, Mode::Online), "m_fp8.online.json");
    }
}
