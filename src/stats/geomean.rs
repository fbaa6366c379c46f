//! One number over several models: the geometric mean of their speed-ups.

use serde::Serialize;

use super::distributions::t_critical;
use super::interval::{CONFIDENCE, Estimate, Interval};

/// A geometric mean over models.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GeometricMean {
    /// `exp` of the mean of the logarithms.
    pub ratio: f64,
    /// How many models.
    pub models: usize,
    /// For these models, at 95 %: it says nothing of others. Absent if a model has no interval.
    pub interval: Option<Interval>,
}

/// The geometric mean of independent, paired estimates. Each model counts once, however many blocks it has; the
/// variances of the means add up, with the degrees of freedom of Welch and Satterthwaite. Absent below two models.
pub(crate) fn geometric_mean(estimates: &[Estimate]) -> Option<GeometricMean> {
    let models = estimates.len();
    if models < 2 {
        return None;
    }
    let count = models as f64;
    let centre = estimates.iter().map(|e| e.ratio.ln()).sum::<f64>() / count;
    let parts: Option<Vec<(f64, f64)>> = estimates
        .iter()
        .map(|e| {
            let interval = e.interval?;
            let error = interval.half_width_log() / t_critical(interval.level, interval.df);
            Some(((error / count).powi(2), interval.df))
        })
        .collect();
    let interval = parts.map(|parts| {
        let variance: f64 = parts.iter().map(|(v, _)| v).sum();
        let df = if variance > 0.0 {
            variance * variance / parts.iter().map(|(v, df)| v * v / df).sum::<f64>()
        } else {
            parts.iter().map(|(_, df)| df).sum()
        };
        let half_width = t_critical(CONFIDENCE, df) * variance.sqrt();
        Interval {
            low: (centre - half_width).exp(),
            high: (centre + half_width).exp(),
            level: CONFIDENCE,
            df,
        }
    });
    Some(GeometricMean {
        ratio: centre.exp(),
        models,
        interval,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::interval::{paired, unpaired};

    #[test]
    fn two_models_combine_as_welch_combines_two_arms() {
        // mean(a) + mean(b) has the standard error and the degrees of freedom of mean(a) - mean(-b).
        let a = [0.10, 0.12, 0.09, 0.13];
        let b = [0.02, 0.01, 0.04];
        let both =
            geometric_mean(&[paired(&a, 3).expect("a"), paired(&b, 1).expect("b")]).expect("two");
        let minus_b = b.map(|x| -x);
        let welch = unpaired(&a, &minus_b, 1).expect("blocks");
        let (found, expected) = (both.interval.expect("has"), welch.interval.expect("has"));
        assert!((both.ratio.ln() - welch.ratio.ln() / 2.0).abs() < 1e-12);
        assert!((found.low.ln() - expected.low.ln() / 2.0).abs() < 1e-9);
        assert!((found.high.ln() - expected.high.ln() / 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_model_without_an_interval_leaves_none() {
        let one = paired(&[0.2], 1).expect("a block");
        let both = geometric_mean(&[one, paired(&[0.0, 0.1], 1).expect("blocks")]).expect("two");
        assert_eq!(both.interval, None);
        assert_eq!(geometric_mean(&[one]), None);
    }
}
