//! Reading less often where much arrives, as network cards moderate their interrupts.
//!
//! A client that waits for every chunk is woken for every chunk, at its own cost and the server's, which does the waking.
//! Where the kernel stamps arrivals, a later look at them loses nothing. So while arrivals are dense, the loop rests
//! between looks, and what arrives meanwhile wakes nobody.

use std::time::Duration;

/// Between two looks. A request that waits for the end of another is sent later by half of it on average.
pub(super) const REST: Duration = Duration::from_micros(500);
/// Arrivals in a rest from which it spares more than it costs.
const DENSE: u64 = 2;
/// Over which arrivals are counted: longer than the pause between two iterations of most engines.
const WINDOW: Duration = Duration::from_millis(20);

/// How dense arrivals are.
#[derive(Debug, Default)]
pub(super) struct Moderation {
    since_ns: u64,
    arrivals: u64,
    dense: bool,
    /// Whether the last look found anything.
    found: bool,
}

impl Moderation {
    /// A look at `now_ns` found so many arrivals that the kernel had stamped. Others do not count: their time is that of
    /// the look, which must not wait.
    pub(super) fn looked(&mut self, stamped: usize, now_ns: u64) {
        self.arrivals += stamped as u64;
        self.found = stamped > 0;
        let passed = Duration::from_nanos(now_ns.saturating_sub(self.since_ns));
        if passed >= WINDOW {
            let rests = passed.as_secs_f64() / REST.as_secs_f64();
            self.dense = self.arrivals as f64 >= DENSE as f64 * rests;
            self.since_ns = now_ns;
            self.arrivals = 0;
        }
    }

    /// Whether to rest before the next look. After a look that found nothing the wait for the next arrival is as good.
    pub(super) fn rests(&self) -> bool {
        self.dense && self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After looks every half millisecond for a second, each with so many arrivals.
    fn after(arrivals: impl Fn(u64) -> usize) -> Moderation {
        let mut moderation = Moderation::default();
        for look in 0..2000 {
            moderation.looked(arrivals(look), look * 500_000);
        }
        moderation
    }

    #[test]
    fn it_rests_where_arrivals_are_dense() {
        assert!(after(|_| 8).rests());
        assert!(!after(|_| 1).rests());
        // 128 streams, each with a token every 20 ms, all at the same time.
        let burst = |look: u64| if look % 40 == 39 { 128 } else { 0 };
        assert!(after(burst).rests());
        // And not in the pause between two bursts.
        assert!(!after(|look| burst(look + 1)).rests());
        let few = |look: u64| if look % 40 == 39 { 16 } else { 0 };
        assert!(!after(few).rests());
    }

    #[test]
    fn it_stops_resting_when_arrivals_thin_out() {
        assert!(!after(|look| if look < 1900 { 8 } else { 1 }).rests());
    }
}
