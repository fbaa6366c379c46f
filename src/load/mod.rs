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

use crate::record::redact;

/// At most `limit` bytes of foreign text, fit for a message: one line, cut with `...`, unprintable characters escaped, no
/// secret that it may echo.
pub(crate) fn excerpt(bytes: &[u8], limit: usize) -> String {
    // Redacted before it is cut: half a secret is not known as one.
    let near = &bytes[..bytes.len().min(limit.saturating_add(4096))];
    let shown = redact::text(&String::from_utf8_lossy(near)).into_bytes();
    let cut = &shown[..shown.len().min(limit)];
    let mut text: String = String::from_utf8_lossy(cut)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if shown.len() > limit {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::excerpt;
    use crate::record::redact;

    #[test]
    fn a_key_that_is_echoed_is_gone_wherever_the_text_is_cut() {
        redact::learn("X-Api-Key", "echoed-key-0123456789");
        let body = b"invalid key echoed-key-0123456789";
        assert_eq!(excerpt(body, 200), "invalid key ***");
        assert_eq!(excerpt(body, 14), "invalid key **...");
    }

    #[test]
    fn foreign_text_is_made_one_short_line() {
        assert_eq!(excerpt(b"  a\r\n  b\x1b[31m ", 100), "a b\u{fffd}[31m");
        assert_eq!(excerpt(b"abcdef", 3), "abc...");
    }
}
