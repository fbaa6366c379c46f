//! The engine's log: its tail for a person, its text for a diagnosis, without the secrets of the environment.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::record::redact;

/// The log of one engine start.
#[derive(Debug)]
pub(super) struct EngineLog {
    path: PathBuf,
    /// Where this engine start begins: a log can hold an earlier attempt.
    begin: u64,
}

impl EngineLog {
    /// Remembers the present end of the log, which need not exist.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            begin: std::fs::metadata(path).map_or(0, |m| m.len()),
        }
    }

    /// Where this engine start begins in the file.
    pub(super) fn begin(&self) -> u64 {
        self.begin
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What was logged since, as text; of a long log the first and the last megabytes, since loading and dying
    /// are what is looked for. Empty if it cannot be read: a missing log must not hide the failure it is read for.
    pub(super) fn text(&self) -> String {
        self.read().unwrap_or_default()
    }

    fn read(&self) -> io::Result<String> {
        const PART: u64 = 4 << 20;
        let mut file = File::open(&self.path)?;
        let end = file.metadata()?.len();
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.begin))?;
        (&mut file).take(PART).read_to_end(&mut bytes)?;
        let tail = end.saturating_sub(PART);
        if tail > self.begin + PART {
            bytes.push(b'\n');
            file.seek(SeekFrom::Start(tail))?;
        }
        (&mut file).take(PART).read_to_end(&mut bytes)?;
        Ok(clean(&String::from_utf8_lossy(&bytes)))
    }

    /// The last lines that are not empty, redacted and cut.
    pub(super) fn tail(&self, lines: usize) -> Vec<String> {
        const LONGEST: usize = 400;
        let text = self.text();
        let mut tail: Vec<String> = text
            .lines()
            .rev()
            .filter(|line| !line.trim().is_empty())
            .take(lines)
            .map(|line| redact::text(line).chars().take(LONGEST).collect())
            .collect();
        tail.reverse();
        tail
    }
}

/// Without terminal colours, and of lines that overwrite themselves (progress bars) only what remained.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split('\n') {
        let line = line.trim_end_matches('\r');
        let line = line.rsplit('\r').next().unwrap_or(line);
        let mut rest = line.chars();
        while let Some(c) = rest.next() {
            if c == '\u{1b}' {
                // `ESC [ ... letter`: the only sequences that loggers write.
                rest.by_ref().find(char::is_ascii_alphabetic);
            } else if !c.is_control() || c == '\t' {
                out.push(c);
            }
        }
        out.push('\n');
    }
    out
}

/// One line of vLLM's log, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LogLine<'a> {
    /// The process that said it (`EngineCore pid=77`, `rank0`); empty if it did not say.
    pub(super) process: &'a str,
    /// `INFO`, `WARNING`, `ERROR` ...; empty for lines that do not come from a logger.
    pub(super) level: &'a str,
    /// The message.
    pub(super) message: &'a str,
}

impl LogLine<'_> {
    /// Whether a logger said it, and not as an error.
    pub(super) fn is_harmless(&self) -> bool {
        matches!(self.level, "DEBUG" | "INFO" | "WARNING")
    }

    /// Whether both are of one process and of one level, as the lines of one message are.
    pub(super) fn same_voice(&self, other: &Self) -> bool {
        self.process == other.process && self.level == other.level
    }
}

const LEVELS: [&str; 5] = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

/// Takes a line such as `(EngineCore pid=77) ERROR 11-24 12:44:05 [core.py:12] text` apart; also those of other loggers
/// (`2026-07-06 23:18:23,723 - WARNING - file.py:1 - text`, `[W1127 21:27:35 file.cpp:1] text`, `WARNING:root:text`).
pub(super) fn parse_line(line: &str) -> LogLine<'_> {
    let (process, rest) = process(line);
    let (level, message) = level(rest).unwrap_or(("", rest));
    LogLine {
        process,
        level,
        message,
    }
}

fn process(line: &str) -> (&str, &str) {
    if let Some((process, rest)) = line.strip_prefix('(').and_then(|l| l.split_once(')'))
        && process.contains("pid=")
    {
        return (process, rest.strip_prefix(' ').unwrap_or(rest));
    }
    match line.strip_prefix('[').and_then(|l| l.split_once("]:")) {
        Some((process, rest)) if process.starts_with("rank") => {
            (process, rest.strip_prefix(' ').unwrap_or(rest))
        }
        _ => ("", line),
    }
}

fn level(rest: &str) -> Option<(&str, &str)> {
    let first = rest.split([' ', ':']).next().unwrap_or_default();
    if let Some(level) = LEVELS.into_iter().find(|level| *level == first) {
        let after = &rest[level.len()..];
        let message = match after.strip_prefix(':') {
            Some(root) => root.split_once(':')?.1,
            None => after.split_once("] ")?.1,
        };
        return Some((level, message));
    }
    if rest.starts_with("20") {
        let mut parts = rest.splitn(4, " - ").skip(1);
        let level = LEVELS
            .into_iter()
            .find(|l| parts.clone().next() == Some(*l))?;
        return Some((level, parts.nth(2)?));
    }
    // glog's letters, as torch uses them; Ascend's `[ERROR] ...` is an error wherever it stands.
    let torch = rest.strip_prefix('[')?;
    let level = match torch.as_bytes() {
        [b'W', b'0'..=b'9', ..] => "WARNING",
        [b'I', b'0'..=b'9', ..] => "INFO",
        [b'E', b'0'..=b'9', ..] => "ERROR",
        _ => return None,
    };
    Some((level, torch.split_once("] ")?.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(content: &str) -> (tempfile::TempDir, EngineLog) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("engine.log");
        let log = EngineLog::new(&path);
        std::fs::write(&path, content).expect("written");
        (dir, log)
    }

    #[test]
    fn the_tail_is_redacted_cleaned_and_last_lines_first_to_last() {
        redact::learn("MY_API_KEY", "tok-12345678");
        let (_dir, log) =
            log("one\n\u{1b}[36mtwo\u{1b}[0m tok-12345678\n\nload: 10%\rload: 100%\n");
        assert_eq!(log.tail(2), ["two ***", "load: 100%"]);
    }

    #[test]
    fn an_earlier_attempt_is_not_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("engine.log");
        std::fs::write(&path, "old\n").expect("written");
        let log = EngineLog::new(&path);
        std::fs::write(&path, "old\nnew\n").expect("written");
        assert_eq!(log.tail(9), ["new"]);
    }

    #[test]
    fn vllm_lines_come_apart() {
        let line = parse_line(
            "(Worker pid=16512) WARNING 11-24 12:44:36 [cpu_worker.py:114] libiomp [x] y",
        );
        assert_eq!(
            line,
            LogLine {
                process: "Worker pid=16512",
                level: "WARNING",
                message: "libiomp [x] y"
            }
        );
        let levels = [
            (
                "2026-07-06 23:18:23,723 - WARNING - a.py:1 - flashinfer.jit: x",
                "WARNING",
                "flashinfer.jit: x",
            ),
            (
                "[rank0]:[W1127 21:27:35.12 c.cpp:1] Warning: x",
                "WARNING",
                "Warning: x",
            ),
            ("WARNING:root:x: y", "WARNING", "x: y"),
            (
                "(VllmWorkerProcess pid=7) ERROR 09-25 02:23:33 multiproc.py:242] KeyError: 'x'",
                "ERROR",
                "KeyError: 'x'",
            ),
            (
                "[ERROR] 2025-04-08-18:07:20 (PID:749) ERR01100 OPS",
                "",
                "[ERROR] 2025-04-08-18:07:20 (PID:749) ERR01100 OPS",
            ),
        ];
        for (line, level, message) in levels {
            let parsed = parse_line(line);
            assert_eq!((parsed.level, parsed.message), (level, message), "{line}");
        }
        let plain = parse_line("ValueError: no");
        assert_eq!((plain.process, plain.level), ("", ""));
        assert_eq!(plain.message, "ValueError: no");
    }
}
