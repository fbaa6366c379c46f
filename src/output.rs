//! Data goes to stdout, everything else to stderr. A reader that went away (`| head`) is success.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use crate::error::{CommandError, Exit};
use crate::record::redact;

/// `text` without anything that a terminal obeys or that shows words in another order than they are in. Model names,
/// labels, logs and the answers of servers are others' words.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let obeyed = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if obeyed(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Writes text (or CSV's bytes) to stdout; to a terminal only what is [`printable`] of it. `Ok` if the reader has closed
/// it.
///
/// A stdout that takes nothing, as on a full disk, is what the environment lacks.
pub(crate) fn data(text: impl AsRef<[u8]>) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    let mut bytes = Cow::Borrowed(text.as_ref());
    if stdout.is_terminal() {
        let text = String::from_utf8_lossy(&bytes);
        bytes = Cow::Owned(printable(&text).into_owned().into_bytes());
    }
    let written = stdout.write_all(&bytes).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let error = anyhow::Error::from(error).context("cannot write to stdout");
            Err(CommandError::new(Exit::Environment, error))
        }
        _ => Ok(()),
    }
}

/// When stderr is coloured: by itself on a terminal, unless NO_COLOR or TERM=dumb says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    // A doc comment would be help of this value, and spread every option of every `--help` over three lines.
    Auto,
    Always,
    Never,
}

/// How much stderr shows, and how; said once.
static MANNER: OnceLock<Manner> = OnceLock::new();

struct Manner {
    quiet: bool,
    color: Color,
}

/// Says how stderr is used from now on.
pub(crate) fn set_manner(quiet: bool, color: Color) {
    let _ = MANNER.set(Manner { quiet, color });
}

/// Whether only errors are shown beside data.
pub(crate) fn quiet() -> bool {
    MANNER.get().is_some_and(|manner| manner.quiet)
}

/// Whether stderr takes colours.
pub(crate) fn styled() -> bool {
    let said = |name, no: fn(&OsStr) -> bool| std::env::var_os(name).is_some_and(|v| no(&v));
    match MANNER.get().map_or(Color::Auto, |manner| manner.color) {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            io::stderr().is_terminal()
                && !said("NO_COLOR", |value| !value.is_empty())
                && !said("TERM", |value| value == "dumb")
        }
    }
}

/// Writes a line to stderr, unless it is to be quiet.
pub(crate) fn note(line: impl std::fmt::Display) {
    if !quiet() {
        error(line);
    }
}

/// Writes a line to stderr, fit to be shown; a closed stderr is nobody's loss.
pub(crate) fn error(line: impl std::fmt::Display) {
    let line = redact::text(&line.to_string());
    rendered(printable(&line));
}

/// Writes lines to stderr as they are, colours and all.
pub(crate) fn rendered(lines: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{lines}");
}

/// The width of the terminal that stdout is; absent if it is none.
pub(crate) fn terminal_width() -> Option<u16> {
    let stdout = io::stdout();
    let size = terminal_size::terminal_size_of(&stdout);
    size.filter(|_| stdout.is_terminal())
        .map(|(width, _)| width.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_words_are_not() {
        let hostile = "a\u{1b}]0;title\u{7}b\u{9b}31m\u{202e}gpj.exe\r\u{2067}";
        assert_eq!(
            printable(hostile),
            r"a\u{1b}]0;title\u{7}b\u{9b}31m\u{202e}gpj.exe\u{d}\u{2067}"
        );
        let plain = "Grüße, 東京 👩‍💻\n\t± 3 %";
        assert!(matches!(printable(plain), Cow::Borrowed(text) if text == plain));
    }

    proptest! {
        #[test]
        fn nothing_printable_is_ever_obeyed(text in any::<String>()) {
            let shown = printable(&text).into_owned();
            prop_assert!(!shown.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
            prop_assert_eq!(printable(&shown), shown.as_str());
        }
    }
}
