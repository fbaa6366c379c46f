//! Rates, ramps and objectives as they are written, and the points that they make.

use super::OnlineSettings;
use super::diagnostic::{Diagnostics, nearest};
use crate::load::{Api, Pacing, Shape, Spread};
use crate::record::{Point, Ramp};
use crate::stats::Slo;

/// Requests per second that can be paced: one in 11 days to more than a client sends.
pub(super) const RATES: std::ops::RangeInclusive<f64> = 1e-6..=1e6;

/// One point of a sweep, ready to be driven.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LoadPoint {
    /// When requests are meant to be sent.
    pub pacing: Pacing,
    /// The same, and how many may be in flight, in the words of the record.
    pub point: Point,
}

impl LoadPoint {
    /// Everything due at once without a limit: for a time, that has no end.
    pub(crate) fn is_endless(&self) -> bool {
        self.pacing == Pacing::AllAtOnce && self.point.concurrency.is_none()
    }
}

impl std::fmt::Display for LoadPoint {
    /// `4 requests/s, Poisson, at most 8 at a time`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.pacing.fmt(f)?;
        match self.point.concurrency {
            Some(limit) => write!(f, ", at most {limit} at a time"),
            None => Ok(()),
        }
    }
}

impl Default for OnlineSettings {
    /// As a rollout step: everything at once, by token ids.
    fn default() -> Self {
        Self {
            api: Api::Completions,
            rates: vec![None],
            ramp: None,
            burstiness: 1.0,
            concurrencies: vec![None],
            duration: None,
            goodput: None,
        }
    }
}

impl OnlineSettings {
    /// Every rate (or the ramp) with every limit on concurrency, in the order in which they are measured.
    pub(crate) fn points(&self) -> Vec<LoadPoint> {
        let spread = if self.burstiness.is_finite() {
            Spread::Burstiness(self.burstiness)
        } else {
            Spread::Constant
        };
        let ramp = self.ramp.map(|ramp| Pacing::Ramp {
            from_per_s: ramp.from,
            to_per_s: ramp.to,
            shape: if ramp.exponential {
                Shape::Exponential
            } else {
                Shape::Linear
            },
            spread,
        });
        let at_rate = |rate: &Option<f64>| match *rate {
            Some(per_s) => Pacing::Rate { per_s, spread },
            None => Pacing::AllAtOnce,
        };
        let pacings = ramp.map_or_else(
            || self.rates.iter().map(at_rate).collect(),
            |ramp| vec![ramp],
        );
        let at = |pacing: Pacing| {
            self.concurrencies.iter().map(move |limit| LoadPoint {
                pacing,
                point: Point {
                    rate: match pacing {
                        Pacing::Rate { per_s, .. } => Some(per_s),
                        _ => None,
                    },
                    concurrency: *limit,
                    ramp: self.ramp,
                },
            })
        };
        pacings.into_iter().flat_map(at).collect()
    }
}

/// `FROM:TO`, `FROM:TO:linear` or `FROM:TO:exponential`.
pub(super) fn parse_ramp(text: &str, found: &mut Diagnostics) -> Option<Ramp> {
    let parts: Vec<&str> = text.split(':').map(str::trim).collect();
    let (rates, shape) = match parts.as_slice() {
        [from, to] => ([from, to], "linear"),
        [from, to, shape] => ([from, to], *shape),
        _ => return no_ramp(text, found),
    };
    let rates = rates.map(|rate| rate.parse::<f64>().ok());
    let [Some(from), Some(to)] = rates else {
        return no_ramp(text, found);
    };
    if !(from > 0.0 && from.is_finite() && to > 0.0 && to.is_finite()) {
        found.plain(format!(
            "--ramp {text}: both rates must be above 0 and finite"
        ));
        return None;
    }
    if !(RATES.contains(&from) && RATES.contains(&to)) {
        found.plain(format!(
            "--ramp {text}: both rates must be from 0.000001 to 1000000 requests per second"
        ));
        return None;
    }
    let exponential = match shape {
        "linear" => false,
        "exponential" => true,
        _ => return no_ramp(text, found),
    };
    Some(Ramp {
        from,
        to,
        exponential,
    })
}

fn no_ramp(text: &str, found: &mut Diagnostics) -> Option<Ramp> {
    found
        .plain(format!(
            "--ramp: `{text}` is not FROM:TO or FROM:TO:exponential"
        ))
        .help("--ramp 1:20 goes from 1 to 20 requests per second by equal amounts");
    None
}

/// `NAME:MILLISECONDS` each, or several parted by commas. Absent if nothing is said.
pub(super) fn parse_goodput(pairs: &[String], found: &mut Diagnostics) -> Option<Slo> {
    let mut slo = Slo::default();
    for pair in pairs.iter().flat_map(|p| p.split(',')) {
        let (name, value) = pair.split_once(':').unwrap_or((pair, ""));
        let value = value.trim().parse::<f64>().ok();
        let part = match name.trim() {
            "ttft" => Some(&mut slo.ttft_ms),
            "tpot" => Some(&mut slo.tpot_ms),
            "e2el" => Some(&mut slo.e2el_ms),
            _ => None,
        };
        match (part, value) {
            (Some(part), Some(ms)) if ms > 0.0 && ms.is_finite() => *part = Some(ms),
            (Some(_), _) => {
                found
                    .plain(format!("--goodput: `{pair}` is not NAME:MILLISECONDS"))
                    .help("as in --goodput ttft:500 tpot:50");
            }
            (None, _) => {
                let mistake = found.plain(format!("--goodput: unknown objective `{pair}`"));
                mistake.help("the names are ttft, tpot and e2el, as in --goodput ttft:500 tpot:50");
                if let Some(near) = nearest(name.trim(), ["ttft", "tpot", "e2el"]) {
                    mistake.help(format!("did you mean `{near}`?"));
                }
            }
        }
    }
    (!pairs.is_empty()).then_some(slo)
}
