//! One request and its answer: from arriving bytes to the times of every chunk of every choice.

use super::chunk::{Chunk, Usage};
use super::excerpt;
use super::http::{Decoded, Head, ResponseDecoder};
use super::request::{Expected, Request};
use super::sse::{SseEvent, SseParser};

/// An error's body is quoted up to here.
const QUOTED_BYTES: usize = 600;
/// And read up to here.
const READ_BYTES: usize = 16 << 10;
/// Chunks or tokens that a choice may have beyond those asked for: roles, empty ends and a server's own way of counting
/// are far below, and a stream beyond it never ends.
const MARGIN: u64 = 64;

/// What came back for one choice. All times are `CLOCK_MONOTONIC` in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) expected: Expected,
    /// Every chunk that names the choice, chat's role-only chunk included.
    pub(super) chunk_ns: Vec<u64>,
    /// Token ids in each of those chunks; empty if the server sends none.
    pub(super) token_ids: Vec<u32>,
    /// The role-only chunk, if there was one; it is the first of `chunk_ns` then.
    pub(super) role_ns: Option<u64>,
    /// The last chunk carried no text, only the reason why the choice ended.
    pub(super) empty_end: bool,
    pub(super) finished: bool,
    /// Tokens so far: those of the ids where there are some, else one a chunk.
    received: u64,
}

impl Choice {
    fn new(expected: Expected) -> Self {
        Self {
            expected,
            chunk_ns: Vec::new(),
            token_ids: Vec::new(),
            role_ns: None,
            empty_end: false,
            finished: false,
            received: 0,
        }
    }

    /// Whether it has outgrown what was asked for.
    fn is_endless(&self) -> bool {
        let asked = u64::from(self.expected.requested_tokens);
        self.received > asked + asked / 8 + MARGIN
    }
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// More has to come.
    Open,
    /// It is over (see `Answer::error`); whether the connection can be used again.
    Over { reusable: bool },
}

/// One request in flight, and afterwards what is known of it.
#[derive(Debug)]
pub(super) struct Exchange {
    bytes: Vec<u8>,
    written: usize,
    decoder: ResponseDecoder,
    sse: SseParser,
    mode: Mode,
    keep_alive: bool,
    pub(super) answer: Answer,
}

/// Everything measured of one request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) scheduled_ns: u64,
    /// When it was due: scheduled, and a slot was free.
    pub(super) due_ns: u64,
    pub(super) connected_ns: Option<u64>,
    /// Its first byte was.
    pub(super) sent_ns: Option<u64>,
    pub(super) first_byte_ns: Option<u64>,
    /// The last chunk of a choice. A server that sends comments or empty events meanwhile makes no tokens.
    pub(super) last_chunk_ns: Option<u64>,
    pub(super) close_ns: Option<u64>,
    pub(super) status: Option<u16>,
    pub(super) usage: Option<Usage>,
    /// `[DONE]` was seen.
    done: bool,
    pub(super) error: Option<String>,
    pub(super) choices: Vec<Choice>,
}

#[derive(Debug)]
enum Mode {
    /// The head has not come.
    Waiting,
    /// A token stream.
    Stream,
    /// Something else, whose beginning is kept to be quoted.
    Quote(Head, Vec<u8>),
}

impl Exchange {
    pub(super) fn new(request: Request, scheduled_ns: u64, due_ns: u64) -> Self {
        Self {
            bytes: request.bytes,
            written: 0,
            decoder: ResponseDecoder::default(),
            sse: SseParser::default(),
            mode: Mode::Waiting,
            keep_alive: true,
            answer: Answer {
                scheduled_ns,
                due_ns,
                connected_ns: None,
                sent_ns: None,
                first_byte_ns: None,
                last_chunk_ns: None,
                close_ns: None,
                status: None,
                usage: None,
                done: false,
                error: None,
                choices: request.choices.into_iter().map(Choice::new).collect(),
            },
        }
    }

    /// What is still to be written.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// So many more bytes were handed to the kernel at `now_ns`.
    pub(super) fn wrote(&mut self, bytes: usize, now_ns: u64) {
        self.written += bytes;
        self.answer.sent_ns.get_or_insert(now_ns);
        if self.unsent().is_empty() {
            self.bytes = Vec::new();
            self.written = 0;
        }
    }

    /// Takes what can be taken from `input`, all of which had arrived by `arrived_ns`.
    pub(super) fn read(&mut self, input: &mut Vec<u8>, arrived_ns: u64) -> Progress {
        self.answer.first_byte_ns.get_or_insert(arrived_ns);
        let mut used = 0;
        let progress = loop {
            let (length, decoded) = match self.decoder.next(&input[used..]) {
                Ok(step) => step,
                Err(error) => break self.fail(error.to_string(), arrived_ns),
            };
            used += length;
            match decoded {
                Decoded::NeedMore => break Progress::Open,
                Decoded::End => break self.end(arrived_ns),
                Decoded::Head(head) => self.head(head),
                Decoded::Data(data) => match &mut self.mode {
                    Mode::Waiting => {}
                    Mode::Quote(_, kept) => {
                        kept.extend_from_slice(data);
                        if kept.len() > READ_BYTES {
                            self.keep_alive = false;
                            break self.end(arrived_ns);
                        }
                    }
                    Mode::Stream => {
                        let answer = &mut self.answer;
                        let pushed = self.sse.push(data, |event| answer.event(event, arrived_ns));
                        if let Err(error) = pushed {
                            answer.error.get_or_insert(error.to_string());
                        }
                        if answer.error.is_some() {
                            self.keep_alive = false;
                            break self.over(arrived_ns);
                        }
                    }
                },
            }
        };
        input.drain(..used);
        progress
    }

    /// The peer has closed its side of the connection.
    pub(super) fn closed(&mut self, now_ns: u64) -> Progress {
        self.keep_alive = false;
        if self.answer.first_byte_ns.is_none() {
            return self.fail(
                "the server closed the connection without an answer".to_owned(),
                now_ns,
            );
        }
        match self.decoder.closed() {
            Ok(()) => self.end(now_ns),
            Err(_) if matches!(self.mode, Mode::Quote(..)) => self.end(now_ns),
            Err(_) => self.fail(
                format!(
                    "the stream was cut off after {} chunks: the server closed the connection",
                    self.answer.chunks()
                ),
                now_ns,
            ),
        }
    }

    /// The request is given up.
    pub(super) fn fail(&mut self, error: String, now_ns: u64) -> Progress {
        self.keep_alive = false;
        self.answer.error.get_or_insert(error);
        self.over(now_ns)
    }

    fn over(&mut self, now_ns: u64) -> Progress {
        self.answer.close_ns.get_or_insert(now_ns);
        Progress::Over {
            reusable: self.keep_alive && self.unsent().is_empty(),
        }
    }

    fn head(&mut self, head: Head) {
        self.keep_alive = head.keep_alive;
        self.answer.status = Some(head.status);
        let streams = head.status == 200
            && head.content_type.starts_with("text/event-stream")
            && head.content_encoding.is_none();
        self.mode = if streams {
            Mode::Stream
        } else {
            Mode::Quote(head, Vec::new())
        };
    }

    /// The response is complete.
    fn end(&mut self, now_ns: u64) -> Progress {
        let verdict = match &self.mode {
            Mode::Quote(head, body) => Some(refusal(head, body)),
            _ => self.answer.shortcoming(),
        };
        if let Some(error) = verdict {
            self.answer.error.get_or_insert(error);
        }
        self.over(now_ns)
    }
}

impl Answer {
    /// Chunks of all choices.
    pub(super) fn chunks(&self) -> usize {
        self.choices.iter().map(|c| c.chunk_ns.len()).sum()
    }

    fn event(&mut self, event: SseEvent<'_>, arrived_ns: u64) {
        if self.error.is_some() {
            return;
        }
        if event.data == b"[DONE]" {
            self.done = true;
            return;
        }
        let chunk = match Chunk::parse(event.data) {
            Ok(chunk) => chunk,
            Err(_) if event.name == b"error" => Chunk {
                error: Some(excerpt(event.data, QUOTED_BYTES)),
                ..Chunk::default()
            },
            Err(error) => {
                self.error = Some(error.to_string());
                return;
            }
        };
        if let Some(message) = chunk.error {
            let message = excerpt(message.as_bytes(), QUOTED_BYTES);
            self.error = Some(format!(
                "the server reported an error in the stream: {message}"
            ));
            return;
        }
        if chunk.usage.is_some() {
            self.usage = chunk.usage;
        }
        for delta in chunk.choices {
            let Some(choice) = self.choices.get_mut(delta.index as usize) else {
                self.error = Some(format!(
                    "a chunk of choice {}, but {} were asked for",
                    delta.index,
                    self.choices.len()
                ));
                return;
            };
            if delta.is_role_only() && choice.chunk_ns.is_empty() {
                choice.role_ns = Some(arrived_ns);
            }
            if choice.chunk_ns.is_empty() {
                // One token a chunk is the rule; the bound keeps a wrong request from reserving memory.
                let likely = choice.expected.requested_tokens.min(1 << 16) as usize;
                choice.chunk_ns.reserve_exact(likely + 1);
            }
            choice.chunk_ns.push(arrived_ns);
            choice.received += u64::from(delta.token_ids.unwrap_or(0).max(1));
            self.last_chunk_ns = Some(arrived_ns);
            if let Some(ids) = delta.token_ids {
                // Ids of a chunk without a count, before the first with one, are none (chat's role).
                choice.token_ids.resize(choice.chunk_ns.len() - 1, 0);
                choice.token_ids.push(ids);
            } else if !choice.token_ids.is_empty() {
                choice.token_ids.push(0);
            }
            choice.finished |= delta.finished;
            choice.empty_end = delta.finished && !delta.has_content;
            if delta.aborted {
                self.error = Some(format!(
                    "the server gave the response up after {} chunks (finish_reason \"abort\")",
                    choice.chunk_ns.len()
                ));
                return;
            }
            if choice.is_endless() {
                self.error = Some(format!(
                    "the stream does not end: {} tokens came, and {} were asked for",
                    choice.received, choice.expected.requested_tokens
                ));
                return;
            }
        }
    }

    /// Why a stream that ended as HTTP wants is still no whole answer.
    fn shortcoming(&self) -> Option<String> {
        if self.error.is_some() {
            return None;
        }
        if self.chunks() == 0 {
            return Some("the stream ended without a single token".to_owned());
        }
        let unfinished = self.choices.iter().filter(|c| !c.finished).count();
        if unfinished > 0 && !self.done {
            return Some(format!(
                "the stream ended early after {} chunks, without a finish_reason and without [DONE]",
                self.chunks()
            ));
        }
        if self.choices.iter().any(|c| c.chunk_ns.is_empty()) {
            return Some("the stream ended without a token for every choice".to_owned());
        }
        None
    }
}

/// What an answer that is no token stream says, in one line.
fn refusal(head: &Head, body: &[u8]) -> String {
    let quoted = excerpt(body, QUOTED_BYTES);
    let is_html = head.content_type.starts_with("text/html")
        || body.trim_ascii_start().get(..1) == Some(b"<");
    match head.status {
        200 if head.content_encoding.is_some() => {
            "the server compresses its stream, although it was not asked to".to_owned()
        }
        200 if is_html => format!("an HTML page instead of a token stream: {quoted}"),
        200 => format!("no token stream ({}): {quoted}", head.content_type),
        status @ 300..400 => match &head.location {
            Some(location) => format!(
                "HTTP {status}, redirected to {}; give that address",
                excerpt(location.as_bytes(), 200)
            ),
            None => format!("HTTP {status}: {quoted}"),
        },
        status if is_html => format!("HTTP {status} with an HTML page: {quoted}"),
        status => format!("HTTP {status}: {quoted}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n";

    fn exchange(choices: u32) -> Exchange {
        let choices = (0..choices)
            .map(|sample| Expected {
                group: 0,
                sample,
                prompt_tokens: 3,
                requested_tokens: 2,
            })
            .collect();
        let bytes = b"POST".to_vec();
        Exchange::new(Request { bytes, choices }, 1, 2)
    }

    /// Sends `parts` at times 10, 20, ... and then closes.
    fn answered(choices: u32, parts: &[&str]) -> Exchange {
        let mut exchange = exchange(choices);
        exchange.wrote(4, 5);
        let mut input = Vec::new();
        for (part, at) in parts.iter().zip(1..) {
            input.extend_from_slice(part.as_bytes());
            if exchange.read(&mut input, at * 10) != Progress::Open {
                return exchange;
            }
        }
        exchange.closed((parts.len() as u64 + 1) * 10);
        exchange
    }

    fn error(parts: &[&str]) -> String {
        answered(1, parts).answer.error.unwrap_or_default()
    }

    #[test]
    fn every_chunk_has_the_time_of_the_read_that_completed_it() {
        let exchange = answered(
            1,
            &[
                HEAD,
                "data: {\"choices\":[{\"index\":0,\"text\":\"a\"}]}\n\nda",
                "ta: {\"choices\":[{\"index\":0,\"text\":\"b\",\"finish_reason\":\"length\"}]}\n\n",
                "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n",
            ],
        );
        let answer = exchange.answer;
        assert_eq!(answer.error, None);
        assert_eq!(answer.choices[0].chunk_ns, [20, 30]);
        assert_eq!(
            (answer.sent_ns, answer.first_byte_ns, answer.close_ns),
            (Some(5), Some(10), Some(50))
        );
        assert_eq!(answer.usage.map(|u| u.completion_tokens), Some(2));
    }

    #[test]
    fn choices_are_kept_apart_and_counted_by_their_ids() {
        let exchange = answered(
            2,
            &[
                HEAD,
                "data: {\"choices\":[{\"index\":1,\"text\":\"a\",\"token_ids\":[1,2]}]}\n\n",
                "data: {\"choices\":[{\"index\":0,\"text\":\"b\",\"token_ids\":[3]}]}\n\n",
                "data: {\"choices\":[{\"index\":1,\"text\":\"\",\"token_ids\":[],\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
            ],
        );
        let [zero, one] = &exchange.answer.choices[..] else {
            panic!("two choices");
        };
        assert_eq!(
            (&zero.chunk_ns[..], &zero.token_ids[..]),
            (&[30][..], &[1][..])
        );
        assert_eq!(
            (&one.chunk_ns[..], &one.token_ids[..]),
            (&[20, 40][..], &[2, 0][..])
        );
        assert!(one.finished && one.empty_end && !zero.finished);
        assert_eq!(exchange.answer.error, None);
    }

    #[test]
    fn answers_that_are_no_whole_stream() {
        let json =
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        let html =
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<!doctype html>\n<title>Hi</title>";
        let bad = "HTTP/1.1 400 Bad Request\r\nContent-Length: 28\r\n\r\n{\"error\":\n  \"max_tokens: 9\"}";
        let moved =
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://x/v1\r\nContent-Length: 0\r\n\r\n";
        let chunk = "data: {\"choices\":[{\"index\":0,\"text\":\"a\"}]}\n\n";
        let told = "data: {\"error\":{\"message\":\"engine died\"}}\n\ndata: [DONE]\n\n";
        let chunked = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n: \r\n";
        let all = [
            error(&[]),
            error(&[json]),
            error(&[html]),
            error(&[bad]),
            error(&[moved]),
            error(&[HEAD]),
            error(&[HEAD, chunk]),
            error(&[HEAD, chunk, told]),
            error(&[HEAD, "data: <oops>\n\n"]),
            error(&[
                HEAD,
                "data: {\"choices\":[{\"index\":3,\"text\":\"a\"}]}\n\n",
            ]),
            error(&[chunked]),
            error(&["garbage\r\n\r\n"]),
        ];
        insta::assert_snapshot!(all.join("\n"), @r#"
        the server closed the connection without an answer
        no token stream (application/json): {}
        an HTML page instead of a token stream: <!doctype html> <title>Hi</title>
        HTTP 400: {"error": "max_tokens: 9"}
        HTTP 307, redirected to http://x/v1; give that address
        the stream ended without a single token
        the stream ended early after 1 chunks, without a finish_reason and without [DONE]
        the server reported an error in the stream: engine died
        a data line that is no chunk (expected value at line 1 column 1): <oops>
        a chunk of choice 3, but 1 were asked for
        the stream was cut off after 0 chunks: the server closed the connection
        not an HTTP/1.1 response (invalid HTTP version): garbage
        "#);
    }

    #[test]
    fn a_connection_is_reused_only_after_a_whole_answer() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 14\r\n\r\ndata: [DONE]\n\n";
        let mut one = exchange(1);
        one.wrote(4, 5);
        let progress = one.read(&mut whole.into(), 10);
        assert_eq!(progress, Progress::Over { reusable: true });
        let mut unsent = exchange(1);
        let progress = unsent.read(&mut whole.into(), 10);
        assert_eq!(progress, Progress::Over { reusable: false });
        let mut failed = exchange(1);
        assert_eq!(
            failed.fail("x".into(), 1),
            Progress::Over { reusable: false }
        );
    }
}
