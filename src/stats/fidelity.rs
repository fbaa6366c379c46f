//! Whether a mismatch is one that trainers accept: thresholds fixed beforehand, judged on an interval.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF as _};

use super::compare::Decision;
use super::mismatch::Measured;

/// Limits of the excess of `k3_kl` over the floor, in nats a token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Thresholds {
    /// Below: as the baseline itself. NeMo-RL accepts `gen_kl` up to this.
    pub as_baseline: f64,
    /// Below: a trainer that corrects by importance sampling copes.
    pub correctable: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            as_baseline: 1e-3,
            correctable: 1e-2,
        }
    }
}

/// What the interval of the excess says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub(crate) enum FidelityVerdict {
    /// It covers 0 and ends below the first threshold.
    NotDistinguishable,
    /// It ends below the first threshold.
    AsBaseline,
    /// It lies between the thresholds.
    NeedsCorrection,
    /// It lies beyond the second.
    Beyond,
    /// It holds a threshold.
    Undecided {
        /// Sampled tokens that would decide, beyond those that there are; absent where none would, since the estimate is
        /// a threshold itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        more_tokens: Option<u64>,
    },
}

impl FidelityVerdict {
    /// As `summary.json` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NotDistinguishable => "not_distinguishable",
            Self::AsBaseline => "as_baseline",
            Self::NeedsCorrection => "needs_correction",
            Self::Beyond => "beyond",
            Self::Undecided { .. } => "undecided",
        }
    }
}

/// What a limit on the excess says: the interval decides, and without one nothing does.
pub(crate) fn fidelity_gate(excess: Option<&Measured>, limit: f64) -> Decision {
    match excess.and_then(|excess| excess.interval) {
        Some([_, high]) if high <= limit => Decision::Passed,
        Some([low, _]) if low > limit => Decision::Exceeded,
        _ => Decision::Undecided,
    }
}

/// Judges `excess`, measured on `tokens` tokens. Absent without an interval.
pub(crate) fn fidelity_verdict(
    excess: &Measured,
    thresholds: &Thresholds,
    tokens: u64,
) -> Option<FidelityVerdict> {
    let [low, high] = excess.interval?;
    let Thresholds {
        as_baseline,
        correctable,
    } = *thresholds;
    Some(if high < as_baseline && low <= 0.0 {
        FidelityVerdict::NotDistinguishable
    } else if high < as_baseline {
        FidelityVerdict::AsBaseline
    } else if low > correctable {
        FidelityVerdict::Beyond
    } else if low > as_baseline && high < correctable {
        FidelityVerdict::NeedsCorrection
    } else {
        let distance = [as_baseline, correctable]
            .map(|threshold| (excess.value - threshold).abs())
            .into_iter()
            .fold(f64::INFINITY, f64::min);
        FidelityVerdict::Undecided {
            more_tokens: more_tokens((high - low) / 2.0, distance, tokens),
        }
    })
}

/// Half-widths shrink with the root of the sample.
fn more_tokens(half_width: f64, distance: f64, tokens: u64) -> Option<u64> {
    let wanted = tokens as f64 * (half_width / distance).powi(2);
    // Two digits: it is an estimate. `as` saturates.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let more = (wanted - tokens as f64).max(0.0).ceil() as u64;
    let unit = 10_u64.pow(more.max(1).ilog10().saturating_sub(1));
    (wanted.is_finite() && more < 1_000_000_000).then(|| more.div_ceil(unit).max(1) * unit)
}

/// Exact two-sided McNemar test of paired answers: the p value of `only_baseline` problems that only the baseline
/// solved against `only_cell` that only the cell did. 1 where no answer differs.
pub(crate) fn mcnemar(only_baseline: u64, only_cell: u64) -> f64 {
    let differing = only_baseline + only_cell;
    match Binomial::new(0.5, differing) {
        Ok(binomial) if differing > 0 => {
            (2.0 * binomial.cdf(only_baseline.min(only_cell))).min(1.0)
        }
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(value: f64, low: f64, high: f64) -> FidelityVerdict {
        let excess = Measured {
            value,
            interval: Some([low, high]),
        };
        fidelity_verdict(&excess, &Thresholds::default(), 2000).expect("an interval")
    }

    #[test]
    fn verdicts_follow_the_interval() {
        use FidelityVerdict::{AsBaseline, Beyond, NeedsCorrection, NotDistinguishable};
        assert_eq!(judged(0.0, -1e-4, 1e-4), NotDistinguishable);
        assert_eq!(judged(-2e-4, -3e-4, -1e-4), NotDistinguishable);
        assert_eq!(judged(5e-4, 1e-4, 9e-4), AsBaseline);
        assert_eq!(judged(5e-3, 2e-3, 9e-3), NeedsCorrection);
        assert_eq!(judged(0.03, 0.02, 0.04), Beyond);
        let without = Measured {
            value: 0.0,
            interval: None,
        };
        assert_eq!(
            fidelity_verdict(&without, &Thresholds::default(), 2000),
            None
        );
    }

    #[test]
    fn what_is_undecided_says_how_much_more() {
        // Half-width 4e-3, 2e-3 from a threshold: four times the tokens.
        assert_eq!(
            judged(8e-3, 4e-3, 12e-3),
            FidelityVerdict::Undecided {
                more_tokens: Some(6000)
            }
        );
        assert_eq!(
            judged(1e-3, 0.0, 2e-3),
            FidelityVerdict::Undecided { more_tokens: None }
        );
    }

    #[test]
    fn mcnemar_is_the_sign_test_on_what_differs() {
        assert!((mcnemar(0, 0) - 1.0).abs() < 1e-12);
        assert!((mcnemar(0, 5) - 0.0625).abs() < 1e-12);
        assert!((mcnemar(3, 3) - 1.0).abs() < 1e-12);
        assert!((mcnemar(10, 2) - mcnemar(2, 10)).abs() < 1e-12);
    }
}
