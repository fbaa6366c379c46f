//! What can go wrong, said so that a person can act on it: every failure that leaves a command has a
//! message, hints, and the exit code that `--help` documents.

use std::fmt;

/// The process exit codes of every subcommand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: everything that was asked for is done.
    Done,
    /// 1: some cells failed or some input was passed over; the rest is reported.
    Partial,
    /// 2: wrong usage or configuration.
    Usage,
    /// 3: the environment lacks something: engine, device, checkpoint, disk.
    Environment,
    /// 4: a threshold was exceeded (`compare --fail-above`).
    Threshold,
    /// 70: a defect of rollbench itself.
    Internal,
    /// 128 + n: ended by signal n.
    Signal(i32),
}

impl Exit {
    /// The number handed to the operating system.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Partial => 1,
            Self::Usage => 2,
            Self::Environment => 3,
            Self::Threshold => 4,
            Self::Internal => 70,
            Self::Signal(n) => u8::try_from(128 + n).unwrap_or(u8::MAX),
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A failure that ends a command: what happened, what to do about it, and how the process exits.
///
/// Rooms have `thiserror` enums of their own; they convert into this one where they meet a command.
#[derive(Debug)]
pub(crate) struct CommandError {
    /// How the process exits.
    pub exit: Exit,
    /// What happened, with its causes.
    pub error: anyhow::Error,
    /// What the user can do, one line each.
    pub hints: Vec<String>,
}

impl CommandError {
    /// A failure of kind `exit` whose message (or cause) is `error`.
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            error: error.into(),
            hints: Vec::new(),
        }
    }

    /// Wrong usage or configuration, in words.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, anyhow::anyhow!("{message}"))
    }

    /// Something that the environment lacks, in words.
    pub(crate) fn environment(message: impl fmt::Display) -> Self {
        Self::new(Exit::Environment, anyhow::anyhow!("{message}"))
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for CommandError {
    /// `error: message`, `  caused by: ...` and `hint: ...`, a line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.error)?;
        for cause in self.error.chain().skip(1) {
            write!(f, "\n  caused by: {cause}")?;
        }
        for hint in &self.hints {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// Failures that no hint can help with (an unexpected I/O error, say) are internal.
impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Internal, error)
    }
}

/// An I/O error that says which path it was about.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct PathError {
    /// The verb: `read`, `write`, `create`, `rename` ...
    pub action: &'static str,
    /// The path it was done to.
    pub path: std::path::PathBuf,
    /// Why it failed.
    pub source: std::io::Error,
}

impl PathError {
    /// For `map_err`: `fs::read(&p).map_err(PathError::on("read", &p))`.
    pub fn on(
        action: &'static str,
        path: impl Into<std::path::PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self {
            action,
            path,
            source,
        }
    }
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_message_causes_and_hints() {
        let error = anyhow::anyhow!("disk full").context("cannot write record");
        let shown = CommandError::new(Exit::Environment, error)
            .hint("free 2 GB")
            .to_string();
        assert_eq!(
            shown,
            "error: cannot write record\n  caused by: disk full\nhint: free 2 GB"
        );
    }

    #[test]
    fn a_signal_exits_with_128_plus_its_number() {
        assert_eq!(Exit::Signal(2).code(), 130);
        assert_eq!(Exit::Signal(15).code(), 143);
    }
}
