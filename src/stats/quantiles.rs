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
        })
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

    proptest! {
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
