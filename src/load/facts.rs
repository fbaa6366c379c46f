//! How good the client itself was in a run. Published with every run, because a client that cannot keep up reports
//! its own slowness as the server's.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::socket::Arrival;
use crate::record::{ClientFacts, ReadLag};

/// The client's thread is busy for nearly all of the run.
const BUSY_SHARE: f64 = 0.9;
/// Below this the processor time is that of opening connections, and says nothing of keeping up.
const LEAST_BUSY_S: f64 = 0.1;
/// A lateness that no latency of a language model is measured to.
const LATE: Duration = Duration::from_millis(10);
/// The share of TTFT that sends may be late by.
const LATE_SHARE: f64 = 0.1;
/// What it takes to hand over one of many requests that are due together, where the server has to share this thread's
/// processor to receive it.
const HANDING_OVER: Duration = Duration::from_micros(40);

/// Counts while a run lasts.
#[derive(Debug)]
pub(super) struct Meter {
    cpu_ns: u64,
    reads: ReadLag,
    lag_sum_ns: u64,
}

/// What was counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) cpu_ns: u64,
    pub(super) reads: ReadLag,
}

impl Meter {
    /// Begins to count the processor time of this thread.
    pub(super) fn start() -> Self {
        Self {
            cpu_ns: thread_cpu_ns(),
            reads: ReadLag::default(),
            lag_sum_ns: 0,
        }
    }

    /// Bytes were read, after a wait that ended at `woke_ns`.
    pub(super) fn read(&mut self, arrival: &Arrival, woke_ns: u64) {
        let since_ns = if arrival.by_kernel {
            self.reads.stamped += 1;
            arrival.arrived_ns
        } else {
            woke_ns
        };
        let lag_ns = arrival.read_ns.saturating_sub(since_ns);
        self.reads.reads += 1;
        self.lag_sum_ns += lag_ns;
        self.reads.max_ns = self.reads.max_ns.max(lag_ns);
    }

    pub(super) fn stop(self) -> Reading {
        Reading {
            cpu_ns: thread_cpu_ns() - self.cpu_ns,
            reads: ReadLag {
                mean_ns: self.lag_sum_ns.checked_div(self.reads.reads).unwrap_or(0),
                ..self.reads
            },
        }
    }
}

fn thread_cpu_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .ok()
        .and_then(|time| u64::try_from(time.as_nanos()).ok())
        .unwrap_or(0)
}

/// Why the client was, or may have been, the bottleneck; empty if it was not. The rule:
///
/// 1. its thread used more than 90 % of the run's time on a processor, and at least 0.1 s;
/// 2. 99 % of the sends were not within 10 ms of being due, or 10 % of the median TTFT, or 40 us for each of the streams
///    asked for, whatever is most;
/// 3. fewer streams were open at once than asked for;
/// 4. where the kernel stamps no arrivals: reads were 10 ms late on average.
pub(super) fn bottleneck(
    facts: &ClientFacts,
    makespan_ns: u64,
    median_ttft_ns: Option<u64>,
) -> Vec<String> {
    let mut reasons = Vec::new();
    let share = facts.cpu_s / (makespan_ns as f64 / 1e9);
    if share > BUSY_SHARE && facts.cpu_s >= LEAST_BUSY_S {
        reasons.push(format!(
            "the load client was busy for {:.0} % of the time",
            share * 100.0
        ));
    }
    let late_ns = LATE.as_nanos() as f64;
    let burst_ns = f64::from(facts.asked_streams.unwrap_or(0)) * HANDING_OVER.as_nanos() as f64;
    let bound_ns = late_ns
        .max(median_ttft_ns.unwrap_or(0) as f64 * LATE_SHARE)
        .max(burst_ns);
    let mut lags = facts.send_lag_ns.clone();
    lags.sort_unstable();
    // The smallest lag that 99 % do not exceed.
    let p99 = lags
        .get((lags.len() * 99).div_ceil(100).saturating_sub(1))
        .copied()
        .unwrap_or(0);
    if p99 as f64 > bound_ns {
        reasons.push(format!(
            "the load client sent late: 1 % of the requests by more than {:.1} ms",
            p99 as f64 / 1e6
        ));
    }
    if let Some(asked) = facts.asked_streams
        && facts.peak_streams < asked
    {
        reasons.push(format!(
            "{} of {asked} streams were open at once: answers end before all requests are sent",
            facts.peak_streams
        ));
    }
    let unstamped = facts.read_lag.reads - facts.read_lag.stamped;
    if unstamped * 2 > facts.read_lag.reads && facts.read_lag.mean_ns as f64 > late_ns {
        reasons.push(format!(
            "the load client read late: by {:.1} ms on average",
            facts.read_lag.mean_ns as f64 / 1e6
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn sound() -> ClientFacts {
        ClientFacts {
            cpu_s: 0.5,
            send_lag_ns: vec![MS; 100],
            peak_streams: 16,
            asked_streams: Some(16),
            ..ClientFacts::default()
        }
    }

    fn reasons(change: impl FnOnce(&mut ClientFacts)) -> usize {
        let mut facts = sound();
        change(&mut facts);
        bottleneck(&facts, 1000 * MS, Some(50 * MS)).len()
    }

    #[test]
    fn each_rule_alone_marks_a_run() {
        assert_eq!(reasons(|_| {}), 0);
        assert_eq!(reasons(|f| f.cpu_s = 0.95), 1);
        assert_eq!(reasons(|f| f.peak_streams = 15), 1);
        assert_eq!(reasons(|f| f.asked_streams = None), 0);
        assert_eq!(reasons(|f| f.send_lag_ns[..2].fill(11 * MS)), 1);
        assert_eq!(reasons(|f| f.send_lag_ns[..1].fill(11 * MS)), 0);
        let late = |stamped| ReadLag {
            reads: 10,
            stamped,
            mean_ns: 11 * MS,
            max_ns: 20 * MS,
        };
        assert_eq!(reasons(|f| f.read_lag = late(10)), 0);
        assert_eq!(reasons(|f| f.read_lag = late(0)), 1);
    }

    #[test]
    fn lateness_is_judged_beside_the_ttft() {
        let mut facts = sound();
        facts.send_lag_ns = vec![50 * MS; 10];
        assert!(bottleneck(&facts, 1000 * MS, Some(1000 * MS)).is_empty());
        assert_eq!(bottleneck(&facts, 1000 * MS, None).len(), 1);
    }

    #[test]
    fn a_burst_takes_its_time() {
        let mut facts = sound();
        facts.send_lag_ns = vec![20 * MS; 512];
        (facts.peak_streams, facts.asked_streams) = (512, Some(512));
        assert!(bottleneck(&facts, 1000 * MS, Some(50 * MS)).is_empty());
        facts.send_lag_ns = vec![21 * MS; 512];
        assert_eq!(bottleneck(&facts, 1000 * MS, Some(50 * MS)).len(), 1);
    }
}
