//! Data goes to stdout, everything else to stderr. A reader that went away (`| head`) is success.

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use crate::error::{CommandError, Exit};

/// Writes text (or CSV's bytes) to stdout. `Ok` if the reader has closed it.
///
/// A stdout that takes nothing, as on a full disk, is what the environment lacks.
pub(crate) fn data(text: impl AsRef<[u8]>) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_ref())
        .and_then(|()| stdout.flush());
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

/// Writes a line to stderr; a closed stderr is nobody's loss.
pub(crate) fn error(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// The width of the terminal that stdout is; absent if it is none.
pub(crate) fn terminal_width() -> Option<u16> {
    let stdout = io::stdout();
    let size = terminal_size::terminal_size_of(&stdout);
    size.filter(|_| stdout.is_terminal())
        .map(|(width, _)| width.0)
}
