//! What this machine can tell apart, from the baseline measured twice under two names (`--calibrate`, an A/A test).

use serde::Serialize;

use super::interval::{Estimate, Interval};

/// The outcome of a calibration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Resolution {
    /// The baseline over itself, with an interval at 95 % by itself.
    pub estimate: Estimate,
    /// Half-width of the interval as a ratio minus 1: 0.015 means that a difference of 1.5 % can be told from none.
    pub resolution: f64,
    /// What it says about the session.
    pub soundness: Soundness,
}

/// What an A/A test says about its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Soundness {
    /// The interval includes 1.
    Sound,
    /// It excludes 1, as happens in 5 % of sound sessions: a warning.
    Unlucky,
    /// It lies wholly beyond the smallest effect of interest: something differs between two equal arms, and no ratio
    /// of this session can be trusted.
    Invalid,
}

/// Judges an A/A estimate. `smallest_effect` is 0.02 for 2 %. Absent without an interval.
///
/// The smallest effect of interest is not raised to the resolution: then noise would make "equivalent" easier. It
/// is the verdict that withholds "equivalent" where the resolution is worse.
pub(crate) fn resolution(estimate: Estimate, smallest_effect: f64) -> Option<Resolution> {
    let interval = estimate.interval?;
    Some(Resolution {
        estimate,
        resolution: interval.half_width_log().exp_m1(),
        soundness: soundness(&interval, smallest_effect),
    })
}

fn soundness(interval: &Interval, smallest_effect: f64) -> Soundness {
    let limit = 1.0 + smallest_effect;
    if interval.low > limit || interval.high < 1.0 / limit {
        Soundness::Invalid
    } else if interval.excludes_one() {
        Soundness::Unlucky
    } else {
        Soundness::Sound
    }
}

impl Resolution {
    /// What a summary says of it, in a line.
    pub fn sentence(&self) -> String {
        let interval = self
            .estimate
            .interval
            .expect("a resolution is made from an interval");
        let told = format!(
            "the baseline measured twice: {:.3}x ({:.3}-{:.3}); this session can tell {:.1} % from nothing",
            self.estimate.ratio,
            interval.low,
            interval.high,
            100.0 * self.resolution
        );
        match self.soundness {
            Soundness::Sound => told,
            Soundness::Unlucky => {
                format!(
                    "{told}. The interval excludes 1, as happens in 5 % of sound sessions: read small differences with care"
                )
            }
            Soundness::Invalid => {
                format!(
                    "{told}. Two equal arms differ by more than the smallest effect of interest: this session is not valid"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::interval::paired;

    fn judged(d: &[f64]) -> Resolution {
        resolution(paired(d, 1).expect("blocks"), 0.02).expect("an interval")
    }

    #[test]
    fn noise_around_nothing_is_sound() {
        let found = judged(&[0.01, -0.012, 0.004, -0.003, 0.008, -0.006]);
        assert_eq!(found.soundness, Soundness::Sound);
        insta::assert_snapshot!(found.sentence(), @"the baseline measured twice: 1.000x (0.991-1.009); this session can tell 0.9 % from nothing");
    }

    #[test]
    fn an_interval_beside_1_warns_and_one_beyond_delta_invalidates() {
        let unlucky = judged(&[0.010, 0.012, 0.011, 0.013, 0.009, 0.011]);
        assert_eq!(unlucky.soundness, Soundness::Unlucky);
        insta::assert_snapshot!(unlucky.sentence(), @"the baseline measured twice: 1.011x (1.010-1.013); this session can tell 0.1 % from nothing. The interval excludes 1, as happens in 5 % of sound sessions: read small differences with care");
        let invalid = judged(&[-0.05, -0.052, -0.049, -0.051, -0.05, -0.048]);
        assert_eq!(invalid.soundness, Soundness::Invalid);
        insta::assert_snapshot!(invalid.sentence(), @"the baseline measured twice: 0.951x (0.950-0.953); this session can tell 0.1 % from nothing. Two equal arms differ by more than the smallest effect of interest: this session is not valid");
    }

    #[test]
    fn one_block_resolves_nothing() {
        assert!(resolution(paired(&[0.1], 1).expect("a block"), 0.02).is_none());
    }
}
