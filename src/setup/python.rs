//! Finds a Python that vLLM for CPU runs on.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::SetupError;
use crate::process::program;

/// In words, and as uv writes it.
pub(crate) const WANTED: &str = "CPython 3.11 to 3.13";
pub(crate) const WANTED_UV: &str = ">=3.11,<3.14";
const NAMES: [&str; 5] = [
    "python3",
    "python3.11",
    "python3.12",
    "python3.13",
    "python",
];

/// What an interpreter says about itself: `cpython 3 11 7 venv,ensurepip`, the modules being those that it lacks.
/// Old versions have to understand it too.
const ASK: &str = r#"
import sys
def lacks(name):
    try:
        __import__(name)
    except ImportError:
        return True
kind = getattr(getattr(sys, "implementation", None), "name", "cpython")
missing = ",".join([name for name in ("venv", "ensurepip") if lacks(name)])
sys.stdout.write("%s %d %d %d %s\n" % ((kind,) + tuple(sys.version_info[:3]) + (missing,)))
"#;

/// Where programs are looked for.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    /// `PATH`.
    pub(crate) path: OsString,
    /// `ROLLBENCH_PYTHON`.
    pub(crate) python: Option<PathBuf>,
}

impl Search {
    pub(crate) fn from_env() -> Self {
        Self {
            path: std::env::var_os("PATH").unwrap_or_default(),
            python: std::env::var_os("ROLLBENCH_PYTHON")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
        }
    }

    /// The first executable file called `name`.
    pub(crate) fn which(&self, name: impl AsRef<OsStr>) -> Option<PathBuf> {
        program(name, &self.path)
    }

    /// A suitable interpreter; `None` if there is none, but `uv` is there and can bring one.
    pub(crate) async fn interpreter(&self, uv: bool) -> Result<Option<PathBuf>, SetupError> {
        if let Some(named) = &self.python {
            return self.named(named, uv).await.map(Some);
        }
        let mut found = Vec::new();
        let mut incomplete = None;
        for path in NAMES.iter().filter_map(|name| self.which(name)) {
            match ask(&path).await {
                Ok(answer) if !answer.suits() => {
                    found.push(format!("{} is {}", path.display(), answer.version));
                }
                Ok(answer) => match answer.lacks {
                    Some(module) if !uv => {
                        incomplete.get_or_insert(SetupError::NoVenv {
                            python: path,
                            module,
                        });
                    }
                    _ => return Ok(Some(path)),
                },
                Err(why) => found.push(format!("{} {why}", path.display())),
            }
        }
        match incomplete {
            Some(error) => Err(error),
            None if uv => Ok(None),
            None => Err(SetupError::NoPython {
                wanted: WANTED,
                found: if found.is_empty() {
                    "no python3 on PATH".to_owned()
                } else {
                    found.join(", ")
                },
            }),
        }
    }

    async fn named(&self, named: &Path, uv: bool) -> Result<PathBuf, SetupError> {
        let wrong = |why: String| SetupError::WrongPython {
            python: named.to_owned(),
            why,
        };
        let path = match named.components().count() {
            1 => self.which(named),
            _ => std::path::absolute(named).ok().filter(|p| p.exists()),
        };
        let path = path.ok_or_else(|| wrong("there is no such file".to_owned()))?;
        let answer = ask(&path).await.map_err(|why| wrong(format!("it {why}")))?;
        if !answer.suits() {
            return Err(wrong(format!("it is {}, not {WANTED}", answer.version)));
        }
        match answer.lacks {
            Some(module) if !uv => Err(SetupError::NoVenv {
                python: path,
                module,
            }),
            _ => Ok(path),
        }
    }
}

struct PythonFacts {
    /// For people.
    version: String,
    minor: Option<u32>,
    /// A module that making environments without uv needs.
    lacks: Option<String>,
}

impl PythonFacts {
    fn suits(&self) -> bool {
        self.minor.is_some_and(|minor| (11..=13).contains(&minor))
    }
}

/// Asks the interpreter; else says in words what it did instead, after its name.
async fn ask(python: &Path) -> Result<PythonFacts, String> {
    let asked = tokio::process::Command::new(python)
        .args(["-E", "-s", "-c", ASK])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(30), asked)
        .await
        .map_err(|_| "did not answer for 30 s".to_owned())?
        .map_err(|error| format!("cannot be run ({error})"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        // A pyenv shim without a version behind it, for one.
        _ if !output.status.success() => Err(format!("does not run ({})", output.status)),
        [kind, major, minor, micro, lacks @ ..] => Ok(PythonFacts {
            version: format!("{kind} {major}.{minor}.{micro}"),
            minor: (*kind == "cpython" && *major == "3")
                .then(|| minor.parse().ok())
                .flatten(),
            lacks: lacks.first().map(ToString::to_string),
        }),
        _ => Err("is no Python".to_owned()),
    }
}
