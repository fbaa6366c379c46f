//! What is said of two arms where a schedule offered the requests at a rate: by what they are judged, and why.

use super::figures::{count, number};
use crate::stats::judged::{JudgedBy, LatencyRatio};
use crate::stats::pace::Pace;
use crate::stats::{Estimate, Judgement, RatioWords};

/// The two arms: what tables show for each, and how it kept pace.
pub(super) struct Paces<'a> {
    pub(super) cell: (&'a str, Option<Pace>),
    pub(super) baseline: (&'a str, Option<Pace>),
}

impl Paces<'_> {
    /// Both keep up.
    pub(super) fn latency(&self, ratios: &[LatencyRatio], smallest_effect: f64) -> String {
        let judged: Vec<String> = ratios
            .iter()
            .map(|ratio| latency(ratio, smallest_effect))
            .collect();
        let judged = if judged.is_empty() {
            "no latency is known of both".to_owned()
        } else {
            judged.join("; ")
        };
        format!(
            "{}: judged by latency, since it and {} keep up with {}, so that the schedule decides the makespan: {judged}",
            self.cell.0,
            self.baseline.0,
            offered(self.cell.1)
        )
    }

    /// One keeps up and the other does not.
    pub(super) fn bound(&self, by: JudgedBy, bound: &Estimate, smallest_effect: f64) -> String {
        let numbers = RatioWords::of(bound, smallest_effect);
        let (sign, fast, slow) = match by {
            JudgedBy::AtMost => ("at most", &self.baseline, &self.cell),
            _ => ("at least", &self.cell, &self.baseline),
        };
        let behind = slow.1.map_or_else(String::new, |pace| {
            format!(
                " (in flight {:+.1} to {:+.1} over the arrivals, then {} s of drain)",
                pace.growth_low,
                pace.growth_high,
                number(pace.drain_s)
            )
        });
        format!(
            "{}: {sign} {}x the throughput of {} ({}), capped by the offered rate: {} keeps up with {}, {} does not{behind}",
            self.cell.0,
            numbers.ratio,
            self.baseline.0,
            numbers.support,
            fast.0,
            offered(fast.1),
            slow.0,
        )
    }
}

/// `18.2 requests/s (32 in 1.75 s)`
pub(super) fn offered(pace: Option<Pace>) -> String {
    pace.map_or_else(
        || "the offered rate".to_owned(),
        |pace| {
            format!(
                "{} requests/s ({} in {} s)",
                number(pace.offered_req_s()),
                count(pace.requests),
                number(pace.window_s)
            )
        },
    )
}

/// `TTFT p50 1.53x (95 % CI 1.40-1.66, 6 engine starts): faster`
fn latency(ratio: &LatencyRatio, smallest_effect: f64) -> String {
    let numbers = RatioWords::of(&ratio.estimate, smallest_effect);
    let judged = ratio.judgement.map(short);
    let judged = judged.map_or_else(String::new, |judged| format!(": {judged}"));
    format!(
        "{} {}x ({}){judged}",
        ratio.metric, numbers.ratio, numbers.support
    )
}

/// A judgement in few words.
pub(super) fn short(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Faster => "faster",
        Judgement::Slower => "slower",
        Judgement::Equivalent => "equivalent",
        Judgement::FasterUncertain => "faster, size uncertain",
        Judgement::SlowerUncertain => "slower, size uncertain",
        Judgement::Undecided { .. } | Judgement::Unresolved => "no difference detectable",
        Judgement::NoInterval => "one engine start",
    }
}

#[cfg(test)]
mod tests;
