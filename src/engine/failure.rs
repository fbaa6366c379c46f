//! Puts a failure together: what happened, what the log and the kernel say about it, and the log's tail.

use super::diagnosis::{Death, diagnose};
use super::log::EngineLog;
use super::oom::OomWatch;
use crate::record::{ExitStatus, Failure, FailureKind, Phase, redact};

/// Lines of the log that a failure shows.
const TAIL: usize = 30;

/// What a failure is made from, gathered from the launch on.
#[derive(Debug)]
pub(super) struct Witness {
    pub(super) log: EngineLog,
    pub(super) oom: OomWatch,
}

impl Witness {
    /// `exit` is how the engine's leader ended, `victim` how the process that died ended, where that is another one.
    pub(super) fn failure(
        &self,
        phase: Phase,
        kind: FailureKind,
        message: &str,
        exit: Option<ExitStatus>,
        victim: Option<ExitStatus>,
    ) -> Failure {
        let died = victim.or(exit);
        // By SIGKILL, or in a way that nobody could tell.
        let killed = kind == FailureKind::Exited && died.is_none_or(|status| status.code.is_none());
        let evidence = if killed { self.oom.evidence() } else { None };
        let text = self.log.text();
        let found = diagnose(
            &text,
            Death {
                exit: died,
                out_of_memory: evidence.as_deref(),
            },
        );
        // What Python raises can hold a whole configuration; all of it is in the log.
        let message: String = redact::text(message).chars().take(1_000).collect();
        let (diagnosis, hint) = match found {
            Some(found) => (Some(redact::text(&found.cause)), found.hint),
            None => (None, None),
        };
        Failure {
            phase,
            kind,
            // A cause that only repeats the message tells nothing more.
            diagnosis: diagnosis.filter(|cause| *cause != message),
            message,
            hint,
            exit,
            log: self.log.path().display().to_string(),
            tail: self.log.tail(TAIL),
        }
    }
}

/// `exit code 1`, `signal 9 (SIGKILL)`.
pub(super) fn describe(exit: ExitStatus) -> String {
    match (exit.code, exit.signal) {
        (_, Some(signal)) => match nix::sys::signal::Signal::try_from(signal) {
            Ok(name) => format!("signal {signal} ({name})"),
            Err(_) => format!("signal {signal}"),
        },
        (Some(code), None) => format!("exit code {code}"),
        (None, None) => "an unknown status".to_owned(),
    }
}
