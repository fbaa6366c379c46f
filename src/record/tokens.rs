//! The arrival times of every chunk of a step's streams: too much for the record itself, so they go to a file
//! beside it. About four bytes a token.
//!
//! The file: the 8 bytes `rbtokens`, a version byte, then as LEB128 numbers the count of rows and, row by row, the count of
//! chunks, the gaps between their times in nanoseconds (the first from the step's begin), how tokens are spread over
//! them (0 one each, 1 one each after a first chunk without, 2 counts follow, 3 unknown), and the counts.

use std::io::Write as _;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Sidecar, hex, write_atomic};
use crate::error::PathError;

/// Token times of one step, one row a sequence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenTimes {
    /// Aligned with [`super::Sequences`].
    pub rows: Vec<TokenRow>,
}

/// The chunks of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenRow {
    /// When each chunk that names the stream's choice arrived, from the step's begin, in order.
    pub chunk_ns: Vec<u64>,
    /// How many tokens they hold.
    pub tokens: ChunkTokens,
}

/// How many tokens the chunks of a stream hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ChunkTokens {
    /// One each.
    OneEach,
    /// None in the first (chat's role), one in each other.
    OneEachAfterRole,
    /// So many.
    Counted(Vec<u32>),
    /// The server does not tell.
    #[default]
    Unknown,
}

impl TokenRow {
    /// Tokens in chunk `index`; absent if unknown.
    pub fn tokens_in(&self, index: usize) -> Option<u32> {
        match &self.tokens {
            ChunkTokens::OneEach => Some(1),
            ChunkTokens::OneEachAfterRole => Some(u32::from(index > 0)),
            ChunkTokens::Counted(counts) => counts.get(index).copied(),
            ChunkTokens::Unknown => None,
        }
    }
}

/// Bytes that are no file of token times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenTimesError {
    /// The first bytes are others.
    #[error("not a file of token times")]
    Magic,
    /// Written by another version.
    #[error("token times of version {0}, which this rollbench does not read")]
    Version(u8),
    /// It ends too early or a number makes no sense.
    #[error("the token times are damaged at byte {0}")]
    Damaged(usize),
}

const MAGIC: &[u8; 8] = b"rbtokens";
const VERSION: u8 = 1;

impl TokenTimes {
    /// As the bytes of a file.
    pub fn encode(&self) -> Vec<u8> {
        let chunks: usize = self.rows.iter().map(|r| r.chunk_ns.len()).sum();
        let mut out = Vec::with_capacity(16 + 4 * chunks + 4 * self.rows.len());
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        put(&mut out, self.rows.len() as u64);
        for row in &self.rows {
            put(&mut out, row.chunk_ns.len() as u64);
            let mut last = 0;
            for at in &row.chunk_ns {
                put(&mut out, at.saturating_sub(last));
                last = *at;
            }
            match &row.tokens {
                ChunkTokens::OneEach => out.push(0),
                ChunkTokens::OneEachAfterRole => out.push(1),
                ChunkTokens::Counted(counts) => {
                    out.push(2);
                    for index in 0..row.chunk_ns.len() {
                        put(&mut out, counts.get(index).copied().unwrap_or(0).into());
                    }
                }
                ChunkTokens::Unknown => out.push(3),
            }
        }
        out
    }

    /// From the bytes of a file.
    pub fn decode(bytes: &[u8]) -> Result<Self, TokenTimesError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(TokenTimesError::Magic)?;
        match rest.first() {
            Some(&VERSION) => {}
            Some(other) => return Err(TokenTimesError::Version(*other)),
            None => return Err(TokenTimesError::Damaged(bytes.len())),
        }
        let mut reader = Reader {
            bytes,
            at: MAGIC.len() + 1,
        };
        let rows = reader.length()?;
        let mut times = Self {
            rows: Vec::with_capacity(rows),
        };
        for _ in 0..rows {
            let chunks = reader.length()?;
            let mut chunk_ns = Vec::with_capacity(chunks);
            let mut at: u64 = 0;
            for _ in 0..chunks {
                let gap = reader.number()?;
                at = at.checked_add(gap).ok_or(reader.damaged())?;
                chunk_ns.push(at);
            }
            let tokens = match reader.byte()? {
                0 => ChunkTokens::OneEach,
                1 => ChunkTokens::OneEachAfterRole,
                2 => {
                    let mut counts = Vec::with_capacity(chunks);
                    for _ in 0..chunks {
                        let count = reader.number()?;
                        counts.push(u32::try_from(count).map_err(|_| reader.damaged())?);
                    }
                    ChunkTokens::Counted(counts)
                }
                3 => ChunkTokens::Unknown,
                _ => return Err(reader.damaged()),
            };
            times.rows.push(TokenRow { chunk_ns, tokens });
        }
        if reader.at == bytes.len() {
            Ok(times)
        } else {
            Err(reader.damaged())
        }
    }
}

/// Writes `tokens` to `file` in the folder of results `results`, whole or not at all.
pub(crate) fn write_tokens(
    results: &Path,
    file: &str,
    tokens: &TokenTimes,
) -> Result<Sidecar, PathError> {
    write_sidecar(results, file, &tokens.encode())
}

/// Writes a file beside the records.
pub(crate) fn write_sidecar(
    results: &Path,
    file: &str,
    bytes: &[u8],
) -> Result<Sidecar, PathError> {
    write_atomic(&results.join(file), |out| out.write_all(bytes))?;
    Ok(Sidecar {
        file: file.to_owned(),
        sha256: hex(&Sha256::digest(bytes)),
        bytes: bytes.len() as u64,
    })
}

/// Reads what `write_tokens` wrote; absent if it is gone or is not what was written.
pub fn read_tokens(results: &Path, sidecar: &Sidecar) -> Option<TokenTimes> {
    TokenTimes::decode(&read_sidecar(results, sidecar)?).ok()
}

/// The bytes of a file beside the records; absent if it is gone or is not what was written.
pub(crate) fn read_sidecar(results: &Path, sidecar: &Sidecar) -> Option<Vec<u8>> {
    // A record may come from anywhere: it names files of its own folder, and no others.
    let plain = Path::new(&sidecar.file).file_name() == Some(sidecar.file.as_ref());
    let bytes = super::read_regular(&results.join(&sidecar.file)).ok()?;
    let same = hex(&Sha256::digest(&bytes)) == sidecar.sha256;
    (plain && same).then_some(bytes)
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn damaged(&self) -> TokenTimesError {
        TokenTimesError::Damaged(self.at)
    }

    fn byte(&mut self) -> Result<u8, TokenTimesError> {
        let byte = *self.bytes.get(self.at).ok_or(self.damaged())?;
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64, TokenTimesError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                return Err(self.damaged());
            }
            number |= part << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.damaged())
    }

    /// A count of things of at least one byte each, so that damage cannot ask for memory without end.
    fn length(&mut self) -> Result<usize, TokenTimesError> {
        let number = self.number()?;
        usize::try_from(number)
            .ok()
            .filter(|n| *n <= self.bytes.len())
            .ok_or(self.damaged())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows() -> impl Strategy<Value = TokenRow> {
        let times = prop::collection::vec(0_u64..1 << 50, 0..20);
        (times, 0..4_u8).prop_map(|(mut chunk_ns, kind)| {
            chunk_ns.sort_unstable();
            let counts = chunk_ns.iter().map(|t| (t % 5) as u32).collect();
            let tokens = match kind {
                0 => ChunkTokens::OneEach,
                1 => ChunkTokens::OneEachAfterRole,
                2 => ChunkTokens::Counted(counts),
                _ => ChunkTokens::Unknown,
            };
            TokenRow { chunk_ns, tokens }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(rows in prop::collection::vec(rows(), 0..10)) {
            let times = TokenTimes { rows };
            let bytes = times.encode();
            prop_assert_eq!(TokenTimes::decode(&bytes), Ok(times));
            for end in 0..bytes.len() {
                prop_assert!(TokenTimes::decode(&bytes[..end]).is_err());
            }
        }

        #[test]
        fn no_bytes_panic_or_ask_for_much(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = TokenTimes::decode(&[&MAGIC[..], &[VERSION], &bytes].concat());
        }
    }

    #[test]
    fn a_file_is_read_only_if_it_is_what_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let row = TokenRow {
            chunk_ns: vec![1, 2],
            tokens: ChunkTokens::OneEach,
        };
        let times = TokenTimes { rows: vec![row] };
        let sidecar = write_tokens(folder.path(), "a.tokens", &times).expect("written");
        assert_eq!(read_tokens(folder.path(), &sidecar), Some(times.clone()));
        let elsewhere = Sidecar {
            file: folder.path().join("a.tokens").display().to_string(),
            ..sidecar.clone()
        };
        assert_eq!(read_tokens(folder.path(), &elsewhere), None);
        write_tokens(folder.path(), "a.tokens", &TokenTimes::default()).expect("written");
        assert_eq!(read_tokens(folder.path(), &sidecar), None);
    }

    #[test]
    fn a_token_takes_about_four_bytes() {
        let chunk_ns = (1..=1000).map(|i| i * 20_000_000).collect();
        let tokens = ChunkTokens::OneEach;
        let times = TokenTimes {
            rows: vec![TokenRow { chunk_ns, tokens }],
        };
        assert!(times.encode().len() < 4100);
    }

    #[test]
    fn foreign_files_are_told_apart() {
        assert_eq!(TokenTimes::decode(b"{}"), Err(TokenTimesError::Magic));
        let newer = [&MAGIC[..], &[9]].concat();
        assert_eq!(TokenTimes::decode(&newer), Err(TokenTimesError::Version(9)));
    }
}
