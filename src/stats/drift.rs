//! Whether the machine changed while it measured. Neither chooses, adds or drops a block or a step: both are warnings
//! computed afterwards.

use serde::Serialize;

use super::distributions::t_cdf;
use super::interval::{mean, standard_deviation};

/// A trend of log makespans over blocks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Drift {
    /// Change per block, on the logarithm; above 0: slower and slower.
    pub per_block_log: f64,
    /// Two-sided probability of a trend as strong without any.
    pub p: f64,
    /// Whether it is worth a warning: `p` below 1 %, and more than 2 % over the session.
    pub warn: bool,
}

/// The least-squares slope over blocks of the mean log makespan of all cells of a model, with the t test of the
/// slope. A drift is common to all cells of a block and cancels in the paired differences; what it says is that the
/// absolute throughput of this session is not of one machine state. Absent below five blocks.
///
/// `cells` holds for each cell its y per block, in the order of time.
pub(crate) fn drift(cells: &[Vec<f64>]) -> Option<Drift> {
    let blocks = cells.iter().map(Vec::len).min()?;
    if blocks < 5 {
        return None;
    }
    let y: Vec<f64> = (0..blocks)
        .map(|b| mean(&cells.iter().map(|cell| cell[b]).collect::<Vec<_>>()))
        .collect();
    let (slope, p) = slope(&y);
    let over_session = slope.abs() * (blocks - 1) as f64;
    Some(Drift {
        per_block_log: slope,
        p,
        warn: p < 0.01 && over_session > 1.02_f64.ln(),
    })
}

/// Slope against 0, 1, 2 ... and the two-sided p of its t test.
fn slope(y: &[f64]) -> (f64, f64) {
    let n = y.len() as f64;
    let middle = (n - 1.0) / 2.0;
    let centre = mean(y);
    let (mut sxx, mut sxy) = (0.0, 0.0);
    for (i, value) in y.iter().enumerate() {
        let x = i as f64 - middle;
        sxx += x * x;
        sxy += x * (value - centre);
    }
    let slope = sxy / sxx;
    let squares: f64 = y
        .iter()
        .enumerate()
        .map(|(i, value)| (value - centre - slope * (i as f64 - middle)).powi(2))
        .sum();
    let error = (squares / (n - 2.0) / sxx).sqrt();
    let p = if error > 0.0 {
        2.0 * t_cdf(-(slope / error).abs(), n - 2.0)
    } else {
        f64::from(u8::from(slope == 0.0))
    };
    (slope, p)
}

/// How steady the measured steps of one engine start were.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Steadiness {
    /// Coefficient of variation of the makespans (standard deviation over mean).
    pub cv: f64,
    /// Relative change per step, least squares; absent below three steps.
    pub slope: Option<f64>,
}

/// Absent below two steps.
pub(crate) fn steadiness(makespans_s: &[f64]) -> Option<Steadiness> {
    let cv = standard_deviation(makespans_s)? / mean(makespans_s);
    let slope = (makespans_s.len() >= 3).then(|| slope(makespans_s).0 / mean(makespans_s));
    Some(Steadiness { cv, slope })
}

impl Steadiness {
    /// Worth a warning: the steps vary by more than 5 %. (2 % is common in sound starts of three steps.)
    pub(crate) fn warn(&self) -> bool {
        self.cv > 0.05
    }
}

#[cfg(test)]
#[expect(clippy::unreadable_literal, reason = "values as scipy prints them")]
mod tests {
    use super::*;

    #[test]
    fn the_slope_agrees_with_scipy() {
        // scipy.stats.linregress(range(6), [2.0, 2.01, 2.03, 2.02, 2.05, 2.06])
        let found = drift(&[vec![2.0, 2.01, 2.03, 2.02, 2.05, 2.06]]).expect("six blocks");
        assert!((found.per_block_log - SLOPE).abs() < 1e-12);
        assert!((found.p / P - 1.0).abs() < 1e-9, "{}", found.p);
        assert!(found.warn);
    }

    #[test]
    fn what_cancels_between_cells_is_no_drift() {
        let up = vec![1.0, 1.01, 1.02, 1.03, 1.04];
        let down = vec![1.04, 1.03, 1.02, 1.01, 1.0];
        assert!(!drift(&[up, down]).expect("five blocks").warn);
        assert_eq!(drift(&[vec![1.0; 4]]), None);
        assert_eq!(drift(&[]), None);
    }

    #[test]
    fn steadiness_is_a_warning_and_no_more() {
        let steady = steadiness(&[1.0, 1.01, 1.02]).expect("steps");
        assert!((steady.slope.expect("three") - 0.01 / 1.01).abs() < 1e-12);
        assert!(!steady.warn());
        assert!(steadiness(&[1.0, 1.2]).expect("steps").warn());
        assert_eq!(steadiness(&[1.0]), None);
    }

    const SLOPE: f64 = 0.011714285714285731;
    const P: f64 = 0.004293075126990648;
}
