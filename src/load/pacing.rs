//! When requests are meant to be sent: an absolute schedule, drawn from a seed before the clock starts.

use std::fmt;
use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Gamma};

/// How requests are spread over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pacing {
    /// Everything is due at once; with a concurrency limit this is the closed loop.
    AllAtOnce,
    /// Arrivals at a mean rate.
    Rate {
        /// Requests per second.
        per_s: f64,
        /// How regular they are.
        spread: Spread,
    },
    /// A rate that changes from the first request to the last.
    Ramp {
        /// Requests per second at first.
        from_per_s: f64,
        /// Requests per second at last.
        to_per_s: f64,
        /// How it changes.
        shape: Shape,
        /// How regular arrivals are.
        spread: Spread,
    },
}

/// How regular arrivals are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// Equal gaps.
    Constant,
    /// Gamma-distributed gaps; 1 is a Poisson process, less comes in bursts, more is more even. As `--burstiness` of
    /// `vllm bench serve`.
    Burstiness(f64),
}

/// How a ramp goes from one rate to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// By equal amounts.
    Linear,
    /// By equal ratios.
    Exponential,
}

/// When no further request is sent. Those in flight are always waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// After so many requests.
    Count(u64),
    /// After so much time.
    Duration(Duration),
}

/// A rate or a spread that cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum PacingError {
    /// A rate has to be positive and finite.
    #[error("a request rate has to be greater than 0 and finite, not {0}; `inf` sends all at once")]
    Rate(f64),
    /// So does a burstiness.
    #[error("burstiness has to be greater than 0 and finite, not {0}")]
    Burstiness(f64),
    /// Arrivals that nobody will see.
    #[error("the last request would be due after {0:.0} s, which is centuries")]
    TooLong(f64),
    /// More arrivals than could ever be sent.
    #[error("{0:.0} requests are more than a schedule holds ({MAX_ARRIVALS})")]
    TooMany(f64),
}

/// A schedule is kept whole in memory.
const MAX_ARRIVALS: usize = 50_000_000;

impl fmt::Display for Pacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllAtOnce => f.write_str("all at once"),
            Self::Rate { per_s, spread } => write!(f, "{per_s} requests/s, {spread}"),
            Self::Ramp {
                from_per_s,
                to_per_s,
                shape,
                spread,
            } => {
                let shape = match shape {
                    Shape::Linear => "linear",
                    Shape::Exponential => "exponential",
                };
                write!(
                    f,
                    "{shape} ramp from {from_per_s} to {to_per_s} requests/s, {spread}"
                )
            }
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("equal gaps"),
            #[expect(clippy::float_cmp, reason = "exactly 1 is the Poisson process")]
            Self::Burstiness(b) if *b == 1.0 => f.write_str("Poisson"),
            Self::Burstiness(b) => write!(f, "burstiness {b}"),
        }
    }
}

impl Pacing {
    /// The intended send times in nanoseconds from the start; absent if everything is due at once.
    ///
    /// As `vllm bench serve` does it: each request follows its gap, the first too, and with a fixed rate and count
    /// the gaps are scaled so that the last request is due at count / rate, whatever the seed.
    pub fn schedule(&self, limit: Limit, seed: u64) -> Result<Option<Vec<u64>>, PacingError> {
        let (from, to, shape, spread) = match *self {
            Self::AllAtOnce => return Ok(None),
            Self::Rate { per_s, spread } => (per_s, per_s, Shape::Linear, spread),
            Self::Ramp {
                from_per_s,
                to_per_s,
                shape,
                spread,
            } => (from_per_s, to_per_s, shape, spread),
        };
        for rate in [from, to] {
            if !(rate > 0.0 && rate.is_finite()) {
                return Err(PacingError::Rate(rate));
            }
        }
        let mut gaps = Gaps::new(spread, seed)?;
        let rate_at = |progress: f64| match shape {
            Shape::Linear => from + (to - from) * progress,
            Shape::Exponential => from * (to / from).powf(progress),
        };
        let mut at_s = 0.0;
        let mut times = Vec::new();
        match limit {
            Limit::Count(count) => {
                if count as f64 > MAX_ARRIVALS as f64 {
                    return Err(PacingError::TooMany(count as f64));
                }
                let last = count.saturating_sub(1).max(1) as f64;
                for i in 0..count {
                    at_s += gaps.next() / rate_at(i as f64 / last);
                    times.push(at_s);
                }
                if matches!(self, Self::Rate { .. }) && at_s > 0.0 {
                    let scale = count as f64 / from / at_s;
                    for time in &mut times {
                        *time *= scale;
                    }
                }
            }
            Limit::Duration(duration) => {
                let end_s = duration.as_secs_f64();
                let expected = end_s * from.max(to);
                if expected > MAX_ARRIVALS as f64 {
                    return Err(PacingError::TooMany(expected));
                }
                loop {
                    at_s += gaps.next() / rate_at((at_s / end_s).min(1.0));
                    if at_s >= end_s * (1.0 - 1e-12) {
                        break;
                    }
                    times.push(at_s);
                }
            }
        }
        let nanos = |t: f64| {
            let at = Duration::try_from_secs_f64(t).ok();
            let at = at.and_then(|at| u64::try_from(at.as_nanos()).ok());
            at.ok_or(PacingError::TooLong(t))
        };
        times
            .into_iter()
            .map(nanos)
            .collect::<Result<_, _>>()
            .map(Some)
    }
}

/// Gaps with mean 1.
enum Gaps {
    Constant,
    Drawn(Box<(Gamma<f64>, ChaCha8Rng)>),
}

impl Gaps {
    fn new(spread: Spread, seed: u64) -> Result<Self, PacingError> {
        match spread {
            Spread::Constant => Ok(Self::Constant),
            Spread::Burstiness(b) if b > 0.0 && b.is_finite() => {
                let gamma = Gamma::new(b, 1.0 / b).map_err(|_| PacingError::Burstiness(b))?;
                let rng = ChaCha8Rng::seed_from_u64(seed);
                Ok(Self::Drawn(Box::new((gamma, rng))))
            }
            Spread::Burstiness(b) => Err(PacingError::Burstiness(b)),
        }
    }

    fn next(&mut self) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Drawn(drawn) => {
                let (gamma, rng) = &mut **drawn;
                gamma.sample(rng)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn rate(per_s: f64, spread: Spread) -> Pacing {
        Pacing::Rate { per_s, spread }
    }

    fn times(pacing: Pacing, limit: Limit) -> Vec<u64> {
        let schedule = pacing.schedule(limit, 7).expect("a sound rate");
        schedule.expect("a paced schedule")
    }

    #[test]
    fn a_constant_rate_has_equal_gaps() {
        let got = times(rate(100.0, Spread::Constant), Limit::Count(3));
        assert_eq!(got, [10 * MS, 20 * MS, 30 * MS]);
        let second = Limit::Duration(Duration::from_secs(1));
        assert_eq!(times(rate(10.0, Spread::Constant), second).len(), 9);
    }

    #[test]
    fn a_linear_ramp_speeds_up() {
        let ramp = Pacing::Ramp {
            from_per_s: 10.0,
            to_per_s: 100.0,
            shape: Shape::Linear,
            spread: Spread::Constant,
        };
        let got = times(ramp, Limit::Count(3));
        let gaps: Vec<u64> = [0]
            .iter()
            .chain(&got)
            .zip(&got)
            .map(|(a, b)| b - a)
            .collect();
        assert_eq!(gaps[0], 100 * MS);
        assert_eq!(gaps[2], 10 * MS);
        assert!((18 * MS..19 * MS).contains(&gaps[1]), "{}", gaps[1]);
    }

    #[test]
    fn rates_that_cannot_be_are_refused() {
        for per_s in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(
                rate(per_s, Spread::Constant)
                    .schedule(Limit::Count(1), 0)
                    .is_err()
            );
        }
        for b in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let pacing = rate(1.0, Spread::Burstiness(b));
            assert!(pacing.schedule(Limit::Count(1), 0).is_err());
        }
        let endless = Limit::Duration(Duration::from_secs(1_000_000));
        assert!(rate(1e6, Spread::Constant).schedule(endless, 0).is_err());
    }

    /// The squared coefficient of variation of gamma gaps with shape b is 1 / b.
    #[test]
    fn burstiness_is_the_shape_of_the_gaps() {
        for b in [0.25, 1.0, 4.0] {
            let got = times(rate(1000.0, Spread::Burstiness(b)), Limit::Count(40_000));
            let gaps: Vec<f64> = got.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            let shape = mean * mean / variance;
            assert!(
                (shape / b - 1.0).abs() < 0.1,
                "shape {shape} for burstiness {b}"
            );
        }
    }

    proptest! {
        #[test]
        fn schedules_are_ordered_repeatable_and_end_on_time(
            per_s in 0.1_f64..1e4, b in 0.1_f64..10.0, count in 1_u64..300, seed: u64,
        ) {
            let pacing = rate(per_s, Spread::Burstiness(b));
            let one = pacing.schedule(Limit::Count(count), seed).expect("sound");
            prop_assert_eq!(&one, &pacing.schedule(Limit::Count(count), seed).expect("sound"));
            let one = one.expect("paced");
            prop_assert!(one.is_sorted());
            let end_ns = count as f64 / per_s * 1e9;
            let last = *one.last().expect("not empty") as f64;
            prop_assert!((last - end_ns).abs() < 1e-6 * end_ns + 2.0);
        }
    }
}
