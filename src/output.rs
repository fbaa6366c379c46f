//! Data goes to stdout, everything else to stderr. A reader that went away (`| head`) is success.

use std::io::{self, IsTerminal as _, Write as _};

/// Writes text (or CSV's bytes) to stdout. `Ok` if the reader has closed it.
pub(crate) fn data(text: impl AsRef<[u8]>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_ref())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes a line to stderr; a closed stderr is nobody's loss.
pub(crate) fn note(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// The width of the terminal that stdout is; absent if it is none.
pub(crate) fn terminal_width() -> Option<u16> {
    let stdout = io::stdout();
    let size = terminal_size::terminal_size_of(&stdout);
    size.filter(|_| stdout.is_terminal())
        .map(|(width, _)| width.0)
}
