//! The lengths of one step and which of its requests this engine serves: a pure function of the specification and
//! the seed, the same in every step and every cell.
//!
//! Lengths are not independent draws: the batch of N sequences holds the N mid-quantiles of the distribution, so
//! that its mean and its tail are the distribution's whatever the seed, even with N = 32. The seed decides which
//! sequence has which length: each gets a standard normal score, `sqrt(rho) a_i + sqrt(1 - rho) e_ij` for sample j
//! of prompt i, and the ranks of the scores are matched with the quantiles (a Gaussian copula).

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::lengths::Lengths;
use super::spec::{Placement, WorkloadSpec};
use crate::stats::normal_quantile;

/// Each purpose has a stream of its own, so that a change of one leaves the others as they were.
const RESPONSE_STREAM: u64 = 0x7265_7370;
const PROMPT_STREAM: u64 = 0x7072_6f6d;
const PLACEMENT_STREAM: u64 = 0x706c_6163;

/// A sequence of a step before it has tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Which of the step's prompts, counted over all replicas.
    pub prompt: u32,
    /// Which of that prompt's samples.
    pub sample: u32,
    /// Its prompt's length in tokens.
    pub prompt_tokens: u32,
    /// Its exact response length.
    pub output_tokens: u32,
}

/// The sequences that this engine serves, prompt by prompt. The specification must have passed
/// [`WorkloadSpec::check`].
pub(crate) fn slots(spec: &WorkloadSpec, seed: u64) -> Vec<Slot> {
    let prompts = prompt_lengths(spec, seed);
    let responses = response_lengths(spec, seed);
    let all = responses
        .into_iter()
        .enumerate()
        .map(|(row, output_tokens)| {
            let row = u32::try_from(row).unwrap_or(u32::MAX);
            let prompt = row / spec.n;
            Slot {
                prompt,
                sample: row % spec.n,
                prompt_tokens: prompts[prompt as usize],
                output_tokens,
            }
        });
    match spec.placement {
        Placement::Local => all.collect(),
        Placement::Scatter { replicas } => {
            let served = served_rows(spec.samples(), replicas, seed);
            let mut served = served.into_iter().peekable();
            all.enumerate()
                .filter(|(row, _)| served.next_if_eq(row).is_some())
                .map(|(_, slot)| slot)
                .collect()
        }
    }
}

/// The length of every prompt of a step, over all replicas.
pub(crate) fn prompt_lengths(spec: &WorkloadSpec, seed: u64) -> Vec<u32> {
    let mut random = stream(seed, PROMPT_STREAM);
    let scores: Vec<f64> = (0..spec.num_prompts).map(|_| score(&mut random)).collect();
    matched(&spec.prompt, &scores)
}

/// The length of every response of a step, over all replicas, prompt by prompt.
pub(crate) fn response_lengths(spec: &WorkloadSpec, seed: u64) -> Vec<u32> {
    let mut random = stream(seed, RESPONSE_STREAM);
    let rho = spec.sibling_correlation;
    if rho >= 1.0 {
        // Siblings are equal: the quantiles are matched with prompts.
        let scores: Vec<f64> = (0..spec.num_prompts).map(|_| score(&mut random)).collect();
        return matched(&spec.response, &scores)
            .into_iter()
            .flat_map(|length| std::iter::repeat_n(length, spec.n as usize))
            .collect();
    }
    let mut scores = Vec::with_capacity(usize::try_from(spec.samples()).unwrap_or(0));
    for _ in 0..spec.num_prompts {
        let shared = rho.sqrt() * score(&mut random);
        for _ in 0..spec.n {
            scores.push(shared + (1.0 - rho).sqrt() * score(&mut random));
        }
    }
    matched(&spec.response, &scores)
}

/// The mid-quantiles of `lengths`, in the order of the scores' ranks.
fn matched(lengths: &Lengths, scores: &[f64]) -> Vec<u32> {
    let quantiles = lengths.quantiles();
    let count = scores.len() as f64;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let mut drawn = vec![0; scores.len()];
    for (rank, row) in order.into_iter().enumerate() {
        drawn[row] = quantiles.at((rank as f64 + 0.5) / count);
    }
    drawn
}

/// The rows that the first replica serves, ascending. With every request in flight at once, "fewest in flight"
/// deals requests out in turn; many workers submit at the same time, so the order in which they reach the balancer
/// is random. Every replica gets the same number, up to one.
fn served_rows(rows: u64, replicas: u32, seed: u64) -> Vec<usize> {
    let mut random = stream(seed, PLACEMENT_STREAM);
    let mut keyed: Vec<(u64, usize)> = (0..usize::try_from(rows).unwrap_or(usize::MAX))
        .map(|row| (random.next_u64(), row))
        .collect();
    keyed.sort_unstable();
    let mut served: Vec<usize> = keyed
        .into_iter()
        .step_by(replicas as usize)
        .map(|(_, row)| row)
        .collect();
    served.sort_unstable();
    served
}

fn stream(seed: u64, stream: u64) -> ChaCha20Rng {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    random.set_stream(stream);
    random
}

/// A standard normal score, made here from the generator's bits: the generator's output is fixed by its algorithm,
/// a library's way to a normal is not.
fn score(random: &mut ChaCha20Rng) -> f64 {
    let bits = random.next_u64() >> 11;
    normal_quantile((bits as f64 + 0.5) / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn math() -> WorkloadSpec {
        WorkloadSpec {
            response: Lengths::Lognormal {
                mean: 1060.0,
                sigma: 0.7,
                cap: 4096,
            },
            sibling_correlation: 0.5,
            ..WorkloadSpec::fixed(32, 8, 200, 1)
        }
    }

    fn mean(lengths: &[u32]) -> f64 {
        lengths.iter().copied().map(f64::from).sum::<f64>() / lengths.len() as f64
    }

    #[test]
    fn every_seed_has_the_mean_of_the_distribution() {
        for seed in 0..20 {
            let drawn = mean(&response_lengths(&math(), seed));
            assert!((drawn / 1060.0 - 1.0).abs() < 0.005, "{drawn}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_lengths_for_ever() {
        let first = response_lengths(&math(), 0);
        assert_eq!(first[..8], [695, 685, 454, 358, 233, 545, 257, 767]);
        assert_ne!(first, response_lengths(&math(), 1));
    }

    /// Correlation between siblings of the normal scores of the ranks, over many prompts.
    fn sibling_correlation(rho: f64) -> f64 {
        let spec = WorkloadSpec {
            sibling_correlation: rho,
            ..WorkloadSpec::fixed(4000, 2, 8, 1)
        };
        let spec = WorkloadSpec {
            response: Lengths::Lognormal {
                mean: 1000.0,
                sigma: 0.7,
                cap: 1_000_000,
            },
            ..spec
        };
        let logs: Vec<f64> = response_lengths(&spec, 3)
            .into_iter()
            .map(|l| f64::from(l).ln())
            .collect();
        let centre = logs.iter().sum::<f64>() / logs.len() as f64;
        let products: f64 = logs
            .chunks(2)
            .map(|p| (p[0] - centre) * (p[1] - centre))
            .sum();
        let squares: f64 = logs.iter().map(|l| (l - centre).powi(2)).sum();
        2.0 * products / squares
    }

    #[test]
    fn siblings_are_as_alike_as_asked() {
        for rho in [0.0, 0.5, 0.9] {
            let found = sibling_correlation(rho);
            assert!((found - rho).abs() < 0.05, "{rho} {found}");
        }
        assert!((sibling_correlation(1.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_replica_serves_its_share_and_siblings_scatter() {
        let spec = WorkloadSpec {
            placement: Placement::Scatter { replicas: 8 },
            ..math()
        };
        let served = slots(&spec, 0);
        assert_eq!(served.len(), 32);
        let whole = slots(&math(), 0);
        assert!(
            served.iter().all(|slot| whole.contains(slot)),
            "the same requests, only fewer"
        );
        let mut prompts: Vec<u32> = served.iter().map(|s| s.prompt).collect();
        prompts.dedup();
        assert!(
            prompts.len() > 16 && prompts.len() < 32,
            "{}",
            prompts.len()
        );
    }

    #[test]
    fn all_prompts_of_a_local_step_come_whole() {
        let slots = slots(&math(), 0);
        assert_eq!(slots.len(), 256);
        assert_eq!(
            (slots[9].prompt, slots[9].sample, slots[9].prompt_tokens),
            (1, 1, 200)
        );
    }
}
