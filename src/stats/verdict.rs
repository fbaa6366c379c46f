//! What may be said about a ratio, and in which words.

use serde::Serialize;

use super::distributions::t_critical;
use super::interval::{Estimate, Interval};
use super::stein::more_blocks;

/// The smallest effect of interest unless `--smallest-effect` says otherwise. It is fixed before measuring.
pub(crate) const SMALLEST_EFFECT: f64 = 0.02;

/// Beyond so many more engine starts, "about N more" is no advice.
const WORTH_ADVISING: usize = 200;

/// What an estimate allows to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Judgement {
    /// The interval lies above 1 + delta.
    Faster,
    /// The interval lies below 1 / (1 + delta).
    Slower,
    /// The interval lies within 1 / (1 + delta) and 1 + delta.
    Equivalent,
    /// Faster, but perhaps by less than delta.
    FasterUncertain,
    /// Slower, but perhaps by less than delta.
    SlowerUncertain,
    /// The interval includes 1 and reaches beyond delta.
    Undecided {
        /// About how many more engine starts would decide; absent if more than 200.
        more_starts: Option<usize>,
    },
    /// The interval lies within delta, but two equal arms differ by more than that on this machine.
    Unresolved,
    /// One engine start: a ratio, and nothing to judge it by.
    NoInterval,
}

/// Judges an estimate by its interval. `smallest_effect` (delta) is 0.02 for 2 %, symmetric on the logarithm;
/// `resolution` is that of the session's calibration, absent without one; `comparisons` is how many cells are
/// compared with the same baseline.
pub(crate) fn judge(
    estimate: &Estimate,
    smallest_effect: f64,
    resolution: Option<f64>,
    comparisons: usize,
) -> Judgement {
    let Some(interval) = estimate.interval else {
        return Judgement::NoInterval;
    };
    let above = 1.0 + smallest_effect;
    let below = 1.0 / above;
    let resolved = resolution.is_none_or(|r| r <= smallest_effect);
    let within = interval.low >= below && interval.high <= above;
    if interval.low > above {
        Judgement::Faster
    } else if interval.high < below {
        Judgement::Slower
    } else if within && resolved {
        Judgement::Equivalent
    } else if interval.low > 1.0 {
        Judgement::FasterUncertain
    } else if interval.high < 1.0 {
        Judgement::SlowerUncertain
    } else if within {
        Judgement::Unresolved
    } else {
        let effect = estimate.ratio.ln().abs();
        // Two ways to a decision: an interval that no longer reaches 1, or one that no longer reaches delta.
        let room = if resolved { above.ln() - effect } else { 0.0 };
        Judgement::Undecided {
            more_starts: more(estimate, &interval, effect.max(room), comparisons),
        }
    }
}

fn more(
    estimate: &Estimate,
    interval: &Interval,
    target: f64,
    comparisons: usize,
) -> Option<usize> {
    let error = interval.half_width_log() / t_critical(interval.level, interval.df);
    let sd = error * (estimate.blocks as f64).sqrt();
    more_blocks(sd, estimate.blocks, target, comparisons, WORTH_ADVISING)
}

/// Ratios of the same comparison, measured in different ways; above 1 means that the cell is better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Ratios {
    /// Of output throughput.
    pub throughput: f64,
    /// Of makespan, inverted: the baseline's over the cell's.
    pub makespan: f64,
    /// Of the time in kernels, from profiles, inverted; absent without profiles.
    pub profile: Option<f64>,
}

impl Ratios {
    /// Whether two of them disagree in sign, at least one of the two by more than the smallest effect: less than
    /// that is rounding around 1, and nothing is claimed of it anyway.
    pub(crate) fn contradict(&self, smallest_effect: f64) -> bool {
        let limit = smallest_effect.ln_1p();
        let logs: Vec<f64> = [Some(self.throughput), Some(self.makespan), self.profile]
            .into_iter()
            .flatten()
            .map(f64::ln)
            .collect();
        let highest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lowest = logs.iter().copied().fold(f64::INFINITY, f64::min);
        highest > 0.0 && lowest < 0.0 && (highest > limit || lowest < -limit)
    }
}

/// Everything that bears on what may be said of one cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Evidence {
    /// The cell's precision, as tables show it.
    pub cell: String,
    /// The baseline's.
    pub baseline: String,
    /// The speed-up.
    pub estimate: Estimate,
    /// The smallest effect of interest.
    pub smallest_effect: f64,
    /// Of the session's calibration; absent without one.
    pub resolution: Option<f64>,
    /// How many cells are compared with this baseline.
    pub comparisons: usize,
    /// The same comparison in other measures; absent if they cannot be computed.
    pub ratios: Option<Ratios>,
    /// Why the number does not hold; empty if it does.
    pub reasons: Vec<String>,
}

/// What is said of one cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Absent where nothing is claimed: the run is not valid, or measurements contradict each other.
    #[serde(flatten)]
    pub judgement: Option<Judgement>,
    /// The words.
    pub sentence: String,
}

/// Judges and words the evidence.
pub(crate) fn verdict(evidence: &Evidence) -> Verdict {
    let Evidence {
        cell,
        baseline,
        estimate,
        smallest_effect,
        ..
    } = evidence;
    let percent = percent(*smallest_effect);
    let contradiction = evidence.ratios.filter(|r| r.contradict(*smallest_effect));
    if let Some(ratios) = contradiction {
        let profile = ratios
            .profile
            .map(|p| format!(", {p:.2}x by the profile"))
            .unwrap_or_default();
        return Verdict {
            judgement: None,
            sentence: format!(
                "{cell}: measurements contradict each other ({:.2}x {baseline} by throughput, {:.2}x by makespan{profile}); \
                 no claim is made",
                ratios.throughput, ratios.makespan
            ),
        };
    }
    let numbers = RatioWords::of(estimate, *smallest_effect);
    let measured = format!(
        "{cell}: {}x the throughput of {baseline} ({})",
        numbers.ratio, numbers.support
    );
    if !evidence.reasons.is_empty() {
        return Verdict {
            judgement: None,
            sentence: format!("{measured}: not valid: {}", evidence.reasons.join("; ")),
        };
    }
    let judgement = judge(
        estimate,
        *smallest_effect,
        evidence.resolution,
        evidence.comparisons,
    );
    let undetected = format!(
        "{cell}: no difference detectable at {percent} % ({}x, {})",
        numbers.ratio, numbers.interval
    );
    let sentence = match judgement {
        Judgement::Faster => format!("{measured}: faster"),
        Judgement::Slower => format!("{measured}: slower"),
        Judgement::Equivalent => format!("{measured}: equivalent within {percent} %"),
        Judgement::FasterUncertain => {
            format!("{measured}: faster, perhaps by less than {percent} %")
        }
        Judgement::SlowerUncertain => {
            format!("{measured}: slower, perhaps by less than {percent} %")
        }
        Judgement::Undecided {
            more_starts: Some(1),
        } => {
            format!("{undetected}; about 1 more engine start would decide")
        }
        Judgement::Undecided {
            more_starts: Some(more),
        } => {
            format!("{undetected}; about {more} more engine starts would decide")
        }
        Judgement::Undecided { more_starts: None } => {
            format!(
                "{undetected}; more than {WORTH_ADVISING} more engine starts would be needed to decide"
            )
        }
        Judgement::Unresolved => format!(
            "{undetected}; two equal arms differ by up to {:.1} % here, so equivalence is not claimed",
            100.0 * evidence.resolution.unwrap_or_default()
        ),
        Judgement::NoInterval => measured,
    };
    Verdict {
        judgement: Some(judgement),
        sentence,
    }
}

/// A percentage without needless zeros: 2, 2.5.
fn percent(share: f64) -> String {
    let shown = format!("{:.2}", 100.0 * share);
    shown.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// An estimate in figures, with as many decimals as it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RatioWords {
    /// `1.16`.
    pub ratio: String,
    /// `1.12-1.21`, or `no interval`.
    pub interval: String,
    /// `95 % CI 1.12-1.21, 6 engine starts`, or `one engine start: no interval`.
    pub support: String,
}

impl RatioWords {
    /// Of an estimate; the decimals show on which side of 1 and of `smallest_effect` the ends of the interval lie.
    pub(crate) fn of(estimate: &Estimate, smallest_effect: f64) -> Self {
        let Some(interval) = estimate.interval else {
            let starts = match estimate.blocks {
                1 => "one engine start",
                _ => "one engine start on a side",
            };
            return Self {
                ratio: format!("{:.2}", estimate.ratio),
                interval: "no interval".to_owned(),
                support: format!("{starts}: no interval"),
            };
        };
        let decimals = decimals(&interval, smallest_effect);
        let shown = ends(&interval, smallest_effect);
        Self {
            ratio: format!("{:.decimals$}", estimate.ratio),
            support: format!("95 % CI {shown}, {} engine starts", estimate.blocks),
            interval: shown,
        }
    }
}

/// The ends of an interval, such as `1.12-1.21`, with the decimals of [`RatioWords`].
pub(crate) fn ends(interval: &Interval, smallest_effect: f64) -> String {
    let decimals = decimals(interval, smallest_effect);
    format!("{:.decimals$}-{:.decimals$}", interval.low, interval.high)
}

/// As few decimals, from two, as show on which side of 1 and of delta the ends of the interval lie: "1.00-1.05:
/// faster" would look like a mistake where the lower end is 1.003.
fn decimals(interval: &Interval, smallest_effect: f64) -> usize {
    let above = 1.0 + smallest_effect;
    let side = |end: f64| [1.0 / above, 1.0, above].map(|limit| end.partial_cmp(&limit));
    let honest = |decimals: i32| {
        let scale = 10_f64.powi(decimals);
        let rounded = |end: f64| (end * scale).round() / scale;
        let (low, high) = (rounded(interval.low), rounded(interval.high));
        low < high && side(low) == side(interval.low) && side(high) == side(interval.high)
    };
    match (2..4).find(|d| honest(*d)) {
        Some(2) => 2,
        Some(_) => 3,
        None => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::interval::paired;
    use proptest::prelude::*;

    /// An estimate from six engine starts with this mean and this standard deviation of the logarithm.
    fn six(mean: f64, sd: f64) -> Estimate {
        let unit = (5.0_f64 / 6.0).sqrt();
        let d: Vec<f64> = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0]
            .map(|x| mean + x * sd * unit)
            .to_vec();
        paired(&d, 1).expect("blocks")
    }

    fn evidence(cell: &str, estimate: Estimate) -> Evidence {
        Evidence {
            cell: cell.to_owned(),
            baseline: "BF16".to_owned(),
            estimate,
            smallest_effect: 0.02,
            resolution: None,
            comparisons: 1,
            ratios: None,
            reasons: Vec::new(),
        }
    }

    fn said(cell: &str, estimate: Estimate) -> String {
        verdict(&evidence(cell, estimate)).sentence
    }

    #[test]
    fn each_verdict_has_its_words() {
        insta::assert_snapshot!(said("W8A8", six(0.15, 0.036)), @"W8A8: 1.16x the throughput of BF16 (95 % CI 1.12-1.21, 6 engine starts): faster");
        insta::assert_snapshot!(said("W8A16", six(-0.10, 0.02)), @"W8A16: 0.90x the throughput of BF16 (95 % CI 0.89-0.92, 6 engine starts): slower");
        insta::assert_snapshot!(said("FP8", six(0.002, 0.008)), @"FP8: 1.00x the throughput of BF16 (95 % CI 0.99-1.01, 6 engine starts): equivalent within 2 %");
        insta::assert_snapshot!(said("W8A8", six(0.03, 0.02)), @"W8A8: 1.03x the throughput of BF16 (95 % CI 1.01-1.05, 6 engine starts): faster, perhaps by less than 2 %");
        insta::assert_snapshot!(said("W8A8", six(-0.013, 0.01)), @"W8A8: 0.987x the throughput of BF16 (95 % CI 0.977-0.997, 6 engine starts): slower, perhaps by less than 2 %");
        insta::assert_snapshot!(said("W8A16", six(-0.011, 0.03)), @"W8A16: no difference detectable at 2 % (0.989x, 0.958-1.021); about 26 more engine starts would decide");
        insta::assert_snapshot!(said("W8A16", six(0.017, 0.018)), @"W8A16: no difference detectable at 2 % (1.017x, 0.998-1.037); about 1 more engine start would decide");
        insta::assert_snapshot!(said("W8A16", six(-0.01, 0.5)), @"W8A16: no difference detectable at 2 % (0.99x, 0.59-1.67); more than 200 more engine starts would be needed to decide");
        insta::assert_snapshot!(said("W8A8", paired(&[0.15], 1).expect("a block")), @"W8A8: 1.16x the throughput of BF16 (one engine start: no interval)");
    }

    #[test]
    fn a_coarse_machine_never_says_equivalent() {
        let coarse = Evidence {
            resolution: Some(0.031),
            ..evidence("FP8", six(0.002, 0.008))
        };
        insta::assert_snapshot!(verdict(&coarse).sentence, @"FP8: no difference detectable at 2 % (1.00x, 0.99-1.01); two equal arms differ by up to 3.1 % here, so equivalence is not claimed");
        assert_eq!(verdict(&coarse).judgement, Some(Judgement::Unresolved));
    }

    #[test]
    fn reasons_stand_beside_the_number_and_nothing_is_claimed() {
        let broken = Evidence {
            reasons: vec![
                "3 of 768 requests failed".to_owned(),
                "block 2 is split over two sessions".to_owned(),
            ],
            ..evidence("W8A8", six(0.15, 0.02))
        };
        insta::assert_snapshot!(verdict(&broken).sentence, @"W8A8: 1.16x the throughput of BF16 (95 % CI 1.14-1.19, 6 engine starts): not valid: 3 of 768 requests failed; block 2 is split over two sessions");
        assert_eq!(verdict(&broken).judgement, None);
    }

    #[test]
    fn measurements_that_disagree_in_sign_claim_nothing() {
        let ratios = Ratios {
            throughput: 0.89,
            makespan: 0.89,
            profile: Some(1.12),
        };
        let torn = Evidence {
            ratios: Some(ratios),
            ..evidence("W8A8", six(-0.12, 0.01))
        };
        insta::assert_snapshot!(verdict(&torn).sentence, @"W8A8: measurements contradict each other (0.89x BF16 by throughput, 0.89x by makespan, 1.12x by the profile); no claim is made");
        assert_eq!(verdict(&torn).judgement, None);
        let rounding = Ratios {
            throughput: 1.001,
            makespan: 0.999,
            profile: None,
        };
        assert!(!rounding.contradict(0.02));
        let agreeing = Ratios {
            throughput: 1.16,
            makespan: 1.15,
            profile: Some(1.3),
        };
        assert!(!agreeing.contradict(0.02));
    }

    #[test]
    fn json_holds_the_verdict_and_the_sentence() {
        let shown = serde_json::to_string(&verdict(&evidence("W8A16", six(-0.011, 0.03))))
            .expect("serializes");
        insta::assert_snapshot!(shown, @r#"{"verdict":"undecided","more_starts":26,"sentence":"W8A16: no difference detectable at 2 % (0.989x, 0.958-1.021); about 26 more engine starts would decide"}"#);
    }

    proptest! {
        #[test]
        fn what_is_printed_agrees_with_what_is_said(mean in -0.1f64..0.1, sd in 0.0005f64..0.06) {
            let estimate = six(mean, sd);
            let interval = estimate.interval.expect("six");
            let d = i32::try_from(decimals(&interval, 0.02)).expect("small");
            let scale = 10_f64.powi(d);
            let low = (interval.low * scale).round() / scale;
            match judge(&estimate, 0.02, None, 1) {
                Judgement::Faster => prop_assert!(d == 4 || low > 1.02),
                Judgement::FasterUncertain => prop_assert!(d == 4 || low > 1.0),
                _ => {}
            }
        }

        #[test]
        fn a_verdict_is_symmetric(mean in -0.1f64..0.1, sd in 0.0005f64..0.06) {
            let there = judge(&six(mean, sd), 0.02, None, 1);
            let back = judge(&six(-mean, sd), 0.02, None, 1);
            let mirrored = match back {
                Judgement::Faster => Judgement::Slower,
                Judgement::Slower => Judgement::Faster,
                Judgement::FasterUncertain => Judgement::SlowerUncertain,
                Judgement::SlowerUncertain => Judgement::FasterUncertain,
                same => same,
            };
            prop_assert_eq!(there, mirrored);
        }
    }
}
