//! A file as a window of bytes that moves forward: plain, or gzip inflated on a thread of its own.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};

use flate2::read::MultiGzDecoder;

/// How much is read at once.
const BLOCK: usize = 1 << 20;
/// Blocks between inflating and reading.
const AHEAD: usize = 4;

/// Bytes from `start` on are not used up yet; what precedes them is gone when more is read.
pub(super) struct Window {
    source: Stream,
    buffer: Vec<u8>,
    start: usize,
    /// Where `buffer` begins in the (inflated) file.
    offset: u64,
    /// Why nothing more comes: the end, or what went wrong.
    ended: Option<Result<(), String>>,
}

enum Stream {
    Plain(Box<dyn Read>),
    Inflated(Receiver<io::Result<Vec<u8>>>),
}

impl Window {
    /// Opens a file; gzip is told by its magic, never by its name.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut magic = [0; 2];
        let mut have = 0;
        while have < 2 {
            match file.read(&mut magic[have..])? {
                0 => break,
                n => have += n,
            }
        }
        let head = io::Cursor::new(magic).take(have as u64);
        let whole = head.chain(file);
        Ok(if magic == [0x1f, 0x8b] {
            Self::over(Stream::Inflated(inflate(whole)))
        } else {
            Self::read(whole)
        })
    }

    /// Plain bytes.
    pub(super) fn read(reader: impl Read + 'static) -> Self {
        Self::over(Stream::Plain(Box::new(reader)))
    }

    fn over(source: Stream) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            ended: None,
        }
    }

    /// What is there.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// where `ahead` begins in the (inflated) file.
    pub(super) fn position(&self) -> u64 {
        self.offset + self.start as u64
    }

    /// Gives up the first `n` bytes.
    pub(super) fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.buffer.len());
    }

    /// Reads on; false at the end.
    pub(super) fn more(&mut self) -> bool {
        if self.ended.is_some() {
            return false;
        }
        self.offset += self.start as u64;
        self.buffer.drain(..self.start);
        self.start = 0;
        let had = self.buffer.len();
        let read = match &mut self.source {
            Stream::Plain(reader) => {
                self.buffer.resize(had + BLOCK, 0);
                let read = loop {
                    match reader.read(&mut self.buffer[had..]) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        other => break other,
                    }
                };
                self.buffer
                    .truncate(had + read.as_ref().copied().unwrap_or(0));
                read
            }
            Stream::Inflated(blocks) => match blocks.recv() {
                Ok(Ok(block)) => {
                    self.buffer.extend_from_slice(&block);
                    Ok(block.len())
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Ok(0),
            },
        };
        match read {
            Ok(0) => self.ended = Some(Ok(())),
            Ok(_) => return true,
            Err(error) => self.ended = Some(Err(error.to_string())),
        }
        false
    }

    /// What ended the file early: a gzip stream that is cut, a disk.
    pub(super) fn failure(&self) -> Option<&str> {
        match &self.ended {
            Some(Err(error)) => Some(error),
            _ => None,
        }
    }
}

/// For readers that want a stream: the CSV reader.
impl Read for Window {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.ahead().is_empty() && !self.more() {
            return Ok(0);
        }
        let n = self.ahead().len().min(into.len());
        into[..n].copy_from_slice(&self.ahead()[..n]);
        self.consume(n);
        Ok(n)
    }
}

/// Inflates on a thread of its own; what was inflated before an error arrives before it.
fn inflate(compressed: impl Read + Send + 'static) -> Receiver<io::Result<Vec<u8>>> {
    let (blocks, receiver) = sync_channel(AHEAD);
    std::thread::spawn(move || {
        let compressed = io::BufReader::with_capacity(BLOCK / 4, compressed);
        let mut decoder = MultiGzDecoder::new(compressed);
        loop {
            let mut block = vec![0; BLOCK];
            let mut have = 0;
            let end = loop {
                match decoder.read(&mut block[have..]) {
                    Ok(0) => break Some(Ok(())),
                    Ok(n) => have += n,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => break Some(Err(error)),
                }
                if have == BLOCK {
                    break None;
                }
            };
            block.truncate(have);
            // A reader that has gone needs no more.
            if have > 0 && blocks.send(Ok(block)).is_err() {
                return;
            }
            match end {
                None => {}
                Some(Ok(())) => return,
                Some(Err(error)) => {
                    let _ = blocks.send(Err(error));
                    return;
                }
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory")
    }

    fn all(mut window: Window) -> (Vec<u8>, Option<String>) {
        while window.more() {}
        (window.ahead().to_vec(), window.failure().map(str::to_owned))
    }

    #[test]
    fn members_follow_each_other_and_a_cut_one_keeps_what_it_gave() {
        let text: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        let mut two = gz(&text);
        two.extend(gz(b"tail"));
        let inflate_all = |bytes: Vec<u8>| {
            all(Window::over(Stream::Inflated(inflate(io::Cursor::new(
                bytes,
            )))))
        };
        let (whole, failure) = inflate_all(two);
        assert_eq!((whole.len(), failure), (text.len() + 4, None));
        let cut = gz(&text);
        let (part, failure) = inflate_all(cut[..cut.len() / 2].to_vec());
        assert!(
            !part.is_empty() && text.starts_with(&part),
            "{}",
            part.len()
        );
        assert!(failure.is_some());
    }
}
