//! An engine's output on its way to the log. vLLM prints its arguments: where a secret is known, what is written goes
//! through rollbench, which takes it out before it reaches the disk.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::oneshot;

use crate::error::PathError;
use crate::record::redact;

/// What was written before is in the log long before this, unless its disk hangs.
const PATIENCE: Duration = Duration::from_secs(2);
/// A line is not held back beyond this many bytes.
const LONGEST_LINE: usize = 64 << 10;

nix::ioctl_read_bad!(unread_bytes, nix::libc::FIONREAD, nix::libc::c_int);

/// The thread between an engine and its log.
#[derive(Debug)]
pub(super) struct Capture {
    output: Arc<Output>,
    ended: oneshot::Receiver<()>,
}

#[derive(Debug)]
struct Output {
    reader: PipeReader,
    /// Held from reading until what was read is written.
    log: Mutex<Log>,
}

#[derive(Debug)]
struct Log {
    file: File,
    /// The beginning of a line.
    rest: Vec<u8>,
}

/// Opens the log at `path`, made with mode 0600. The descriptor is what the engine writes to: the file itself if no
/// secret is known.
pub(super) fn open(path: &Path) -> Result<(OwnedFd, Option<Capture>), PathError> {
    let file = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(PathError::on("open", path))?;
    if !redact::knows_secrets() {
        return Ok((file.into(), None));
    }
    let (writer, capture) = Capture::begin(file).map_err(PathError::on("capture", path))?;
    Ok((writer, Some(capture)))
}

impl Capture {
    fn begin(file: File) -> io::Result<(OwnedFd, Self)> {
        let (reader, writer) = io::pipe()?;
        let log = Mutex::new(Log {
            file,
            rest: Vec::new(),
        });
        let output = Arc::new(Output { reader, log });
        let (end, ended) = oneshot::channel();
        let copied = Arc::clone(&output);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                copied.copy();
                drop(end);
            })?;
        Ok((writer.into(), Self { output, ended }))
    }

    /// Returns when the whole lines that were printed until now are in the log.
    pub(super) fn settle(&self) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && !self.output.is_copied() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until everything is in the log. To be called when no process is left that could print.
    pub(super) async fn end(&mut self) {
        let _ = tokio::time::timeout(PATIENCE, &mut self.ended).await;
    }
}

impl Output {
    fn copy(&self) {
        loop {
            let mut ready = [PollFd::new(self.reader.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut ready, PollTimeout::NONE);
            let Ok(mut log) = self.log.lock() else { return };
            let mut chunk = [0; 16 << 10];
            match (&self.reader).read(&mut chunk) {
                Ok(0) => return log.flush(),
                Ok(n) => log.take(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return log.flush(),
            }
        }
    }

    #[expect(unsafe_code, reason = "how much is in a pipe")]
    fn is_copied(&self) -> bool {
        let Ok(_log) = self.log.lock() else {
            return true;
        };
        let mut unread = 0;
        // SAFETY: the kernel writes one int.
        let known = unsafe { unread_bytes(self.reader.as_raw_fd(), &raw mut unread) };
        known.is_err() || unread == 0
    }
}

impl Log {
    fn take(&mut self, printed: &[u8]) {
        self.rest.extend_from_slice(printed);
        // Progress bars end their lines by going back.
        let whole = self.rest.iter().rposition(|b| matches!(b, b'\n' | b'\r'));
        match whole {
            Some(end) => {
                let tail = self.rest.split_off(end + 1);
                self.flush();
                self.rest = tail;
            }
            None if self.rest.len() > LONGEST_LINE => self.flush(),
            None => {}
        }
    }

    /// What the disk does not take is lost: the engine must not wait for it.
    fn flush(&mut self) {
        let lines = std::mem::take(&mut self.rest);
        let shown = redact::text(&String::from_utf8_lossy(&lines));
        let _ = self.file.write_all(shown.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn secrets_are_gone_before_the_disk_and_nothing_else_is() {
        redact::learn("CAPTURED_TOKEN", "seven-of-nine-7of9");
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("engine.log");
        let (writer, capture) = open(&path).expect("opened");
        let mut capture = capture.expect("a secret is known");
        let mut writer = File::from(writer);
        let read = || std::fs::read_to_string(&path).expect("a log");
        writer
            .write_all(b"load: 10%\rargs: seven-of-")
            .expect("taken");
        capture.settle();
        assert_eq!(read(), "load: 10%\r");
        writer
            .write_all(b"nine-7of9 dtype=auto\nno end")
            .expect("taken");
        capture.settle();
        assert_eq!(read(), "load: 10%\rargs: *** dtype=auto\n");
        drop(writer);
        capture.end().await;
        assert_eq!(read(), "load: 10%\rargs: *** dtype=auto\nno end");
    }
}
