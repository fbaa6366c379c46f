//! Turns on this thread's processor for a server that shares it.
//!
//! Linux likes to wake the receiver of local traffic where the sender runs (in a virtual machine, because the other
//! processors count as taken once they sleep). There it would wait for the end of the sender's time slice (3 ms), which
//! would pass for its own slowness.

use std::time::{Duration, Instant};

/// Requests sent in one go before a turn is offered.
const SENDS_PER_TURN: usize = 8;
/// Who needs longer has work of its own, and would delay the sending: no turn is offered again.
const LONGEST: Duration = Duration::from_millis(1);

/// The turns of a run.
#[derive(Debug, Default)]
pub(super) struct Turns {
    refused: bool,
}

impl Turns {
    /// Offers a turn if it is time for one: another request is about to be sent, after `sent` in the same go.
    pub(super) fn offer_after(&mut self, sent: usize) {
        if !self.refused && sent > 0 && sent.is_multiple_of(SENDS_PER_TURN) {
            let begin = Instant::now();
            std::thread::yield_now();
            self.refused = begin.elapsed() >= LONGEST;
        }
    }
}
