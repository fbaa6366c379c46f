//! Data goes to stdout, everything else to stderr. A reader that went away (`| head`) is success.

use std::io::{self, Write as _};

/// Writes `text` to stdout. `Ok` if the reader has closed it.
pub(crate) fn data(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
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
