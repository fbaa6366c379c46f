//! What vLLM an interpreter has, asked of it rather than guessed. Importing vLLM takes 10 to 30 s, so the answer is
//! kept until the installation changes; finding out whether it did takes a bare Python's start.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::error::PathError;

const SCRIPT: &str = include_str!("probe.py");

/// A slow network file system can make the import take minutes.
const PATIENCE: Duration = Duration::from_mins(5);

/// An installed vLLM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Probe {
    /// Versions by package name: `vllm`, `python`, `torch`, `vllm-ascend` ...
    pub versions: BTreeMap<String, String>,
    /// The platform as vLLM names it: `cpu`, `cuda`, `npu`; empty if it found none.
    pub platform: String,
    /// The names of the engine arguments that it accepts, sorted.
    pub arguments: Vec<String>,
}

impl Probe {
    /// Of `names`, those that this vLLM does not know as engine arguments, each with the names nearest to it.
    pub(crate) fn unknown<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Vec<(&'a str, Vec<String>)> {
        names
            .into_iter()
            .filter(|name| {
                self.arguments
                    .binary_search_by(|a| a.as_str().cmp(name))
                    .is_err()
            })
            .map(|name| (name, self.near(name)))
            .collect()
    }

    fn near(&self, name: &str) -> Vec<String> {
        let mut scored: Vec<(f64, &String)> = self
            .arguments
            .iter()
            .map(|argument| (strsim::jaro_winkler(name, argument), argument))
            .filter(|(score, _)| *score > 0.85)
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        scored
            .into_iter()
            .take(3)
            .map(|(_, argument)| argument.clone())
            .collect()
    }
}

/// Why an interpreter cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    /// There is no such program.
    #[error("cannot start the Python interpreter {}", python.display())]
    NoPython {
        /// What was asked for.
        python: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It has no vLLM.
    #[error("the Python interpreter {} (Python {version}) has no vLLM", python.display())]
    NoVllm {
        /// What was asked.
        python: PathBuf,
        /// Its version.
        version: String,
    },
    /// It failed.
    #[error("vLLM cannot be imported by {}: {reason}", python.display())]
    Broken {
        /// What was asked.
        python: PathBuf,
        /// The last line of what it said, or the time limit.
        reason: String,
    },
    /// A file of ours cannot be written or read.
    #[error(transparent)]
    File(#[from] PathError),
}

impl ProbeError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoPython { .. } | Self::NoVllm { .. } => Some(
                "name an interpreter that has vLLM with --python PATH, or set `python = \"managed\"` to let rollbench make one (vLLM for CPU)",
            ),
            Self::Broken { .. } => Some(
                "try `PYTHON -c 'import vllm'`; on Ascend source set_env.sh of the toolkit and of nnal/atb first",
            ),
            Self::File(_) => None,
        }
    }
}

/// What is found without importing vLLM.
#[derive(Debug, Serialize, Deserialize)]
struct Installed {
    installed: bool,
    python: String,
    #[serde(flatten)]
    rest: serde_json::Value,
}

/// Asks `python` (a path, or a name in `PATH`) what its vLLM is. `env` is set on top of what is inherited. Answers are
/// kept in the folder `cache`.
pub(crate) async fn probe(
    python: &Path,
    env: &BTreeMap<String, String>,
    cache: &Path,
) -> Result<Probe, ProbeError> {
    fs::create_dir_all(cache).map_err(PathError::on("create", cache))?;
    let found: Installed = ask(python, env, cache, "found").await?;
    if !found.installed {
        return Err(ProbeError::NoVllm {
            python: python.to_owned(),
            version: found.python,
        });
    }
    let kept = cache.join(format!("{}.json", key(python, env, &found)));
    if let Ok(bytes) = fs::read(&kept)
        && let Ok(probe) = serde_json::from_slice(&bytes)
    {
        return Ok(probe);
    }
    let probe: Probe = ask(python, env, cache, "asked").await?;
    let json = serde_json::to_vec(&probe).expect("plain data");
    // Written beside and renamed: another rollbench may be reading.
    let fresh = tempfile::NamedTempFile::new_in(cache).map_err(PathError::on("write", &kept))?;
    fs::write(fresh.path(), json).map_err(PathError::on("write", &kept))?;
    fresh
        .persist(&kept)
        .map_err(|error| PathError::on("write", &kept)(error.error))?;
    Ok(probe)
}

/// An installation: the interpreter, what it found, and the variables that choose what it finds.
fn key(python: &Path, env: &BTreeMap<String, String>, found: &Installed) -> String {
    let changed = fs::metadata(python).and_then(|m| m.modified()).ok();
    let mut hash = Sha256::new();
    hash.update(format!("{SCRIPT}\n{}\n{changed:?}\n", python.display()));
    hash.update(serde_json::to_vec(found).expect("plain data"));
    for name in ["PYTHONPATH", "LD_LIBRARY_PATH", "VLLM_PLUGINS"] {
        let value = env.get(name).cloned().or_else(|| std::env::var(name).ok());
        hash.update(format!("\n{name}={value:?}"));
    }
    let digest = hash.finalize();
    // Half of it tells installations apart.
    let half = digest.first_chunk::<16>().expect("SHA-256 has 32 bytes");
    format!("{:032x}", u128::from_be_bytes(*half))
}

async fn ask<T: serde::de::DeserializeOwned>(
    python: &Path,
    env: &BTreeMap<String, String>,
    cache: &Path,
    question: &str,
) -> Result<T, ProbeError> {
    let folder = tempfile::tempdir_in(cache).map_err(PathError::on("create a folder in", cache))?;
    let script = folder.path().join("probe.py");
    let answer = folder.path().join("answer.json");
    fs::write(&script, SCRIPT).map_err(PathError::on("write", &script))?;
    let child = Command::new(python)
        .arg(&script)
        .arg(&answer)
        .arg(question)
        .envs(env)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| ProbeError::NoPython {
            python: python.to_owned(),
            source,
        })?;
    let broken = |reason: String| ProbeError::Broken {
        python: python.to_owned(),
        reason,
    };
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .map_err(|_| broken(format!("no answer after {} s", PATIENCE.as_secs())))?
        .map_err(|error| broken(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    if !output.status.success() {
        let reason = last.map_or_else(|| output.status.to_string(), str::to_owned);
        return Err(broken(crate::record::redact::text(&reason)));
    }
    let bytes = fs::read(&answer).map_err(PathError::on("read", &answer))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| broken(format!("its answer is unreadable: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake() -> BTreeMap<String, String> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes");
        BTreeMap::from([
            ("PYTHONPATH".to_owned(), path.to_owned()),
            ("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()),
        ])
    }

    #[tokio::test]
    async fn an_installation_is_asked_once() {
        let cache = tempfile::tempdir().expect("a folder");
        let mut env = fake();
        let first = probe(Path::new("python3"), &env, cache.path())
            .await
            .expect("the fake");
        assert_eq!(first.versions["vllm"], "0.32.0+fake");
        assert_eq!(first.platform, "cpu");
        assert_eq!(
            first.unknown(["max_num_seqs", "max_model_length"]),
            [("max_model_length", vec!["max_model_len".to_owned()])]
        );
        // What it would say if it were asked again shows that it is not.
        env.insert("FAKE_VLLM".to_owned(), r#"{"platform": "npu"}"#.to_owned());
        let again = probe(Path::new("python3"), &env, cache.path())
            .await
            .expect("the fake");
        assert_eq!(again, first);
        let kept = fs::read_dir(cache.path()).expect("a folder").count();
        assert_eq!(kept, 1, "one answer, and nothing temporary");
    }

    #[tokio::test]
    async fn an_unusable_interpreter_is_named_with_a_remedy() {
        let cache = tempfile::tempdir().expect("a folder");
        let none = probe(Path::new("/nowhere/python"), &fake(), cache.path())
            .await
            .expect_err("no such file");
        assert!(matches!(none, ProbeError::NoPython { .. }));
        assert!(none.hint().is_some_and(|hint| hint.contains("--python")));

        let empty = BTreeMap::from([("PYTHONPATH".to_owned(), String::new())]);
        let without = probe(Path::new("python3"), &empty, cache.path())
            .await
            .expect_err("this machine's own Python has no vLLM");
        assert!(matches!(without, ProbeError::NoVllm { .. }), "{without}");

        let broken = tempfile::tempdir().expect("a folder");
        fs::create_dir(broken.path().join("vllm")).expect("made");
        fs::write(
            broken.path().join("vllm/__init__.py"),
            "raise ImportError('libatb.so: cannot open shared object file')",
        )
        .expect("written");
        let path = broken.path().display().to_string();
        let env = BTreeMap::from([("PYTHONPATH".to_owned(), path)]);
        let error = probe(Path::new("python3"), &env, cache.path())
            .await
            .expect_err("it cannot be imported");
        assert!(
            error
                .to_string()
                .ends_with("ImportError: libatb.so: cannot open shared object file")
        );
    }
}
