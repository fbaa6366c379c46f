//! What can be wrong with a server or its address, with what to do about it.

use super::options::LoadOptions;
use crate::error::{CommandError, Exit};
use crate::load::{ControlError, LoadError, Target, TargetError};

impl From<TargetError> for CommandError {
    fn from(error: TargetError) -> Self {
        let exit = match error {
            TargetError::Resolve { .. } => Exit::Environment,
            _ => Exit::Usage,
        };
        Self::new(exit, error)
    }
}

impl From<ControlError> for CommandError {
    fn from(error: ControlError) -> Self {
        let hint = match &error {
            ControlError::Unreachable { .. } => {
                "is the server up, and is this its host and port? `vllm serve` listens on port 8000"
            }
            ControlError::Status {
                status: 401 | 403, ..
            } => "the server wants a key: set OPENAI_API_KEY",
            ControlError::Status {
                status: 300..=399, ..
            } => "the server redirects: give the address that it redirects to",
            _ => "give the server's root, such as http://127.0.0.1:8000; /v1 is added",
        };
        Self::new(Exit::Environment, error).hint(hint)
    }
}

impl From<LoadError> for CommandError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Pacing(_) | LoadError::Endless | LoadError::Nothing(_) => {
                Self::new(Exit::Usage, error)
            }
            LoadError::Streams(_) => Self::new(Exit::Environment, error)
                .hint("raise it (`ulimit -Hn`, or the container's --ulimit nofile=...), or lower --max-concurrency"),
            LoadError::Connect { .. } => {
                Self::new(Exit::Environment, error).hint("is the server up, and is this its host and port?")
            }
            LoadError::Stopped | LoadError::Io(_) => Self::new(Exit::Internal, error),
        }
    }
}

/// The first request failed as `error` says.
pub(super) fn refused(target: &Target, options: &LoadOptions, error: &str) -> CommandError {
    let failure = CommandError::environment(format!("a first request to {target} failed: {error}"));
    let hint = if error.starts_with("HTTP 400") || error.starts_with("HTTP 422") {
        if options.ignore_eos {
            "a server that does not know vLLM's `ignore_eos` needs --no-ignore-eos"
        } else {
            "the server's words above say what it does not take"
        }
    } else if error.starts_with("HTTP 401") || error.starts_with("HTTP 403") {
        "the server wants a key: set OPENAI_API_KEY"
    } else if error.starts_with("HTTP 404") {
        "the server does not have this endpoint; try --api chat, or give its root as URL"
    } else if error.starts_with("HTTP 3") {
        "the server redirects: give the address that it redirects to"
    } else if ["HTTP 502", "HTTP 503", "HTTP 504"]
        .iter()
        .any(|s| error.starts_with(s))
    {
        "the server, or one behind it, is not ready: wait until it is, or look into its log"
    } else if error.starts_with("no token within") {
        "the server takes requests and makes no token: look into its log"
    } else if error.contains("instead of a token stream") || error.starts_with("no token stream") {
        "this is no OpenAI-compatible server that streams"
    } else {
        "look into the server's log"
    };
    failure.hint(hint)
}
