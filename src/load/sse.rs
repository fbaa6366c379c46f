//! Server-sent events, parsed as their bytes arrive: a read may end anywhere, inside a line end or a UTF-8
//! character too, and any split of a stream gives the same events.
//!
//! Follows the event stream format of the HTML standard, section 9.2.6. Bytes are never decoded or repaired here: data stays as it came, and
//! whoever parses it as JSON finds whether it is UTF-8.

use memchr::memchr2;

/// No line or event of an OpenAI-compatible server is nearly this long; a stream that is no event stream can be.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// One dispatched event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// The `event` field; empty if there was none.
    pub name: &'a [u8],
    /// The `data` fields, joined by line feeds.
    pub data: &'a [u8],
}

/// A line or an event grew beyond 16 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {} MiB: this is not a token stream", MAX_EVENT_BYTES >> 20)]
pub struct EventTooLong;

/// The state between two reads.
#[derive(Debug, Default)]
pub struct SseParser {
    /// The line that the last read left unfinished.
    partial: Vec<u8>,
    /// The event's data so far, if some of it had to be kept.
    data: Vec<u8>,
    /// Whether the event has a `data` field.
    has_data: bool,
    /// The event's name.
    name: Vec<u8>,
    /// Whether the last byte was a carriage return, so that a line feed now belongs to it.
    after_cr: bool,
    /// Whether the first line, which may begin with a byte order mark, is behind us.
    past_first_line: bool,
}

impl SseParser {
    /// Takes the next bytes of the stream and hands each event that they complete to `sink`.
    pub fn push(
        &mut self,
        mut input: &[u8],
        mut sink: impl FnMut(SseEvent<'_>),
    ) -> Result<(), EventTooLong> {
        if self.after_cr && !input.is_empty() {
            self.after_cr = false;
            input = input.strip_prefix(b"\n").unwrap_or(input);
        }
        while let Some(end) = memchr2(b'\n', b'\r', input) {
            let line = &input[..end];
            input = self.past_line_end(&input[end..]);
            if self.partial.is_empty() {
                input = self.line(line, input, &mut sink);
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                input = self.line(&whole, input, &mut sink);
                whole.clear();
                self.partial = whole;
            }
            if self.data.len() > MAX_EVENT_BYTES {
                return Err(EventTooLong);
            }
        }
        if self.partial.len() + input.len() > MAX_EVENT_BYTES {
            return Err(EventTooLong);
        }
        self.partial.extend_from_slice(input);
        Ok(())
    }

    /// Whether the stream stopped inside an event (which the standard says to discard).
    pub fn is_inside_event(&self) -> bool {
        self.has_data || !self.partial.is_empty()
    }

    /// `input` begins with a line end: what follows it.
    fn past_line_end<'i>(&mut self, input: &'i [u8]) -> &'i [u8] {
        match input {
            [b'\r'] => {
                self.after_cr = true;
                &[]
            }
            [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
            [] => &[],
        }
    }

    /// Takes one line without its end. `rest` is what follows; returned is what is left of it, because the usual
    /// event (one data line and an empty one) is handed on at once without being copied.
    fn line<'i>(
        &mut self,
        line: &[u8],
        rest: &'i [u8],
        sink: &mut impl FnMut(SseEvent<'_>),
    ) -> &'i [u8] {
        let line = if self.past_first_line {
            line
        } else {
            self.past_first_line = true;
            line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line)
        };
        if line.is_empty() {
            self.dispatch(sink);
            return rest;
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(0) => return rest,
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match field {
            b"data" if !self.has_data && matches!(rest, [b'\n' | b'\r', ..]) => {
                sink(SseEvent {
                    name: &self.name,
                    data: value,
                });
                self.name.clear();
                return self.past_line_end(rest);
            }
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            // `id`, `retry` and unknown fields mean nothing to a benchmark.
            _ => {}
        }
        rest
    }

    fn dispatch(&mut self, sink: &mut impl FnMut(SseEvent<'_>)) {
        if self.has_data {
            sink(SseEvent {
                name: &self.name,
                data: &self.data,
            });
        }
        self.data.clear();
        self.has_data = false;
        self.name.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (Vec<u8>, Vec<u8>);

    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Owned> {
        let mut parser = SseParser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser
                .push(piece, |e| events.push((e.name.to_vec(), e.data.to_vec())))
                .expect("short events");
        }
        events
    }

    fn data(text: &str) -> Vec<String> {
        parse([text.as_bytes()])
            .into_iter()
            .map(|(_, data)| String::from_utf8(data).expect("UTF-8 in the test"))
            .collect()
    }

    /// The standard's algorithm on the whole text, written for clearness alone.
    fn model(bytes: &[u8]) -> Vec<Owned> {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let mut lines = Vec::new();
        let mut line = Vec::new();
        let mut i = 0;
        while i < bytes.len() {
            match bytes[i] {
                b'\r' => {
                    lines.push(std::mem::take(&mut line));
                    if bytes.get(i + 1) == Some(&b'\n') {
                        i += 1;
                    }
                }
                b'\n' => lines.push(std::mem::take(&mut line)),
                other => line.push(other),
            }
            i += 1;
        }
        let mut events = Vec::new();
        let (mut name, mut data): (Vec<u8>, Option<Vec<u8>>) = (Vec::new(), None);
        for line in lines {
            if line.is_empty() {
                if let Some(data) = data.take() {
                    events.push((std::mem::take(&mut name), data));
                }
                name.clear();
                continue;
            }
            let (field, value) = match line.iter().position(|b| *b == b':') {
                Some(at) => (&line[..at], &line[at + 1..]),
                None => (&line[..], &b""[..]),
            };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match field {
                b"data" => match &mut data {
                    Some(data) => {
                        data.push(b'\n');
                        data.extend_from_slice(value);
                    }
                    None => data = Some(value.to_vec()),
                },
                b"event" => name = value.to_vec(),
                _ => {}
            }
        }
        events
    }

    #[test]
    fn the_usual_event() {
        assert_eq!(
            data("data: {\"a\":1}\n\ndata: [DONE]\n\n"),
            ["{\"a\":1}", "[DONE]"]
        );
    }

    #[test]
    fn all_line_ends_comments_and_fields() {
        assert_eq!(
            data("data: a\r\n\r\ndata: b\r\rdata: c\n\n"),
            ["a", "b", "c"]
        );
        assert_eq!(data(": ping\n\ndata: a\n: ping\n\n"), ["a"]);
        assert_eq!(data("id: 7\nretry: 1\nother\ndata:a\n\n"), ["a"]);
        assert_eq!(data("data: a\ndata:  b\ndata\n\n"), ["a\n b\n"]);
        assert_eq!(data("\u{feff}data: a\n\n\u{feff}data: b\n\n"), ["a"]);
    }

    #[test]
    fn names_last_for_one_event() {
        let events = parse([&b"event: error\ndata: a\n\nevent: x\n\ndata: b\n\n"[..]]);
        assert_eq!(
            events,
            [(b"error".to_vec(), b"a".to_vec()), (vec![], b"b".to_vec())]
        );
    }

    #[test]
    fn a_stream_cut_short_is_seen() {
        let mut parser = SseParser::default();
        parser.push(b"data: a\n\ndata: b\n", |_| {}).expect("short");
        assert!(parser.is_inside_event());
        parser.push(b"\n", |_| {}).expect("short");
        assert!(!parser.is_inside_event());
        parser.push(b"da", |_| {}).expect("short");
        assert!(parser.is_inside_event());
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = SseParser::default();
        let block = vec![b'x'; 1 << 20];
        let refused = (0..=16).any(|_| parser.push(&block, |_| {}).is_err());
        assert!(refused);
    }

    /// Bytes that hit the grammar: fields, all line ends, comments, byte order marks, broken UTF-8.
    fn streams() -> impl Strategy<Value = Vec<u8>> {
        let token = prop_oneof![
            4 => Just(b"data: ".to_vec()),
            2 => Just(b"data".to_vec()),
            2 => Just(b"event: error".to_vec()),
            2 => Just(b":".to_vec()),
            6 => Just(b"\n".to_vec()),
            3 => Just(b"\r\n".to_vec()),
            3 => Just(b"\r".to_vec()),
            1 => Just(b"\xEF\xBB\xBF".to_vec()),
            1 => Just("\u{1F600}é".as_bytes().to_vec()),
            1 => Just(b"{\"choices\":[]}".to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_events_of_the_whole(
            bytes in streams(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]);
            let expected = model(&bytes);
            prop_assert_eq!(parse(pieces), expected.clone());
            prop_assert_eq!(parse([&bytes[..]]), expected.clone());
            prop_assert_eq!(parse(bytes.chunks(1)), expected);
        }
    }
}
