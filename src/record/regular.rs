//! Only files are read: a FIFO would be waited for without end, and a device read until memory is gone.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// No file that rollbench reads whole is larger: a record of a million sequences has some 100 MB.
const LARGEST: u64 = 2 << 30;

/// Opens a regular file, or what a link leads to, for reading.
///
/// # Errors
/// As `File::open`; and if it is no file, or larger than any that rollbench writes.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    // Opening a FIFO would wait for a writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if metadata.len() > LARGEST {
        return Err(io::Error::other(format!(
            "it has more than {} GB",
            LARGEST >> 30
        )));
    }
    Ok(file)
}

/// The content of a regular file, or of what a link leads to.
///
/// # Errors
/// As `std::fs::read`; and if it is no file, or larger than any that rollbench writes.
pub(crate) fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_not_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("made");
        std::os::unix::fs::symlink("/dev/zero", at("zero")).expect("linked");
        std::fs::write(at("file"), "x").expect("written");
        std::os::unix::fs::symlink(at("file"), at("link")).expect("linked");
        for name in ["fifo", "zero", "."] {
            let error = read_regular(&at(name)).expect_err("no file");
            assert!(
                error.to_string().contains("no regular file"),
                "{name}: {error}"
            );
        }
        assert_eq!(read_regular(&at("link")).expect("a file"), b"x");
    }
}
