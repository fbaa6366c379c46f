//! What every engine is started in: its environment, its private files, and words for what went wrong with them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::session::Launch;
use crate::error::PathError;
use crate::process::RunDir;
use crate::record::redact;

/// Variables that an engine gets unless the user or the matrix sets them.
const DEFAULTS: [(&str, &str); 5] = [
    ("VLLM_NO_USAGE_STATS", "1"),
    ("DO_NOT_TRACK", "1"),
    ("TOKENIZERS_PARALLELISM", "false"),
    // So that the log is complete when a process dies, and says where it was when it crashed.
    ("PYTHONUNBUFFERED", "1"),
    ("PYTHONFAULTHANDLER", "1"),
];

/// What the engines of a run share.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// The binary that is the guard.
    pub(super) rollbench: PathBuf,
    inherited: BTreeMap<OsString, OsString>,
    supervision: BTreeMap<OsString, OsString>,
}

impl Surroundings {
    /// For engines of this run: they bear its marks and end with its lease.
    pub(super) fn of(run: &RunDir) -> Self {
        let mut inherited: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        // Every start would compile vLLM's sources anew.
        inherited.remove(OsStr::new("PYTHONDONTWRITEBYTECODE"));
        Self {
            rollbench: PathBuf::from("/proc/self/exe"),
            supervision: run.hygiene_env(&inherited),
            inherited,
        }
    }

    /// The complete environment of the engine: inherited < defaults where unset < supervision < the cell's own.
    pub(super) fn environment(&self, launch: &Launch) -> BTreeMap<OsString, OsString> {
        let mut env = self.inherited.clone();
        for (name, value) in DEFAULTS {
            env.entry(name.into()).or_insert_with(|| value.into());
        }
        // vLLM's own limit must not end a start that ours still allows.
        env.entry("VLLM_ENGINE_READY_TIMEOUT_S".into())
            .or_insert_with(|| launch.limits.start.as_secs().max(1).to_string().into());
        env.extend(self.supervision.clone());
        env.extend(
            launch
                .env
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        env
    }
}

/// Writes a file that must not exist yet, mode 0600.
pub(super) fn write_private(path: &Path, content: &str) -> Result<(), PathError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(PathError::on("create", path))?;
    file.write_all(content.as_bytes())
        .map_err(PathError::on("write", path))
}

/// An argument as it may be recorded: `hf_token` is one too.
pub(super) fn shown(name: &str, value: &Value) -> Value {
    redact::shown(name, value.clone())
}

/// `90 s`, `0.5 s`.
pub(super) fn seconds(limit: Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}
