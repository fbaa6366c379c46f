//! How much memory a workload takes, before it is taken.

use super::spec::WorkloadSpec;

/// A prompt's entry in a batch and among the prompts that were drawn.
const PROMPT_BYTES: f64 = 40.0;
/// A sequence in a batch, and its row in the columns of a record.
const SEQUENCE_BYTES: f64 = 60.0;
/// A sequence while lengths are drawn.
const DRAWN_BYTES: f64 = 24.0;

/// Bytes that the requests of `steps` steps and their records take, about; saturates.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates"
)]
pub(crate) fn bytes(spec: &WorkloadSpec, steps: u32) -> u64 {
    let drawn = spec.samples() as f64;
    let sequences = drawn / f64::from(spec.placement.replicas().max(1));
    let prompts = f64::from(spec.num_prompts).min(sequences);
    let ids = spec.prompt.mean() * size_of::<u32>() as f64;
    let step = prompts * (ids + PROMPT_BYTES) + sequences * SEQUENCE_BYTES;
    (drawn * DRAWN_BYTES + f64::from(steps) * step) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_count_once_a_step_and_sequences_once_a_sample() {
        let step = |n| bytes(&WorkloadSpec::fixed(20_000, n, 512, 8), 1);
        assert!((41_000_000..45_000_000).contains(&step(1)), "{}", step(1));
        assert!(step(2) - step(1) < 2_000_000);
        let huge = WorkloadSpec::fixed(u32::MAX, u32::MAX, 512, u32::MAX);
        assert_eq!(bytes(&huge, u32::MAX), u64::MAX);
    }
}
