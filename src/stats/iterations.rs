//! How long the engine's iterations took in measured steps, while a given number of sequences decoded: what a profile of
//! decode steps predicts.

use crate::profile::Digest;
use crate::record::{Arm, CellRecord, Timeline, counted_starts, counted_steps};

/// Nanoseconds of each iteration in which `batch` sequences made one token each. Empty if the engine tells no timeline,
/// or never had that many.
pub(crate) fn decode_iterations_ns(record: &CellRecord, batch: u32) -> Vec<f64> {
    counted_starts(record, Arm::Main)
        .into_iter()
        .flat_map(|start| counted_steps(start))
        .filter_map(|step| step.timeline.as_ref())
        .flat_map(|timeline| at_batch(timeline, u64::from(batch)))
        .collect()
}

/// What the profiles of a record's counted engine starts tell.
pub(crate) fn digests(record: &CellRecord) -> Vec<Digest> {
    let profiles = counted_starts(record, Arm::Main)
        .into_iter()
        .filter_map(|start| start.profile.as_ref());
    profiles
        .flat_map(|profile| &profile.digests)
        .cloned()
        .collect()
}

/// Points may be thinned: two that lie several iterations apart give their mean, once.
fn at_batch(timeline: &Timeline, batch: u64) -> Vec<f64> {
    let running = |at: usize| {
        timeline
            .running
            .get(at)
            .is_some_and(|n| u64::from(*n) == batch)
    };
    let mut found = Vec::new();
    for at in 1..timeline.t_ns.len() {
        let tokens = |at: usize| timeline.tokens.get(at).copied().unwrap_or(0);
        let made = tokens(at).saturating_sub(tokens(at - 1));
        if batch > 0 && made > 0 && made.is_multiple_of(batch) && running(at) && running(at - 1) {
            let passed = timeline.t_ns[at].saturating_sub(timeline.t_ns[at - 1]);
            found.push(passed as f64 / (made / batch) as f64);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_iterations_of_the_whole_batch_count() {
        let timeline = Timeline {
            t_ns: vec![0, 100, 110, 130, 135, 140],
            running: vec![4, 8, 8, 8, 8, 7],
            tokens: vec![0, 4, 12, 28, 33, 40],
        };
        assert_eq!(at_batch(&timeline, 8), [10.0, 10.0]);
    }
}
