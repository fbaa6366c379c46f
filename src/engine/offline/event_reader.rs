//! Reads the driver's events from its pipe.

use std::io;
use std::os::fd::OwnedFd;

use tokio::net::unix::pipe;

use super::protocol::Event;

/// No event is longer: a step of a million sequences has some 40 MB.
const LONGEST: usize = 256 << 20;

/// What came is no event.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// Nonsense, or an event of another protocol.
    #[error("the driver said `{text}`: {reason}")]
    Unreadable {
        /// The line, cut.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A line without an end.
    #[error("the driver sent a line of more than {} MB that begins with `{text}`", LONGEST >> 20)]
    TooLong {
        /// Its beginning.
        text: String,
    },
    /// The pipe itself failed.
    #[error("the driver's pipe cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// The reading end. Its methods may be cancelled at any point: what was read stays in the buffer.
#[derive(Debug)]
pub(super) struct EventReader {
    pipe: pipe::Receiver,
    buffer: Vec<u8>,
    /// Up to here the buffer is known to hold no line end.
    scanned: usize,
    ended: bool,
}

impl EventReader {
    /// Needs a running tokio runtime.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            pipe: pipe::Receiver::from_owned_fd(fd)?,
            buffer: Vec::new(),
            scanned: 0,
            ended: false,
        })
    }

    /// Whether every writer has closed the pipe and all of it was read.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// The next event; absent when the pipe has ended (which says nothing about the process).
    pub(super) async fn next(&mut self) -> Result<Option<Event>, ReadError> {
        loop {
            if let Some(event) = self.take()? {
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            self.pipe.readable().await?;
            self.fill()?;
        }
    }

    /// The next event of those that are already in the pipe; absent if there is none.
    pub(super) fn try_next(&mut self) -> Result<Option<Event>, ReadError> {
        loop {
            if let Some(event) = self.take()? {
                return Ok(Some(event));
            }
            if self.ended || !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Throws away what is in the buffer and in the pipe, so that the driver can go on writing.
    pub(super) fn discard(&mut self) {
        self.buffer.clear();
        self.scanned = 0;
    }

    /// Whether something was read.
    fn fill(&mut self) -> Result<bool, ReadError> {
        self.buffer.reserve(64 << 10);
        match self.pipe.try_read_buf(&mut self.buffer) {
            Ok(0) => {
                self.ended = true;
                Ok(true)
            }
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn take(&mut self) -> Result<Option<Event>, ReadError> {
        let Some(end) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) else {
            self.scanned = self.buffer.len();
            if self.scanned > LONGEST {
                let text = cut(&self.buffer);
                self.discard();
                return Err(ReadError::TooLong { text });
            }
            return Ok(None);
        };
        let end = self.scanned + end;
        let parsed =
            serde_json::from_slice(&self.buffer[..end]).map_err(|error| ReadError::Unreadable {
                text: cut(&self.buffer[..end]),
                reason: error.to_string(),
            });
        self.buffer.drain(..=end);
        self.scanned = 0;
        parsed.map(Some)
    }
}

/// The beginning of what was sent, fit for a message.
fn cut(bytes: &[u8]) -> String {
    const SHOWN: usize = 120;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN)]);
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().count() > SHOWN || bytes.len() > 4 * SHOWN {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn pair() -> (std::io::PipeWriter, EventReader) {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        (writer, EventReader::new(reader.into()).expect("a reader"))
    }

    #[tokio::test]
    async fn events_split_over_writes_are_put_together() {
        let (mut writer, mut reader) = pair();
        writer.write_all(b"{\"event\":\"hel").expect("room");
        assert!(reader.try_next().expect("nothing wrong yet").is_none());
        writer
            .write_all(b"lo\",\"protocol\":1}\n{\"event\":\"done\"}\n")
            .expect("room");
        assert!(matches!(
            reader.next().await,
            Ok(Some(Event::Hello { protocol: 1 }))
        ));
        assert!(matches!(reader.try_next(), Ok(Some(Event::Done))));
        drop(writer);
        assert!(matches!(reader.next().await, Ok(None)));
        assert!(reader.ended());
    }

    #[tokio::test]
    async fn nonsense_is_quoted_and_the_next_line_is_still_read() {
        let (mut writer, mut reader) = pair();
        writer
            .write_all(b"\x1b[1mTraceback\n{\"event\":\"done\"}\n")
            .expect("room");
        let error = reader.next().await.expect_err("no JSON").to_string();
        assert!(
            error.starts_with("the driver said ` [1mTraceback`: "),
            "{error}"
        );
        assert!(matches!(reader.next().await, Ok(Some(Event::Done))));
    }

    #[tokio::test]
    async fn a_cancelled_read_loses_nothing() {
        let (mut writer, mut reader) = pair();
        writer.write_all(b"{\"event\":").expect("room");
        tokio::select! {
            biased;
            _ = reader.next() => panic!("there is no whole event"),
            () = tokio::task::yield_now() => {}
        }
        writer.write_all(b"\"done\"}\n").expect("room");
        assert!(matches!(reader.next().await, Ok(Some(Event::Done))));
    }
}
