//! The response half of HTTP/1.1 for one connection: a head, then a body that is chunked, counted, or ends with
//! the connection. It is fed from a buffer that holds everything not yet consumed, and copies no body bytes.
//!
//! A client library would do this too, but between the socket and its caller it queues frames, and the time of a
//! frame's arrival is lost there.

const MAX_HEADERS: usize = 96;
const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_LINE_BYTES: usize = 8 << 10;

/// The head of a response, as far as a benchmark cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// `Content-Type` in lower case; empty if there is none.
    pub content_type: String,
    /// `Location`, where a redirect wants to go.
    pub location: Option<String>,
    /// `Content-Encoding`, unless it is `identity`.
    pub content_encoding: Option<String>,
    /// Whether the connection can carry another request.
    pub keep_alive: bool,
}

/// One piece of a response.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// Nothing whole is left in the buffer.
    NeedMore,
    /// The head.
    Head(Head),
    /// Bytes of the body.
    Data(&'a [u8]),
    /// The response is complete.
    End,
}

/// Bytes that are no HTTP/1.1 response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The head cannot be parsed.
    #[error("not an HTTP/1.1 response ({0}): {1}")]
    Head(httparse::Error, String),
    /// A head or a line in the framing that never ends.
    #[error("a response head or chunk header of more than {0} bytes")]
    TooLong(usize),
    /// `Content-Length` is no number.
    #[error("Content-Length is {0:?}")]
    ContentLength(String),
    /// A chunk header that is no hexadecimal number.
    #[error("a chunk of length {0:?}")]
    ChunkLength(String),
    /// A chunk is longer than its header said.
    #[error("a chunk that does not end where its header says")]
    ChunkEnd,
    /// The connection was closed inside a response.
    #[error("the connection was closed before the response was complete")]
    ClosedEarly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Head,
    /// So many bytes are still to come.
    Counted(u64),
    /// At a chunk's header line.
    ChunkHeader,
    /// So many bytes of the chunk are still to come.
    Chunk(u64),
    /// At the line end after a chunk.
    ChunkEnd,
    /// At a line of the trailer.
    Trailer,
    UntilClose,
    Done,
}

/// Decodes one response after another.
#[derive(Debug)]
pub struct ResponseDecoder {
    state: Awaited,
}

impl Default for ResponseDecoder {
    fn default() -> Self {
        Self {
            state: Awaited::Head,
        }
    }
}

impl ResponseDecoder {
    /// Makes ready for the next response on the same connection.
    pub fn reset(&mut self) {
        self.state = Awaited::Head;
    }

    /// The next piece in `input`, and how many bytes of it are used up. [`Decoded::NeedMore`] uses up none.
    pub fn next<'i>(&mut self, input: &'i [u8]) -> Result<(usize, Decoded<'i>), HttpError> {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            match self.state {
                Awaited::Head => match self.head(rest)? {
                    None => return Ok((used, Decoded::NeedMore)),
                    // 100 Continue and the like announce the real head.
                    Some((length, head)) if head.status < 200 => {
                        used += length;
                        self.state = Awaited::Head;
                    }
                    Some((length, head)) => return Ok((used + length, Decoded::Head(head))),
                },
                Awaited::Counted(0) => self.state = Awaited::Done,
                Awaited::Counted(left) => {
                    let Some(data) = at_most(rest, left) else {
                        return Ok((used, Decoded::NeedMore));
                    };
                    self.state = Awaited::Counted(left - data.len() as u64);
                    return Ok((used + data.len(), Decoded::Data(data)));
                }
                Awaited::ChunkHeader => {
                    let Some((length, line)) = line(rest)? else {
                        return Ok((used, Decoded::NeedMore));
                    };
                    used += length;
                    self.state = match chunk_length(line)? {
                        0 => Awaited::Trailer,
                        length => Awaited::Chunk(length),
                    };
                }
                Awaited::Chunk(left) => {
                    let Some(data) = at_most(rest, left) else {
                        return Ok((used, Decoded::NeedMore));
                    };
                    self.state = match left - data.len() as u64 {
                        0 => Awaited::ChunkEnd,
                        left => Awaited::Chunk(left),
                    };
                    return Ok((used + data.len(), Decoded::Data(data)));
                }
                Awaited::ChunkEnd => {
                    match rest {
                        [b'\r', b'\n', ..] => used += 2,
                        [b'\n', ..] => used += 1,
                        [] | [b'\r'] => return Ok((used, Decoded::NeedMore)),
                        _ => return Err(HttpError::ChunkEnd),
                    }
                    self.state = Awaited::ChunkHeader;
                }
                Awaited::Trailer => {
                    let Some((length, line)) = line(rest)? else {
                        return Ok((used, Decoded::NeedMore));
                    };
                    used += length;
                    if line.is_empty() {
                        self.state = Awaited::Done;
                    }
                }
                Awaited::UntilClose if rest.is_empty() => return Ok((used, Decoded::NeedMore)),
                Awaited::UntilClose => return Ok((input.len(), Decoded::Data(rest))),
                Awaited::Done => return Ok((used, Decoded::End)),
            }
        }
    }

    /// The peer has closed its side: whether that was a proper end of the response.
    pub fn closed(&self) -> Result<(), HttpError> {
        match self.state {
            Awaited::UntilClose | Awaited::Done => Ok(()),
            _ => Err(HttpError::ClosedEarly),
        }
    }

    fn head(&mut self, input: &[u8]) -> Result<Option<(usize, Head)>, HttpError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(input) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if input.len() > MAX_HEAD_BYTES => {
                return Err(HttpError::TooLong(MAX_HEAD_BYTES));
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(HttpError::Head(error, super::excerpt(input, 120))),
        };
        let status = response.code.unwrap_or(0);
        let mut head = Head {
            status,
            content_type: String::new(),
            location: None,
            content_encoding: None,
            keep_alive: response.version == Some(1),
        };
        let mut chunked = false;
        let mut content_length = None;
        for header in response.headers.iter() {
            let value = || String::from_utf8_lossy(header.value).trim().to_owned();
            match header.name.to_ascii_lowercase().as_str() {
                "content-type" => head.content_type = value().to_ascii_lowercase(),
                "location" => head.location = Some(value()),
                "content-encoding" => {
                    head.content_encoding =
                        Some(value()).filter(|v| !v.eq_ignore_ascii_case("identity"));
                }
                "connection" => {
                    for option in value().to_ascii_lowercase().split(',').map(str::trim) {
                        match option {
                            "close" => head.keep_alive = false,
                            "keep-alive" => head.keep_alive = true,
                            _ => {}
                        }
                    }
                }
                "transfer-encoding" => {
                    chunked = value()
                        .rsplit(',')
                        .next()
                        .is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked"));
                }
                "content-length" => {
                    let value = value();
                    let length = value.parse::<u64>();
                    content_length = Some(length.map_err(|_| HttpError::ContentLength(value))?);
                }
                _ => {}
            }
        }
        self.state = match (chunked, content_length) {
            _ if matches!(status, 100..=199 | 204 | 304) => Awaited::Done,
            (true, _) => Awaited::ChunkHeader,
            (false, Some(length)) => Awaited::Counted(length),
            (false, None) => {
                head.keep_alive = false;
                Awaited::UntilClose
            }
        };
        Ok(Some((length, head)))
    }
}

/// A non-empty prefix of `input` of at most `limit` bytes.
fn at_most(input: &[u8], limit: u64) -> Option<&[u8]> {
    let length = input
        .len()
        .min(usize::try_from(limit).unwrap_or(usize::MAX));
    (length > 0).then(|| &input[..length])
}

/// The first line of `input` without its end, and its length with it.
fn line(input: &[u8]) -> Result<Option<(usize, &[u8])>, HttpError> {
    match memchr::memchr(b'\n', input) {
        Some(end) => {
            let line = &input[..end];
            Ok(Some((end + 1, line.strip_suffix(b"\r").unwrap_or(line))))
        }
        None if input.len() > MAX_LINE_BYTES => Err(HttpError::TooLong(MAX_LINE_BYTES)),
        None => Ok(None),
    }
}

/// The number before a chunk's extensions.
fn chunk_length(line: &[u8]) -> Result<u64, HttpError> {
    let digits = line
        .split(|b| *b == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    let wrong = || HttpError::ChunkLength(super::excerpt(line, 40));
    if digits.is_empty() || digits.len() > 15 {
        return Err(wrong());
    }
    digits.iter().try_fold(0_u64, |length, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or_else(wrong)?;
        Ok(length * 16 + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Default, PartialEq, Eq, Clone)]
    struct Whole {
        status: u16,
        body: Vec<u8>,
        ended: bool,
        keep_alive: bool,
    }

    /// Feeds `pieces` as a socket would and collects everything.
    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Whole, HttpError> {
        let mut decoder = ResponseDecoder::default();
        let mut whole = Whole::default();
        let mut buffer = Vec::new();
        for bytes in pieces {
            buffer.extend_from_slice(bytes);
            loop {
                let (used, piece) = decoder.next(&buffer)?;
                let stop = match piece {
                    Decoded::NeedMore => true,
                    Decoded::Head(head) => {
                        whole.status = head.status;
                        whole.keep_alive = head.keep_alive;
                        false
                    }
                    Decoded::Data(data) => {
                        whole.body.extend_from_slice(data);
                        false
                    }
                    Decoded::End => {
                        whole.ended = true;
                        true
                    }
                };
                buffer.drain(..used);
                if stop {
                    break;
                }
            }
        }
        if !whole.ended {
            decoder.closed()?;
        }
        Ok(whole)
    }

    const CHUNKED: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n, world 12\r\n0\r\nTrailer: x\r\n\r\n";

    #[test]
    fn chunked_counted_and_until_close() {
        let whole = decode([CHUNKED]).expect("sound");
        assert_eq!(whole.body, b"hello, world 12");
        assert!(whole.ended && whole.keep_alive && whole.status == 200);
        let whole = decode([
            &b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"[..],
        ]);
        let whole = whole.expect("sound");
        assert_eq!(
            (whole.status, whole.body.as_slice(), whole.keep_alive),
            (404, &b"no"[..], false)
        );
        let whole = decode([&b"HTTP/1.0 200 OK\r\n\r\nrest"[..]]).expect("sound");
        assert_eq!(
            (whole.body.as_slice(), whole.keep_alive),
            (&b"rest"[..], false)
        );
        let whole = decode([&b"HTTP/1.1 204 No Content\r\n\r\n"[..]]).expect("sound");
        assert!(whole.ended);
    }

    #[test]
    fn what_is_cut_short_or_broken_is_told_apart() {
        for end in 1..CHUNKED.len() {
            assert_eq!(
                decode([&CHUNKED[..end]]),
                Err(HttpError::ClosedEarly),
                "{end}"
            );
        }
        let chunked = |body: &str| {
            decode([
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}").as_bytes(),
            ])
        };
        assert_eq!(chunked("zz\r\n"), Err(HttpError::ChunkLength("zz".into())));
        assert_eq!(chunked("\r\n"), Err(HttpError::ChunkLength(String::new())));
        assert_eq!(chunked("1\r\nab"), Err(HttpError::ChunkEnd));
        assert!(matches!(
            decode([&b"SSH-2.0-OpenSSH_9.6\r\n"[..]]),
            Err(HttpError::Head(..))
        ));
        let counted = decode([&b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"[..]]);
        assert_eq!(counted, Err(HttpError::ContentLength("many".into())));
        let endless = [&b"HTTP/1.1 200 OK\r\nx: "[..], &vec![b'y'; MAX_HEAD_BYTES]].concat();
        assert_eq!(
            decode([&endless[..]]),
            Err(HttpError::TooLong(MAX_HEAD_BYTES))
        );
    }

    proptest! {
        #[test]
        fn any_split_decodes_alike(cuts in prop::collection::vec(0..=CHUNKED.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.extend([0, CHUNKED.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|w| &CHUNKED[w[0]..w[1]]);
            prop_assert_eq!(decode(pieces), decode([CHUNKED]));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), body in any::<bool>()) {
            let head: &[u8] = if body { b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" } else { b"" };
            let _ = decode([head, &bytes]);
        }
    }
}
