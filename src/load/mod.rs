//! The streaming HTTP client of online mode: paced or closed-loop load on an OpenAI-compatible server, with every
//! arrival stamped before anything is parsed. Knows nothing of who serves.

mod ahead;
mod chunk;
mod connections;
mod control;
mod counters;
mod drive;
mod exchange;
mod facts;
mod http;
mod limits;
mod moderation;
mod outcome;
mod pacing;
mod request;
mod run;
mod socket;
mod sse;
mod target;
mod turns;

pub use ahead::made_ahead;
pub use chunk::{ChoiceDelta, Chunk, ChunkError, Usage};
pub use control::{Control, ControlError, ServedModel};
pub use counters::ServerReading;
pub use drive::{Driven, Glimpse, drive};
pub use http::{Decoded, Head, HttpError, ResponseDecoder};
pub use limits::{Timeouts, TooManyStreams, allow_streams};
pub use outcome::Outcome;
pub use pacing::{Limit, Pacing, PacingError, Shape, Spread};
pub use request::{Expected, Request, RequestEncoder, UnequalLengths};
pub use run::{Load, LoadError, Watch, run};
pub use sse::{EventTooLong, SseEvent, SseParser};
pub use target::{Api, Target, TargetError};

/// At most `limit` bytes of foreign text, fit for a message: one line, cut with `...`, unprintable characters escaped.
pub(crate) fn excerpt(bytes: &[u8], limit: usize) -> String {
    let cut = &bytes[..bytes.len().min(limit)];
    let mut text: String = String::from_utf8_lossy(cut)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if bytes.len() > limit {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::excerpt;

    #[test]
    fn foreign_text_is_made_one_short_line() {
        assert_eq!(excerpt(b"  a\r\n  b\x1b[31m ", 100), "a b\u{fffd}[31m");
        assert_eq!(excerpt(b"abcdef", 3), "abc...");
    }
}
