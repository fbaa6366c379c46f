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

pub(crate) use ahead::made_ahead;
pub use chunk::Chunk;
pub(crate) use control::{Control, ControlError};
pub(crate) use drive::{Driven, Glimpse, drive};
pub use http::{Decoded, ResponseDecoder};
pub use limits::{Timeouts, allow_streams};
pub use outcome::Outcome;
pub(crate) use pacing::Shape;
pub use pacing::{Limit, Pacing, Spread};
pub use request::{Expected, Request, RequestEncoder};
pub(crate) use request::{UnequalLengths, groups};
pub use run::{Load, LoadError, Watch, run};
pub use sse::SseParser;
pub(crate) use target::TargetError;
pub use target::{Api, Target};

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
