//! Ratios with their intervals. All arithmetic is on logarithms, where a ratio is a difference, "5 % faster" and
//! "5 % slower" are the same distance from nothing, and noise that multiplies is symmetric.
//!
//! The unit of replication is the engine start. Steps of one start share its luck (memory layout, clocks, captured
//! graphs), so they are averaged first and never counted as independent.

use serde::Serialize;

use super::distributions::t_critical;

/// The confidence at which everything is judged, for all comparisons with one baseline together.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// A ratio of speeds: above 1 means faster than what it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// `exp` of the mean over blocks of the difference of the logarithms: the speed-up.
    pub ratio: f64,
    /// Engine starts per arm (the smaller number, where arms are not paired).
    pub blocks: usize,
    /// Standard deviation of the differences of logarithms over blocks; absent with one block and where arms are
    /// not paired.
    pub sd_log: Option<f64>,
    /// Absent with one block.
    pub interval: Option<Interval>,
}

/// An interval for a ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Confidence of this interval by itself: `1 - 0.05/m` for `m` comparisons, so that all hold together at 95 %.
    pub level: f64,
    /// Degrees of freedom of the t quantile.
    pub df: f64,
}

impl Interval {
    /// Whether 1 lies outside.
    pub fn excludes_one(&self) -> bool {
        self.low > 1.0 || self.high < 1.0
    }

    /// Half of its width, on the logarithm.
    pub fn half_width_log(&self) -> f64 {
        (self.high / self.low).ln() / 2.0
    }

    /// `mean` +- `half_width` on the logarithm.
    fn around(mean: f64, half_width: f64, level: f64, df: f64) -> Self {
        Self {
            low: (mean - half_width).exp(),
            high: (mean + half_width).exp(),
            level,
            df,
        }
    }
}

/// The speed-up of a cell over its baseline, both measured in the same blocks: `differences` holds
/// y(baseline) - y(cell) per block, `comparisons` is how many cells are compared with this baseline.
///
/// Two-sided t interval on the mean difference at level `1 - 0.05/comparisons` (Bonferroni), so that all intervals
/// of a model hold together with 95 % confidence. Absent without blocks.
pub fn paired(differences: &[f64], comparisons: usize) -> Option<Estimate> {
    with_variance_of(differences, differences.len(), comparisons)
}

/// The same after a two-stage session (`--until`): how many blocks there are was decided from the standard deviation
/// of the first `first_stage` of them, so the interval uses that standard deviation and its degrees of freedom.
/// Then the coverage is exact, whatever the variance (Stein 1945); with the standard deviation of all blocks it
/// would be too short.
pub(crate) fn two_stage(
    differences: &[f64],
    first_stage: usize,
    comparisons: usize,
) -> Option<Estimate> {
    with_variance_of(differences, first_stage.min(differences.len()), comparisons)
}

fn with_variance_of(differences: &[f64], first: usize, comparisons: usize) -> Option<Estimate> {
    if differences.is_empty() || !differences.iter().all(|d| d.is_finite()) {
        return None;
    }
    let blocks = differences.len();
    let centre = mean(differences);
    let sd = standard_deviation(&differences[..first.min(blocks)]);
    let interval = sd.map(|sd| {
        let level = simultaneous(comparisons);
        let df = (first - 1) as f64;
        let half_width = t_critical(level, df) * sd / (blocks as f64).sqrt();
        Interval::around(centre, half_width, level, df)
    });
    Some(Estimate {
        ratio: centre.exp(),
        blocks,
        sd_log: sd,
        interval,
    })
}

/// The speed-up of arms that were not measured in the same blocks (another day, another machine): Welch's t interval
/// on the difference of means, with the degrees of freedom of Satterthwaite. An interval needs two blocks in each
/// arm. Absent if an arm has none.
pub(crate) fn unpaired(baseline: &[f64], new: &[f64], comparisons: usize) -> Option<Estimate> {
    if baseline.is_empty() || new.is_empty() {
        return None;
    }
    let centre = mean(baseline) - mean(new);
    let parts = [baseline, new].map(|y| {
        let n = y.len() as f64;
        standard_deviation(y).map(|sd| (sd * sd / n, n - 1.0))
    });
    let interval = match parts {
        [Some((vb, db)), Some((vn, dn))] => {
            let variance = vb + vn;
            let df = if variance > 0.0 {
                variance * variance / (vb * vb / db + vn * vn / dn)
            } else {
                db + dn
            };
            let level = simultaneous(comparisons);
            Some(Interval::around(
                centre,
                t_critical(level, df) * variance.sqrt(),
                level,
                df,
            ))
        }
        _ => None,
    };
    Some(Estimate {
        ratio: centre.exp(),
        blocks: baseline.len().min(new.len()),
        sd_log: None,
        interval,
    })
}

/// The level of each of `comparisons` intervals that together hold at [`CONFIDENCE`].
pub(crate) fn simultaneous(comparisons: usize) -> f64 {
    1.0 - (1.0 - CONFIDENCE) / comparisons.max(1) as f64
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// With n - 1; absent below two values.
pub(super) fn standard_deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let centre = mean(values);
    let squares: f64 = values.iter().map(|v| (v - centre).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
#[expect(clippy::unreadable_literal, reason = "values as scipy prints them")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const D: [f64; 6] = [0.151, 0.142, 0.163, 0.118, 0.149, 0.171];

    fn close(found: f64, expected: f64) {
        assert!(
            (found / expected - 1.0).abs() < 1e-9,
            "{found}, not {expected}"
        );
    }

    #[test]
    fn the_paired_interval_agrees_with_scipy() {
        // r = scipy.stats.ttest_1samp(D, 0); ci = r.confidence_interval(1 - .05/m); np.exp([np.mean(D), *ci])
        for (m, ratio, low, high) in PAIRED {
            let found = paired(&D, m).expect("blocks");
            let interval = found.interval.expect("six blocks");
            close(found.ratio, ratio);
            close(interval.low, low);
            close(interval.high, high);
        }
    }

    #[test]
    fn the_unpaired_interval_agrees_with_scipy() {
        // r = scipy.stats.ttest_ind([1, 1.02, .99, 1.05], [.9, .93, .88], equal_var=False); np.exp(r.confidence_interval())
        let found = unpaired(&[1.0, 1.02, 0.99, 1.05], &[0.9, 0.93, 0.88], 1).expect("blocks");
        let interval = found.interval.expect("two blocks each");
        close(interval.low, WELCH[0]);
        close(interval.high, WELCH[1]);
    }

    #[test]
    fn one_block_has_a_ratio_and_no_interval() {
        let found = paired(&[0.1], 1).expect("a block");
        close(found.ratio, 0.1_f64.exp());
        assert_eq!((found.interval, found.sd_log), (None, None));
        assert_eq!(paired(&[], 1), None);
        assert_eq!(paired(&[f64::NAN, 0.1], 1), None);
        assert!(
            unpaired(&[0.1], &[0.2, 0.3], 1)
                .expect("blocks")
                .interval
                .is_none()
        );
    }

    proptest! {
        #[test]
        fn swapping_the_arms_inverts_the_ratio(d in prop::collection::vec(-0.5f64..0.5, 2..12), m in 1usize..5) {
            let there = paired(&d, m).expect("blocks");
            let back = paired(&d.iter().map(|d| -d).collect::<Vec<_>>(), m).expect("blocks");
            prop_assert!((there.ratio * back.ratio - 1.0).abs() < 1e-12);
            let (a, b) = (there.interval.expect("two"), back.interval.expect("two"));
            prop_assert!((a.low * b.high - 1.0).abs() < 1e-9);
            prop_assert!(a.low <= there.ratio && there.ratio <= a.high);
        }

        #[test]
        fn more_comparisons_widen_the_interval(d in prop::collection::vec(-0.5f64..0.5, 3..12)) {
            let width = |m| paired(&d, m).and_then(|e| e.interval).expect("blocks").half_width_log();
            prop_assert!(width(2) >= width(1));
        }
    }

    const PAIRED: [(usize, f64, f64, f64); 2] = [
        (1, 1.1606729892090855, 1.1384680481854683, 1.183311020477658),
        (
            3,
            1.1606729892090855,
            1.1302548864479685,
            1.1919097223399362,
        ),
    ];

    const WELCH: [f64; 2] = [1.0615828508986456, 1.1777104810780836];
}
