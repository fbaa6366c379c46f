//! Percentiles with linear interpolation between order statistics: type 7 of Hyndman and Fan (1996), numpy's default.

use serde::Serialize;

/// The value below which the share `q` (0 to 1) of `sorted` lies. Absent if it is empty.
///
/// `sorted` is in ascending order and holds no NaN.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "place lies between 0 and the last index"
    )]
    let below = place.floor() as usize;
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    // As numpy does: from the nearer end, so that the result is monotonic and exact at both.
    let weight = place - below as f64;
    Some(if weight < 0.5 {
        low + (high - low) * weight
    } else {
        high - (high - low) * (1.0 - weight)
    })
}

/// A sample, summarised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Distribution {
    /// How many values.
    pub count: usize,
    /// Mean.
    pub mean: f64,
    /// Standard deviation (with n, as numpy and `vllm bench serve` have it).
    pub std: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Greatest value.
    pub max: f64,
    /// Where some values are only known to be at least so great; they count with what they are at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub censored: Option<Censored>,
}

/// Values of a sample of which only a lower bound is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Censored {
    /// How many.
    pub count: usize,
    /// Percentiles up to this share (0 to 1) do not depend on them; those above, the mean and the maximum are lower bounds.
    pub exact_up_to: f64,
}

impl Distribution {
    /// Of these values, in any order; absent if there are none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let at = |q| quantile(&values, q);
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        Some(Self {
            count,
            mean,
            std: (squares / count as f64).sqrt(),
            p50: at(0.5)?,
            p90: at(0.9)?,
            p95: at(0.95)?,
            p99: at(0.99)?,
            max: *values.last()?,
            censored: None,
        })
    }

    /// Of these values and of others that are at least `bounds`; absent if there are none at all.
    pub(super) fn censored(mut values: Vec<f64>, bounds: &[f64]) -> Option<Self> {
        let Some(least) = bounds.iter().copied().min_by(f64::total_cmp) else {
            return Self::of(values);
        };
        let below = values.iter().filter(|value| **value <= least).count();
        values.extend(bounds);
        let last = values.len() - 1;
        let exact_up_to = match below {
            0 => 0.0,
            _ => (below - 1) as f64 / last.max(1) as f64,
        };
        Some(Self {
            censored: Some(Censored {
                count: bounds.len(),
                exact_up_to,
            }),
            ..Self::of(values)?
        })
    }

    /// Whether the percentile `share` (0 to 1) is only a lower bound.
    pub(crate) fn is_bound(&self, share: f64) -> bool {
        self.censored
            .is_some_and(|c| c.exact_up_to < share || c.exact_up_to <= 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made with numpy 2: `numpy.percentile(values, [0, 1, 25, 50, 90, 95, 99, 100])`.
    #[test]
    fn it_is_numpys_percentile() {
        let values = [0.3, 1.7, 2.2, 2.9, 4.1, 5.5, 8.0, 13.1, 21.4, 100.0];
        let expected = [
            0.3,
            0.426,
            2.375,
            4.8,
            29.259_999_999_999_97,
            64.629_999_999_999_91,
            92.926_000_000_000_02,
            100.0,
        ];
        for (q, expected) in [0.0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0]
            .iter()
            .zip(expected)
        {
            let got = quantile(&values, *q).unwrap();
            assert!((got - expected).abs() < 1e-12, "{q}: {got} != {expected}");
        }
    }

    #[test]
    fn small_samples() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
        assert_eq!(quantile(&[1.0, 2.0], 0.5), Some(1.5));
        assert_eq!(Distribution::of(Vec::new()), None);
        let d = Distribution::of(vec![3.0, 1.0]).unwrap();
        assert_eq!(
            (d.count, d.mean, d.std, d.p50, d.max),
            (2, 2.0, 1.0, 2.0, 3.0)
        );
    }

    #[test]
    fn what_is_at_least_makes_the_percentiles_above_it_bounds() {
        let exact: Vec<f64> = (1..=90).map(f64::from).collect();
        let d = Distribution::censored(exact, &[80.0; 11]).unwrap();
        // 80 of 101 values are not above 80: the 79th of 100 parts is the last that is known.
        assert_eq!(
            d.censored.map(|c| (c.count, c.exact_up_to)),
            Some((11, 0.79))
        );
        assert_eq!((d.count, d.p50, d.is_bound(0.5)), (101, 51.0, false));
        assert_eq!((d.p90, d.is_bound(0.9)), (80.0, true));
        let only = Distribution::censored(Vec::new(), &[3.0]).unwrap();
        assert!(only.is_bound(0.0) && only.is_bound(0.5));
        assert_eq!(
            Distribution::censored(vec![1.0], &[]),
            Distribution::of(vec![1.0])
        );
    }

    proptest! {
        #[test]
        fn a_bound_is_never_above_what_the_values_turn_out_to_be(
            values in proptest::collection::vec(0.0..1e3_f64, 0..40),
            late in proptest::collection::vec((0.0..1e3_f64, 0.0..1e3_f64), 1..40),
        ) {
            let bounds: Vec<f64> = late.iter().map(|(bound, _)| *bound).collect();
            let truth = values.iter().copied().chain(late.iter().map(|(bound, more)| bound + more));
            let truth = Distribution::of(truth.collect()).unwrap();
            let told = Distribution::censored(values, &bounds).unwrap();
            for (share, told_at, true_at) in [
                (0.5, told.p50, truth.p50), (0.9, told.p90, truth.p90), (0.95, told.p95, truth.p95), (0.99, told.p99, truth.p99),
            ] {
                prop_assert!(told_at <= true_at + 1e-9);
                prop_assert!(told.is_bound(share) || (told_at - true_at).abs() < 1e-9);
            }
        }

        #[test]
        fn it_is_monotonic_and_within_the_sample(
            mut values in proptest::collection::vec(-1e9..1e9_f64, 1..50), a in 0.0..=1.0, b in 0.0..=1.0,
        ) {
            values.sort_unstable_by(f64::total_cmp);
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            let (x, y) = (quantile(&values, low).unwrap(), quantile(&values, high).unwrap());
            prop_assert!(x <= y);
            prop_assert!(values[0] <= x && y <= values[values.len() - 1]);
        }
    }
}
