//! Tracebacks in an engine's log, as its processes print them: with or without the logger's prefix, mixed with each
//! other's lines.

use super::causes::CAUSES;
use super::log::{LogLine, parse_line};

/// One exception and the traceback above it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Traceback<'a> {
    /// Whether vLLM said above it that an engine or a worker is lost.
    pub(super) fatal: bool,
    /// All its lines: frames, the exception, and what the exception's text goes on with.
    pub(super) lines: Vec<&'a str>,
    /// Where the exception is in `lines`.
    at: usize,
}

const HEAD: &str = "Traceback (most recent call last)";

impl<'a> Traceback<'a> {
    /// All in a log that end with an exception, in the order of their beginning. Those that were logged as warnings are
    /// left out: they were handled.
    pub(super) fn all(log: &'a str) -> Vec<Self> {
        let lines: Vec<LogLine<'a>> = log.lines().map(parse_line).collect();
        let heads = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| is_head(line) && !line.is_harmless());
        heads
            .filter_map(|(at, head)| Self::below(&lines, at, head))
            .collect()
    }

    fn below(lines: &[LogLine<'a>], head_at: usize, head: &LogLine<'a>) -> Option<Self> {
        let mut found = Vec::new();
        let mut exception = None;
        for line in lines[head_at + 1..].iter().filter(|l| l.same_voice(head)) {
            if is_head(line) {
                break;
            }
            if exception.is_none() && is_exception(line.message) {
                exception = Some(found.len());
            }
            found.push(line.message);
        }
        let at = exception?;
        let before = lines[..head_at].iter().rev();
        let above = before
            .filter(|l| l.process == head.process)
            .take(1)
            .chain([head]);
        let fatal = above.into_iter().any(|line| is_fatal(line.message));
        Some(Self {
            fatal,
            lines: found,
            at,
        })
    }

    /// The exception in words, without what wraps it: of a validation the line that says what is not valid.
    pub(super) fn exception(&self) -> String {
        let first = self.lines[self.at];
        if !first.contains("validation error") {
            return first.to_owned();
        }
        let mut said = self.lines[self.at + 1..]
            .iter()
            .map(|line| line.trim())
            .filter(|line| !line.is_empty());
        let Some(mut cause) = said.next().map(str::to_owned) else {
            return first.to_owned();
        };
        // `field`, and below it what is wrong with its value.
        if !cause.contains(' ')
            && let Some(wrong) = said.next()
        {
            cause = format!("{cause}: {wrong}");
        }
        let cause = cause.split(" [type=").next().unwrap_or_default();
        let cause = cause.strip_prefix("Value error, ").unwrap_or(cause);
        cause.to_owned()
    }

    /// Whether it only follows from another one.
    pub(super) fn is_wrapper(&self) -> bool {
        let exception = self.lines[self.at];
        CAUSES.wrappers.iter().any(|w| w.is_match(exception))
    }
}

/// Whether vLLM says with this message that an engine or a worker is lost.
pub(super) fn is_fatal(message: &str) -> bool {
    CAUSES.fatal.iter().any(|fatal| fatal.is_match(message))
}

/// At the end: old releases say `EngineCore hit an exception: Traceback ...`. Indented ones are native code's.
fn is_head(line: &LogLine<'_>) -> bool {
    line.message.trim_end_matches(':').ends_with(HEAD) && !line.message.starts_with(' ')
}

/// `ValueError: text` or `torch.OutOfMemoryError`, at the beginning of the line, as Python ends a traceback.
fn is_exception(message: &str) -> bool {
    let name = message.split(':').next().unwrap_or_default();
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_'))
        && name
            .rsplit('.')
            .next()
            .is_some_and(|last| last.starts_with(|c: char| c.is_ascii_uppercase()))
        && (message.contains(": ")
            || message.ends_with(':')
            || name.ends_with("Error")
            || name.ends_with("Exception"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_write_at_once_are_kept_apart() {
        let log = "\
(Worker_TP0 pid=1) ERROR 11-24 10:00:00 [m.py:1] WorkerProc failed to start.
(Worker_TP0 pid=1) ERROR 11-24 10:00:00 [m.py:1] Traceback (most recent call last):
(Worker_TP1 pid=2) ERROR 11-24 10:00:00 [m.py:1] WorkerProc failed to start.
(Worker_TP1 pid=2) ERROR 11-24 10:00:00 [m.py:1] Traceback (most recent call last):
(Worker_TP0 pid=1) ERROR 11-24 10:00:00 [m.py:1]   File \"/v/x.py\", line 1, in f
(Worker_TP1 pid=2) ERROR 11-24 10:00:00 [m.py:1] KeyError: 'b'
(Worker_TP0 pid=1) ERROR 11-24 10:00:00 [m.py:1] KeyError: 'a'
[rank0]: Traceback (most recent call last):
[rank0]: RuntimeError: cancelled";
        let all = Traceback::all(log);
        let said: Vec<_> = all
            .iter()
            .map(|t| (t.exception(), t.fatal, t.is_wrapper()))
            .collect();
        assert_eq!(
            said,
            [
                ("KeyError: 'a'".to_owned(), true, false),
                ("KeyError: 'b'".to_owned(), true, false),
                ("RuntimeError: cancelled".to_owned(), false, true),
            ]
        );
    }

    #[test]
    fn of_a_validation_the_cause_is_the_line_below() {
        let said = |log: &str| Traceback::all(log)[0].exception();
        assert_eq!(
            said(
                "Traceback (most recent call last):\npydantic_core.ValidationError: 1 validation error for X\n  Value error, too long. [type=value_error, input_value=1]"
            ),
            "too long."
        );
        assert_eq!(
            said(
                "Traceback (most recent call last):\npydantic_core.ValidationError: 1 validation error for P\ntensor_parallel_size\n  Input should be greater than 0 [type=greater_than, input_value=0]\n    For further information"
            ),
            "tensor_parallel_size: Input should be greater than 0"
        );
    }
}
