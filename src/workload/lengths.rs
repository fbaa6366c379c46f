//! Distributions of lengths in tokens, given by their quantile functions.

use serde::{Deserialize, Serialize};

use crate::stats::{normal_cdf, normal_quantile};

/// A distribution of lengths in tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Lengths {
    /// All the same.
    Fixed {
        /// The length.
        tokens: u32,
    },
    /// Every length from `min` to `max` equally often.
    Uniform {
        /// The shortest.
        min: u32,
        /// The longest.
        max: u32,
    },
    /// The logarithm is normal; what would be longer than `cap` is cut there, as a trainer's response limit cuts it.
    Lognormal {
        /// Mean *after* the cut: what a trainer logs as its mean response length.
        mean: f64,
        /// Standard deviation of the logarithm before the cut; 0.5 is mild, 0.9 has a long tail.
        sigma: f64,
        /// The longest.
        cap: u32,
    },
    /// Two lognormal humps, such as answers without and with a chain of thought.
    Bimodal {
        /// Mean of the short hump, after the cut.
        short: f64,
        /// Mean of the long hump, after the cut.
        long: f64,
        /// The share of long ones, in (0, 1).
        long_share: f64,
        /// Standard deviation of the logarithm within each hump; 0 makes two spikes.
        sigma: f64,
        /// The longest.
        cap: u32,
    },
    /// Lengths that were observed.
    Empirical {
        /// Ascending, at least one, none of them 0.
        lengths: Vec<u32>,
        /// Where they were read from; absent if they were written out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
}

/// A distribution that cannot be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LengthsError {
    /// Every sequence has at least one token.
    #[error("a length must be at least 1 token, not {0}")]
    Zero(f64),
    /// Bounds the wrong way round.
    #[error("the shortest length, {min}, is above the longest, {max}")]
    Bounds {
        /// The lower bound.
        min: u32,
        /// The upper bound.
        max: u32,
    },
    /// A cut distribution cannot have its mean at or above the cut.
    #[error(
        "a mean of {mean} tokens is impossible with a cap of {cap}: lengths are cut at the cap, so their mean is below it"
    )]
    MeanAboveCap {
        /// The mean asked for.
        mean: f64,
        /// The cap.
        cap: u32,
    },
    /// Not a standard deviation that makes sense for a logarithm of lengths.
    #[error("sigma must be between 0 and 3, not {0}")]
    Sigma(f64),
    /// Not a share.
    #[error("long_share must be between 0 and 1, both excluded, not {0}")]
    Share(f64),
    /// The humps are in the wrong order.
    #[error("the short hump's mean, {short}, is above the long hump's, {long}")]
    Humps {
        /// Mean of the short hump.
        short: f64,
        /// Mean of the long hump.
        long: f64,
    },
    /// No lengths at all.
    #[error("an empirical distribution needs at least one length")]
    Empty,
    /// The quantile function relies on the order.
    #[error("the lengths of an empirical distribution must be in ascending order")]
    Unsorted,
}

impl Lengths {
    /// The longest length that can come.
    pub fn max(&self) -> u32 {
        match self {
            Self::Fixed { tokens } => *tokens,
            Self::Uniform { max, .. } => *max,
            Self::Lognormal { mean, sigma, cap } => {
                if *sigma == 0.0 {
                    to_tokens(*mean).min(*cap)
                } else {
                    *cap
                }
            }
            Self::Bimodal {
                long, sigma, cap, ..
            } => {
                if *sigma == 0.0 {
                    to_tokens(*long).min(*cap)
                } else {
                    *cap
                }
            }
            Self::Empirical { lengths, .. } => lengths.last().copied().unwrap_or(0),
        }
    }

    /// Whether all lengths are the same.
    pub fn is_constant(&self) -> bool {
        match self {
            Self::Fixed { .. } => true,
            Self::Uniform { min, max } => min == max,
            Self::Lognormal { sigma, .. } => *sigma == 0.0,
            Self::Bimodal { .. } => false,
            Self::Empirical { lengths, .. } => lengths.first() == lengths.last(),
        }
    }

    /// The mean of the distribution, in tokens.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Fixed { tokens } => f64::from(*tokens),
            Self::Uniform { min, max } => f64::midpoint(f64::from(*min), f64::from(*max)),
            Self::Lognormal { mean, .. } => *mean,
            Self::Bimodal {
                short,
                long,
                long_share,
                ..
            } => (1.0 - long_share) * short + long_share * long,
            Self::Empirical { lengths, .. } => {
                lengths.iter().copied().map(f64::from).sum::<f64>() / lengths.len().max(1) as f64
            }
        }
    }

    /// Whether the distribution can be drawn from.
    pub fn check(&self) -> Result<(), LengthsError> {
        match self {
            Self::Fixed { tokens } => at_least_one(f64::from(*tokens)),
            Self::Uniform { min, max } => {
                at_least_one(f64::from(*min))?;
                if min > max {
                    return Err(LengthsError::Bounds {
                        min: *min,
                        max: *max,
                    });
                }
                Ok(())
            }
            Self::Lognormal { mean, sigma, cap } => check_hump(*mean, *sigma, *cap),
            Self::Bimodal {
                short,
                long,
                long_share,
                sigma,
                cap,
            } => {
                check_hump(*short, *sigma, *cap)?;
                check_hump(*long, *sigma, *cap)?;
                if short > long {
                    return Err(LengthsError::Humps {
                        short: *short,
                        long: *long,
                    });
                }
                if !(*long_share > 0.0 && *long_share < 1.0) {
                    return Err(LengthsError::Share(*long_share));
                }
                Ok(())
            }
            Self::Empirical { lengths, .. } => {
                let first = *lengths.first().ok_or(LengthsError::Empty)?;
                if !lengths.is_sorted() {
                    return Err(LengthsError::Unsorted);
                }
                at_least_one(f64::from(first))
            }
        }
    }

    /// The quantile function, ready to be asked many times. The distribution must have passed [`Lengths::check`].
    pub fn quantiles(&self) -> Quantiles<'_> {
        Quantiles(match self {
            Self::Fixed { tokens } => Shape::Fixed(*tokens),
            Self::Uniform { min, max } => Shape::Uniform {
                min: *min,
                max: *max,
            },
            Self::Lognormal { mean, sigma, cap } => Shape::Hump(Hump::new(*mean, *sigma, *cap)),
            Self::Bimodal {
                short,
                long,
                long_share,
                sigma,
                cap,
            } => Shape::Humps {
                short: Hump::new(*short, *sigma, *cap),
                long: Hump::new(*long, *sigma, *cap),
                long_share: *long_share,
            },
            Self::Empirical { lengths, .. } => Shape::Observed(lengths),
        })
    }
}

fn at_least_one(tokens: f64) -> Result<(), LengthsError> {
    if tokens >= 1.0 && tokens.is_finite() {
        Ok(())
    } else {
        Err(LengthsError::Zero(tokens))
    }
}

fn check_hump(mean: f64, sigma: f64, cap: u32) -> Result<(), LengthsError> {
    at_least_one(mean)?;
    if !(0.0..=3.0).contains(&sigma) {
        return Err(LengthsError::Sigma(sigma));
    }
    let limit = f64::from(cap);
    if mean > limit || (sigma > 0.0 && mean > 0.98 * limit) {
        return Err(LengthsError::MeanAboveCap { mean, cap });
    }
    Ok(())
}

/// A prepared quantile function.
#[derive(Debug, Clone)]
pub struct Quantiles<'a>(Shape<'a>);

#[derive(Debug, Clone)]
enum Shape<'a> {
    Fixed(u32),
    Uniform {
        min: u32,
        max: u32,
    },
    Hump(Hump),
    Humps {
        short: Hump,
        long: Hump,
        long_share: f64,
    },
    Observed(&'a [u32]),
}

impl Quantiles<'_> {
    /// The length below which a share `u` of the lengths lies, for `u` in (0, 1). At least 1.
    pub fn at(&self, u: f64) -> u32 {
        match &self.0 {
            Shape::Fixed(tokens) => *tokens,
            Shape::Uniform { min, max } => {
                let span = f64::from(max - min) + 1.0;
                (min + to_tokens_or_zero((u * span).floor())).min(*max)
            }
            Shape::Hump(hump) => hump.quantile(u),
            Shape::Humps {
                short,
                long,
                long_share,
            } => mixture_quantile(short, long, *long_share, u),
            Shape::Observed(lengths) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "u is above 0, and a float cast saturates"
                )]
                let index = (u * lengths.len() as f64) as usize;
                lengths[index.min(lengths.len() - 1)]
            }
        }
    }

    /// The share of sequences that are cut at the longest length, as the distribution has it.
    pub fn share_at(&self, cap: u32) -> f64 {
        match &self.0 {
            Shape::Fixed(tokens) => f64::from(u8::from(*tokens >= cap)),
            Shape::Uniform { min, max } => {
                f64::from((max + 1).saturating_sub(cap.max(*min))) / (f64::from(max - min) + 1.0)
            }
            Shape::Hump(hump) => 1.0 - hump.below(f64::from(cap)),
            Shape::Humps {
                short,
                long,
                long_share,
            } => {
                let cap = f64::from(cap);
                1.0 - (1.0 - long_share) * short.below(cap) - long_share * long.below(cap)
            }
            Shape::Observed(lengths) => {
                (lengths.len() - lengths.partition_point(|l| *l < cap)) as f64
                    / lengths.len() as f64
            }
        }
    }
}

/// A lognormal that is cut at `cap`.
#[derive(Debug, Clone, Copy)]
struct Hump {
    mu: f64,
    sigma: f64,
    cap: f64,
}

impl Hump {
    /// Finds mu so that the mean after the cut is `mean`: it grows with mu, so bisection finds it.
    fn new(mean: f64, sigma: f64, cap: u32) -> Self {
        let cap = f64::from(cap);
        if sigma == 0.0 {
            return Self {
                mu: mean.ln(),
                sigma,
                cap,
            };
        }
        // Without a cut, mu would be ln(mean) - sigma^2/2; the cut only lowers the mean.
        let mut low = mean.ln() - sigma * sigma / 2.0;
        let mut high = cap.ln() + 6.0 * sigma;
        for _ in 0..200 {
            let mu = f64::midpoint(low, high);
            if cut_mean(mu, sigma, cap) < mean {
                low = mu;
            } else {
                high = mu;
            }
        }
        Self {
            mu: f64::midpoint(low, high),
            sigma,
            cap,
        }
    }

    fn quantile(&self, u: f64) -> u32 {
        let length = (self.mu + self.sigma * normal_quantile(u)).exp();
        to_tokens(length.min(self.cap))
    }

    /// The share below `x`, before the cut.
    fn below(&self, x: f64) -> f64 {
        if self.sigma == 0.0 {
            return f64::from(u8::from(self.mu.exp() < x));
        }
        normal_cdf((x.ln() - self.mu) / self.sigma)
    }
}

/// E[min(L, cap)] for ln L ~ N(mu, sigma): the limited expected value of the lognormal
/// (Klugman, Panjer, Willmot, *Loss Models*, appendix A.4.1).
fn cut_mean(mu: f64, sigma: f64, cap: f64) -> f64 {
    let z = (cap.ln() - mu) / sigma;
    (mu + sigma * sigma / 2.0).exp() * normal_cdf(z - sigma) + cap * (1.0 - normal_cdf(z))
}

fn mixture_quantile(short: &Hump, long: &Hump, long_share: f64, u: f64) -> u32 {
    if short.sigma == 0.0 {
        let hump = if u < 1.0 - long_share { short } else { long };
        return hump.quantile(0.5);
    }
    let below = |x: f64| (1.0 - long_share) * short.below(x) + long_share * long.below(x);
    let (mut low, mut high) = (0.0, short.cap);
    if below(high) <= u {
        return to_tokens(high);
    }
    for _ in 0..100 {
        let x = f64::midpoint(low, high);
        if below(x) < u {
            low = x;
        } else {
            high = x;
        }
    }
    to_tokens(f64::midpoint(low, high))
}

fn to_tokens(length: f64) -> u32 {
    to_tokens_or_zero(length.round()).max(1)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lengths are capped far below 2^32, and a float cast saturates"
)]
fn to_tokens_or_zero(length: f64) -> u32 {
    length as u32
}

#[cfg(test)]
#[expect(clippy::unreadable_literal, reason = "values as scipy prints them")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_cut_mean_agrees_with_scipy() {
        // from scipy import integrate, stats; import numpy as np
        // for m, s, c in [(8.18, .8, 8192), (6.73, .7, 4096)]:
        //   integrate.quad(lambda z: min(np.exp(m+s*z), c)*stats.norm.pdf(z), -12, 12, points=[(np.log(c)-m)/s], limit=500)[0]
        for (mu, sigma, cap, expected) in [
            (8.18, 0.8, 8192.0, 4145.474720070822),
            (6.73, 0.7, 4096.0, 1054.8298743894818),
        ] {
            let found = cut_mean(mu, sigma, cap);
            assert!((found / expected - 1.0).abs() < 1e-8, "{found} {expected}");
        }
    }

    #[test]
    fn impossible_distributions_say_why() {
        let shown = |lengths: Lengths| lengths.check().expect_err("impossible").to_string();
        assert_eq!(
            shown(Lengths::Lognormal {
                mean: 5000.0,
                sigma: 0.5,
                cap: 4096
            }),
            "a mean of 5000 tokens is impossible with a cap of 4096: lengths are cut at the cap, so their mean is below it"
        );
        assert_eq!(
            shown(Lengths::Fixed { tokens: 0 }),
            "a length must be at least 1 token, not 0"
        );
        assert_eq!(
            shown(Lengths::Uniform { min: 9, max: 3 }),
            "the shortest length, 9, is above the longest, 3"
        );
        assert!(
            Lengths::Lognormal {
                mean: f64::NAN,
                sigma: 0.5,
                cap: 9
            }
            .check()
            .is_err()
        );
        assert!(
            Lengths::Lognormal {
                mean: 5.0,
                sigma: f64::NAN,
                cap: 9
            }
            .check()
            .is_err()
        );
        assert!(
            Lengths::Empirical {
                lengths: vec![],
                source: None
            }
            .check()
            .is_err()
        );
        assert!(
            Lengths::Empirical {
                lengths: vec![2, 1],
                source: None
            }
            .check()
            .is_err()
        );
        assert!(
            Lengths::Empirical {
                lengths: vec![0, 1],
                source: None
            }
            .check()
            .is_err()
        );
    }

    #[test]
    fn two_spikes_come_in_their_shares() {
        let lengths = Lengths::Bimodal {
            short: 100.0,
            long: 900.0,
            long_share: 0.25,
            sigma: 0.0,
            cap: 1000,
        };
        lengths.check().expect("possible");
        let quantiles = lengths.quantiles();
        let drawn: Vec<u32> = (0..8)
            .map(|i| quantiles.at((f64::from(i) + 0.5) / 8.0))
            .collect();
        assert_eq!(drawn, [100, 100, 100, 100, 100, 100, 900, 900]);
        assert!((lengths.mean() - 300.0).abs() < 1e-9);
    }

    fn any_lengths() -> impl Strategy<Value = Lengths> {
        prop_oneof![
            (1u32..5000).prop_map(|tokens| Lengths::Fixed { tokens }),
            (1u32..500, 0u32..5000).prop_map(|(min, span)| Lengths::Uniform {
                min,
                max: min + span
            }),
            (0.05f64..0.95, 0.0f64..1.2, 64u32..40_000).prop_map(|(share, sigma, cap)| {
                Lengths::Lognormal {
                    mean: (share * f64::from(cap)).max(1.0),
                    sigma,
                    cap,
                }
            }),
            (
                0.01f64..0.4,
                0.4f64..0.9,
                0.01f64..0.99,
                0.0f64..1.0,
                128u32..40_000
            )
                .prop_map(|(short, long, long_share, sigma, cap)| Lengths::Bimodal {
                    short: (short * f64::from(cap)).max(1.0),
                    long: long * f64::from(cap),
                    long_share,
                    sigma,
                    cap,
                }),
            prop::collection::vec(1u32..9000, 1..50).prop_map(|mut lengths| {
                lengths.sort_unstable();
                Lengths::Empirical {
                    lengths,
                    source: None,
                }
            }),
        ]
    }

    proptest! {
        #[test]
        fn quantiles_rise_and_have_the_mean(lengths in any_lengths()) {
            lengths.check().expect("possible");
            let quantiles = lengths.quantiles();
            let drawn: Vec<u32> = (0..2000).map(|i| quantiles.at((f64::from(i) + 0.5) / 2000.0)).collect();
            prop_assert!(drawn.is_sorted());
            prop_assert!(drawn[0] >= 1 && drawn[1999] <= lengths.max());
            let mean = drawn.iter().copied().map(f64::from).sum::<f64>() / 2000.0;
            prop_assert!((mean / lengths.mean() - 1.0).abs() < 0.02, "{} {}", mean, lengths.mean());
        }
    }
}
