//! Intervals for ratios of step times. Steps that follow each other are alike, so they are drawn in blocks.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Steps drawn together.
const BLOCK: usize = 5;
const RESAMPLES: usize = 2000;
const SEED: u64 = 20_261_127;

/// A number with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Estimate {
    /// The number.
    pub(crate) value: f64,
    /// Lower end.
    pub(crate) low: f64,
    /// Upper end.
    pub(crate) high: f64,
}

impl Estimate {
    /// Whether `value` lies in it.
    pub(crate) fn holds(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Wholly above or below `value`; absent if it holds it.
    pub(crate) fn side(&self, value: f64) -> Option<std::cmp::Ordering> {
        if self.holds(value) {
            None
        } else {
            self.value.partial_cmp(&value)
        }
    }
}

/// The ratio of the means of two series of steps: `above / below`, by a circular block bootstrap of each. Absent if one is
/// empty or all zero.
pub(crate) fn ratio(above: &[f64], below: &[f64]) -> Option<Estimate> {
    let value = mean(above) / mean(below);
    if above.is_empty() || below.is_empty() || !value.is_finite() {
        return None;
    }
    let mut random = ChaCha20Rng::seed_from_u64(SEED);
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| redrawn(above, &mut random) / redrawn(below, &mut random))
        .filter(|ratio| ratio.is_finite())
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| crate::stats::quantile(&ratios, share).unwrap_or(value);
    Some(Estimate {
        value,
        low: at(0.025),
        high: at(0.975),
    })
}

/// The mean of as many values, drawn in blocks.
fn redrawn(values: &[f64], random: &mut ChaCha20Rng) -> f64 {
    let mut sum = 0.0;
    let mut drawn = 0;
    while drawn < values.len() {
        let first = usize::try_from((u128::from(random.next_u64()) * values.len() as u128) >> 64)
            .unwrap_or(0);
        let take = BLOCK.min(values.len() - drawn);
        sum += (first..first + take)
            .map(|at| values[at % values.len()])
            .sum::<f64>();
        drawn += take;
    }
    sum / values.len() as f64
}

/// 0 for none.
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        0.0
    } else {
        values.iter().sum::<f64>() / values.len() as f64
    }
}

/// The median, and the median of the distances from it.
pub(crate) fn median_and_mad(values: &[f64]) -> (f64, f64) {
    let median = |values: &[f64]| crate::stats::quantile(values, 0.5).unwrap_or(0.0);
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let centre = median(&sorted);
    for value in &mut sorted {
        *value = (*value - centre).abs();
    }
    sorted.sort_unstable_by(f64::total_cmp);
    (centre, median(&sorted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_steps_have_a_ratio_without_spread() {
        let found = ratio(&[3.0; 20], &[2.0; 24]).expect("there");
        assert!(
            (found.low - 1.5).abs() < 1e-12 && (found.high - 1.5).abs() < 1e-12,
            "{found:?}"
        );
        assert_eq!(ratio(&[], &[1.0]), None);
    }

    #[test]
    fn runs_of_slow_steps_widen_it() {
        let apart: Vec<f64> = (0..40)
            .map(|n| if n % 2 == 0 { 1.0 } else { 2.0 })
            .collect();
        let together: Vec<f64> = (0..40).map(|n| if n < 20 { 1.0 } else { 2.0 }).collect();
        let width = |values: &[f64]| {
            ratio(values, &[1.0; 40])
                .map(|e| e.high - e.low)
                .expect("there")
        };
        assert!(width(&together) > 1.5 * width(&apart));
    }
}
