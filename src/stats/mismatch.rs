//! How far the policy that sampled (the rollout) is from a reference that scored the same tokens.
//!
//! `lr` is the log-ratio `log p_reference - log p_rollout` of a sampled token, clamped to +-20 as verl does, and
//! `w = e^lr`. Names are verl's where it has one (`verl/trainer/ppo/rollout_corr_helper.py`), without its prefixes.
//! Tokens of one prompt are not independent, so everything is summed by prompt first and prompts are what is resampled.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use indexmap::IndexMap;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;

use super::distributions::t_critical;
use super::interval::{CONFIDENCE, mean};
use super::quantiles::quantile;

/// Ratios beyond these, or below their inverses, are what trainers clip: 2 is the default of verl, SkyRL and slime.
pub(crate) const CLIPS: [f64; 5] = [1.5, 2.0, 3.0, 5.0, 8.0];

/// Where the response is cut to see whether the mismatch grows along it: tokens from one edge to the next.
pub(crate) const POSITIONS: [usize; 8] = [0, 16, 64, 256, 1024, 4096, 16384, usize::MAX];

const LARGEST_LOG_RATIO: f64 = 20.0;
const RESAMPLES: usize = 2_000;
/// What is left of the probability outside the common best tokens, at least: float32 cannot tell less from nothing.
const LEAST_REST: f64 = 1e-9;

/// One sampled response as both policies see it; columns have one entry a token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Response<'a> {
    /// Which prompt it answers: responses to one prompt belong together.
    pub prompt: u32,
    /// Log-probabilities of the sampled tokens by the policy that sampled them.
    pub rollout: &'a [f32],
    /// The same by the reference.
    pub reference: &'a [f32],
    /// The best tokens of both; absent where they were not recorded.
    pub best: Option<[Best<'a>; 2]>,
}

/// The best `k` tokens at each position, best first: `k` entries a token in both columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Best<'a> {
    pub k: usize,
    pub ids: &'a [u32],
    pub logprobs: &'a [f32],
}

/// A response that says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("a log-probability of prompt {prompt} is not a number (token {token} of the response)")]
    NotANumber { prompt: u32, token: usize },
    #[error("prompt {prompt}: {rollout} tokens were sampled and {reference} scored")]
    Lengths {
        prompt: u32,
        rollout: usize,
        reference: usize,
    },
}

macro_rules! sums {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What the metrics of some responses are computed from. Adds up over responses.
        #[derive(Debug, Clone, Default, PartialEq)]
        struct Sums {
            $($(#[$doc])* $name: f64,)*
            clipped_high: [f64; CLIPS.len()],
            clipped_low: [f64; CLIPS.len()],
            /// k3 and tokens by position.
            positions: [[f64; 2]; POSITIONS.len() - 1],
            largest_ratio: f64,
            /// Of `-w`, so that the largest is wanted here too.
            smallest_ratio: Option<f64>,
            largest_difference: f64,
        }

        impl AddAssign<&Self> for Sums {
            fn add_assign(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
                let add = |to: &mut [f64], from: &[f64]| {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                };
                add(&mut self.clipped_high, &other.clipped_high);
                add(&mut self.clipped_low, &other.clipped_low);
                for (to, from) in self.positions.iter_mut().zip(&other.positions) {
                    add(to, from);
                }
                self.largest_ratio = self.largest_ratio.max(other.largest_ratio);
                self.smallest_ratio = match (self.smallest_ratio, other.smallest_ratio) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                self.largest_difference = self.largest_difference.max(other.largest_difference);
            }
        }
    };
}

sums! {
    tokens,
    responses,
    lr,
    lr_abs,
    k3,
    w,
    w_squared,
    sequence_w_squared,
    /// `|p_reference - p_rollout|`, and its square.
    difference,
    difference_squared,
    /// For the correlation of both probabilities.
    p,
    q,
    p_squared,
    q_squared,
    p_q,
    /// Tokens at which the best tokens of both are known.
    best_tokens,
    kl_topk,
    top1,
}

/// A number of the mismatch: its name, and how it follows from the sums.
struct Metric {
    name: &'static str,
    of: fn(&Sums) -> f64,
    /// Whether resampling prompts says anything about it; the largest of all does not scatter like a mean.
    scatters: bool,
}

const fn metric(name: &'static str, of: fn(&Sums) -> f64) -> Metric {
    Metric {
        name,
        of,
        scatters: true,
    }
}

/// The gate of every verdict: KL(rollout || reference) by Schulman's third estimator, `mean(w - lr - 1)`.
pub(crate) const GATE: &str = "k3_kl";

/// Every number, in the order of the tables.
const METRICS: &[Metric] = &[
    metric("kl", |s| -s.lr / s.tokens),
    metric(GATE, |s| s.k3 / s.tokens),
    // KL of both distributions coarsened to {common best K} + {rest}: a lower bound of the KL without sampling noise.
    metric("kl_topk", |s| s.kl_topk / s.best_tokens),
    metric("chi2_token", |s| s.w_squared / s.tokens - 1.0),
    metric("chi2_seq", |s| s.sequence_w_squared / s.responses - 1.0),
    metric("rollout_is_mean", |s| s.w / s.tokens),
    Metric {
        scatters: false,
        ..metric("rollout_is_max", |s| s.largest_ratio)
    },
    Metric {
        scatters: false,
        ..metric("rollout_is_min", |s| s.smallest_ratio.unwrap_or(f64::NAN))
    },
    metric("rollout_is_std", |s| deviation(s.w, s.w_squared, s.tokens)),
    metric("rollout_is_eff_sample_size", |s| {
        s.w * s.w / (s.w_squared * s.tokens)
    }),
    metric("logprob_abs_diff", |s| s.lr_abs / s.tokens),
    metric("rollout_probs_diff_mean", |s| s.difference / s.tokens),
    Metric {
        scatters: false,
        ..metric("rollout_probs_diff_max", |s| s.largest_difference)
    },
    metric("rollout_probs_diff_std", |s| {
        deviation(s.difference, s.difference_squared, s.tokens)
    }),
    metric("rollout_actor_probs_pearson_corr", |s| {
        let covariance = s.p_q / s.tokens - s.p * s.q / s.tokens.powi(2);
        covariance / (deviation(s.p, s.p_squared, s.tokens) * deviation(s.q, s.q_squared, s.tokens))
    }),
    metric("top1_agreement", |s| s.top1 / s.best_tokens),
];

/// Standard deviation (divided by n) from a sum and a sum of squares.
fn deviation(sum: f64, squares: f64, count: f64) -> f64 {
    (squares / count - (sum / count).powi(2)).max(0.0).sqrt()
}

/// A number with its interval at 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Measured {
    pub value: f64,
    /// Absent where there is no interval: one prompt, or a number that does not scatter like a mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
}

/// The mismatch of many responses, kept by prompt.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Mismatch {
    prompts: BTreeMap<u32, Sums>,
}

/// The mismatch as numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct MismatchNumbers {
    /// Sampled tokens that were scored.
    pub tokens: u64,
    /// Responses that they belong to.
    pub responses: u64,
    /// Prompts that these answer: what was resampled.
    pub prompts: u64,
    /// By name.
    #[serde(flatten)]
    pub metrics: IndexMap<&'static str, Measured>,
    /// Shares of tokens that a trainer would clip.
    pub clipped: Vec<Clipped>,
    /// k3 by position in the response, so that growth along it is seen.
    pub by_position: Vec<AtPosition>,
}

/// What a clip at `at` would touch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Clipped {
    pub at: f64,
    /// Share of tokens with `w > at`.
    pub high: f64,
    /// Share of tokens with `w < 1/at`.
    pub low: f64,
}

/// A stretch of the responses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct AtPosition {
    /// First token, counted from 1.
    pub from: u64,
    /// Last token; absent for the last stretch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Tokens in it.
    pub tokens: u64,
    pub k3_kl: f64,
}

impl Mismatch {
    /// Of `responses`.
    ///
    /// # Errors
    /// If a response has a log-probability that is not a number, or columns of unequal length.
    pub(crate) fn of<'a>(
        responses: impl IntoIterator<Item = Response<'a>>,
    ) -> Result<Self, Unusable> {
        let mut mismatch = Self::default();
        for response in responses {
            let sums = sums_of(&response)?;
            *mismatch.prompts.entry(response.prompt).or_default() += &sums;
        }
        Ok(mismatch)
    }

    /// Together with what another engine start of the same cell gave.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (prompt, sums) in &other.prompts {
            *self.prompts.entry(*prompt).or_default() += sums;
        }
    }

    /// Every number with its interval. Absent without tokens.
    pub(crate) fn numbers(&self, seed: u64) -> Option<MismatchNumbers> {
        let total = total(self.prompts.values());
        if total.tokens == 0.0 {
            return None;
        }
        let sums: Vec<&Sums> = self.prompts.values().collect();
        let resampled = resample(sums.len(), seed, |drawn| {
            let total = self::total(drawn.iter().map(|&index| sums[index]));
            METRICS.iter().map(|m| (m.of)(&total)).collect()
        });
        let metrics = METRICS.iter().enumerate().filter_map(|(index, metric)| {
            let value = (metric.of)(&total);
            let interval = resampled.interval(index).filter(|_| metric.scatters);
            value
                .is_finite()
                .then_some((metric.name, Measured { value, interval }))
        });
        Some(MismatchNumbers {
            tokens: count(total.tokens),
            responses: count(total.responses),
            prompts: self.prompts.len() as u64,
            metrics: metrics.collect(),
            clipped: clipped(&total),
            by_position: by_position(&total),
        })
    }

    /// The gate's number; absent without tokens.
    pub(crate) fn gate(&self) -> Option<f64> {
        let total = total(self.prompts.values());
        (total.tokens > 0.0).then(|| total.k3 / total.tokens)
    }

    /// By how much the gate's number is above that of `floor`, the baseline against itself on the same prompts. The
    /// interval resamples both together, prompt by prompt. Absent where they share no prompt.
    pub(crate) fn excess(&self, floor: &Self, seed: u64) -> Option<Measured> {
        let pairs: Vec<(&Sums, &Sums)> = self
            .prompts
            .iter()
            .filter_map(|(prompt, sums)| Some((sums, floor.prompts.get(prompt)?)))
            .collect();
        let gate = |sums: &Sums| sums.k3 / sums.tokens;
        let difference = |drawn: &mut dyn Iterator<Item = (&Sums, &Sums)>| {
            let (mut cell, mut floor) = (Sums::default(), Sums::default());
            for (own, other) in drawn {
                cell += own;
                floor += other;
            }
            gate(&cell) - gate(&floor)
        };
        let value = difference(&mut pairs.iter().copied());
        let resampled = resample(pairs.len(), seed, |drawn| {
            vec![difference(&mut drawn.iter().map(|&index| pairs[index]))]
        });
        value.is_finite().then(|| Measured {
            value,
            interval: resampled.interval(0),
        })
    }
}

/// The mean over engine starts with its t interval: starts, not tokens, are what is replicated. Absent below two.
pub(crate) fn over_starts(values: &[f64]) -> Option<Measured> {
    let n = values.len() as f64;
    if values.len() < 2 {
        return None;
    }
    let centre = mean(values);
    let variance = values.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / (n - 1.0);
    let half = t_critical(CONFIDENCE, n - 1.0) * (variance / n).sqrt();
    Some(Measured {
        value: centre,
        interval: Some([centre - half, centre + half]),
    })
}

/// The mean of `values`, one a prompt, with its interval. Absent without values.
pub(crate) fn mean_by_prompt(values: &[f64], seed: u64) -> Option<Measured> {
    if values.is_empty() {
        return None;
    }
    let drawn_mean = |drawn: &[usize]| {
        vec![drawn.iter().map(|&index| values[index]).sum::<f64>() / drawn.len() as f64]
    };
    Some(Measured {
        value: mean(values),
        interval: resample(values.len(), seed, drawn_mean).interval(0),
    })
}

fn sums_of(response: &Response<'_>) -> Result<Sums, Unusable> {
    let prompt = response.prompt;
    let (rollout, reference) = (response.rollout.len(), response.reference.len());
    if rollout != reference {
        return Err(Unusable::Lengths {
            prompt,
            rollout,
            reference,
        });
    }
    let mut sums = Sums {
        responses: 1.0,
        ..Sums::default()
    };
    let mut sequence_lr = 0.0;
    let columns = response.rollout.iter().zip(response.reference);
    for (token, (&log_q, &log_p)) in columns.enumerate() {
        if !log_q.is_finite() || !log_p.is_finite() {
            return Err(Unusable::NotANumber { prompt, token });
        }
        sequence_lr += add_token(&mut sums, token, f64::from(log_q), f64::from(log_p));
    }
    let clamped = sequence_lr.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO);
    sums.sequence_w_squared = (2.0 * clamped).exp();
    if let Some([rollout, reference]) = &response.best {
        for token in 0..response.rollout.len() {
            add_best(&mut sums, rollout.at(token), reference.at(token));
        }
    }
    Ok(sums)
}

/// Adds one token; returns its log-ratio.
fn add_token(sums: &mut Sums, token: usize, log_q: f64, log_p: f64) -> f64 {
    let lr = (log_p - log_q).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO);
    let (w, q, p) = (lr.exp(), log_q.exp(), log_p.exp());
    // `exp_m1` keeps the digits that `w - 1 - lr` loses where both policies nearly agree.
    let k3 = lr.exp_m1() - lr;
    let difference = (p - q).abs();
    sums.tokens += 1.0;
    sums.lr += lr;
    sums.lr_abs += lr.abs();
    sums.k3 += k3;
    sums.w += w;
    sums.w_squared += w * w;
    sums.difference += difference;
    sums.difference_squared += difference * difference;
    sums.p += p;
    sums.q += q;
    sums.p_squared += p * p;
    sums.q_squared += q * q;
    sums.p_q += p * q;
    for (index, clip) in CLIPS.iter().enumerate() {
        sums.clipped_high[index] += f64::from(w > *clip);
        sums.clipped_low[index] += f64::from(w < 1.0 / clip);
    }
    let stretch = POSITIONS.partition_point(|edge| *edge <= token) - 1;
    sums.positions[stretch][0] += k3;
    sums.positions[stretch][1] += 1.0;
    sums.largest_ratio = sums.largest_ratio.max(w);
    sums.smallest_ratio = Some(sums.smallest_ratio.map_or(w, |least| least.min(w)));
    sums.largest_difference = sums.largest_difference.max(difference);
    lr
}

impl<'a> Best<'a> {
    fn at(&self, token: usize) -> (&'a [u32], &'a [f32]) {
        let own = token * self.k..(token + 1) * self.k;
        let none = (&[][..], &[][..]);
        match (self.ids.get(own.clone()), self.logprobs.get(own)) {
            (Some(ids), Some(logprobs)) => (ids, logprobs),
            _ => none,
        }
    }
}

fn add_best(sums: &mut Sums, rollout: (&[u32], &[f32]), reference: (&[u32], &[f32])) {
    let (Some(first), Some(other)) = (rollout.0.first(), reference.0.first()) else {
        return;
    };
    let (mut kl, mut inside_q, mut inside_p) = (0.0, 0.0, 0.0);
    for (id, log_q) in rollout.0.iter().zip(rollout.1) {
        let Some(at) = reference.0.iter().position(|other| other == id) else {
            continue;
        };
        let (log_q, log_p) = (f64::from(*log_q), f64::from(reference.1[at]));
        kl += log_q.exp() * (log_q - log_p);
        inside_q += log_q.exp();
        inside_p += log_p.exp();
    }
    let rest = |inside: f64| (1.0 - inside).max(LEAST_REST);
    kl += rest(inside_q) * (rest(inside_q) / rest(inside_p)).ln();
    sums.best_tokens += 1.0;
    sums.kl_topk += kl;
    sums.top1 += f64::from(first == other);
}

fn total<'a>(sums: impl Iterator<Item = &'a Sums>) -> Sums {
    let mut total = Sums::default();
    sums.for_each(|sums| total += sums);
    total
}

fn clipped(total: &Sums) -> Vec<Clipped> {
    CLIPS
        .iter()
        .enumerate()
        .map(|(index, &at)| Clipped {
            at,
            high: total.clipped_high[index] / total.tokens,
            low: total.clipped_low[index] / total.tokens,
        })
        .collect()
}

fn by_position(total: &Sums) -> Vec<AtPosition> {
    let edges = POSITIONS.iter().zip(&POSITIONS[1..]);
    edges
        .zip(&total.positions)
        .filter(|(_, [_, tokens])| *tokens > 0.0)
        .map(|((from, to), [k3, tokens])| AtPosition {
            from: *from as u64 + 1,
            to: (*to < usize::MAX).then_some(*to as u64),
            tokens: count(*tokens),
            k3_kl: k3 / tokens,
        })
        .collect()
}

/// Sums of ones are whole and far below 2^52.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn count(sum: f64) -> u64 {
    sum as u64
}

/// Numbers of resampled prompts: one sorted column a number.
struct Resampled(Vec<Vec<f64>>);

impl Resampled {
    /// The percentile interval of the number at `index`; absent below two prompts.
    fn interval(&self, index: usize) -> Option<[f64; 2]> {
        let column = self.0.get(index)?;
        let tail = (1.0 - CONFIDENCE) / 2.0;
        Some([quantile(column, tail)?, quantile(column, 1.0 - tail)?])
    }
}

/// Draws as many of `prompts` prompts as there are, with replacement, again and again. The same seed gives the same.
fn resample(prompts: usize, seed: u64, numbers: impl Fn(&[usize]) -> Vec<f64>) -> Resampled {
    if prompts < 2 {
        return Resampled(Vec::new());
    }
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let mut columns: Vec<Vec<f64>> = Vec::new();
    let mut drawn = vec![0; prompts];
    for _ in 0..RESAMPLES {
        for index in &mut drawn {
            let scaled = (u128::from(random.next_u64()) * prompts as u128) >> 64;
            *index = usize::try_from(scaled).unwrap_or(0);
        }
        let values = numbers(&drawn);
        columns.resize(values.len(), Vec::new());
        columns
            .iter_mut()
            .zip(values)
            .filter(|(_, value)| value.is_finite())
            .for_each(|(column, value)| column.push(value));
    }
    for column in &mut columns {
        column.sort_unstable_by(f64::total_cmp);
    }
    Resampled(columns)
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "log-probabilities are f32")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the rollout and the reference give to each token.
    type Both = (Vec<f32>, Vec<f32>);

    /// Tokens of a two-letter alphabet in exactly the shares that the rollout's distribution gives them, so that sample
    /// means are expectations.
    fn two_letters(q: f64, p: f64, count: u32) -> Both {
        let first = (0..count).map(|i| f64::from(i) < q * f64::from(count));
        let both = first.map(|first| {
            let (q, p) = if first { (q, p) } else { (1.0 - q, 1.0 - p) };
            (q.ln() as f32, p.ln() as f32)
        });
        both.unzip()
    }

    fn one(prompt: u32, columns: &Both) -> Response<'_> {
        Response {
            prompt,
            rollout: &columns.0,
            reference: &columns.1,
            best: None,
        }
    }

    fn value(numbers: &MismatchNumbers, name: &str) -> f64 {
        numbers.metrics[name].value
    }

    #[test]
    fn estimators_agree_with_closed_forms() {
        let (q, p) = (0.75_f64, 0.5_f64);
        let columns = two_letters(q, p, 1000);
        let numbers = Mismatch::of([one(0, &columns)])
            .expect("usable")
            .numbers(1)
            .expect("tokens");
        let kl = q * (q / p).ln() + (1.0 - q) * ((1.0 - q) / (1.0 - p)).ln();
        let second = p * p / q + (1.0 - p) * (1.0 - p) / (1.0 - q);
        let near = |name: &str, wanted: f64| {
            let got = value(&numbers, name);
            assert!((got - wanted).abs() < 1e-6, "{name}: {got}, not {wanted}");
        };
        near("kl", kl);
        // mean(w) is exactly 1 here, so both estimators are the KL itself.
        near("k3_kl", kl);
        near("rollout_is_mean", 1.0);
        near("chi2_token", second - 1.0);
        near("rollout_is_std", (second - 1.0).sqrt());
        near("rollout_is_eff_sample_size", 1.0 / second);
        near("rollout_is_max", 2.0);
        near("rollout_is_min", p / q);
        near("rollout_probs_diff_mean", 0.25);
        near("rollout_probs_diff_max", 0.25);
        near("rollout_probs_diff_std", 0.0);
        let clipped = numbers.clipped[0];
        assert_eq!((clipped.at, clipped.high, clipped.low), (1.5, 0.25, 0.0));
        assert_eq!(numbers.tokens, 1000);
        assert!(!numbers.metrics.contains_key("kl_topk"), "not recorded");
    }

    #[test]
    fn the_best_tokens_give_the_kl_without_sampling_noise() {
        let log = |ps: [f64; 2]| ps.map(|p| p.ln() as f32);
        let (q, p) = (log([0.6, 0.3]), log([0.3, 0.5]));
        let by_rank = [p[1], p[0]];
        let best = |ids, logprobs| Best {
            k: 2,
            ids,
            logprobs,
        };
        let response = Response {
            prompt: 0,
            rollout: &q[..1],
            reference: &p[..1],
            best: Some([best(&[7, 8], &q), best(&[8, 7], &by_rank)]),
        };
        let numbers = Mismatch::of([response])
            .expect("usable")
            .numbers(1)
            .expect("tokens");
        // {7: 0.6, 8: 0.3, rest: 0.1} against {7: 0.3, 8: 0.5, rest: 0.2}.
        let wanted = 0.6 * 2.0_f64.ln() + 0.3 * 0.6_f64.ln() + 0.1 * 0.5_f64.ln();
        assert!((value(&numbers, "kl_topk") - wanted).abs() < 1e-6);
        assert!(value(&numbers, "top1_agreement").abs() < 1e-12);
    }

    #[test]
    fn nonsense_is_named() {
        let bad = (vec![-1.0, f32::NAN], vec![-1.0, -1.0]);
        assert_eq!(
            Mismatch::of([one(3, &bad)]),
            Err(Unusable::NotANumber {
                prompt: 3,
                token: 1
            })
        );
        let short = (vec![-1.0], vec![]);
        assert!(matches!(
            Mismatch::of([one(3, &short)]),
            Err(Unusable::Lengths { .. })
        ));
        assert_eq!(Mismatch::default().numbers(0), None);
    }

    #[test]
    fn positions_keep_growth_visible() {
        let mut columns = (vec![-1.0_f32; 20], vec![-1.0_f32; 20]);
        columns.1[18] = -2.0;
        let numbers = Mismatch::of([one(0, &columns)])
            .expect("usable")
            .numbers(1)
            .expect("tokens");
        let [early, late] = &numbers.by_position[..] else {
            panic!("two stretches: {:?}", numbers.by_position)
        };
        assert_eq!((early.from, early.to, early.k3_kl), (1, Some(16), 0.0));
        assert_eq!((late.from, late.to, late.tokens), (17, Some(64), 4));
        assert!((late.k3_kl - (-1.0_f64).exp() / 4.0).abs() < 1e-9);
    }

    /// Prompts with a noise of their own around one mismatch.
    fn noisy(seed: u64, prompts: u32, shift: f32) -> Mismatch {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut uniform = move || (random.next_u32() as f32 / u32::MAX as f32) - 0.5;
        let columns: Vec<_> = (0..prompts)
            .map(|_| {
                let own = uniform() * 0.02;
                let rollout: Vec<f32> = (0..50).map(|_| -1.0 + uniform()).collect();
                let reference = rollout.iter().map(|q| q + shift + own + uniform() * 0.1);
                (rollout.clone(), reference.collect())
            })
            .collect();
        Mismatch::of((0..).zip(&columns).map(|(i, c)| one(i, c))).expect("usable")
    }

    #[test]
    fn an_equal_policy_is_seldom_told_from_its_floor() {
        let wrong = (0..100_u64)
            .filter(|seed| {
                let (cell, floor) = (noisy(2 * seed, 24, 0.0), noisy(2 * seed + 1, 24, 0.0));
                let [low, high] = cell
                    .excess(&floor, *seed)
                    .expect("shared")
                    .interval
                    .expect("many");
                low > 0.0 || high < 0.0
            })
            .count();
        assert!(wrong <= 12, "{wrong} of 100 at 95 %");
        let [low, _] = noisy(1, 24, 0.3)
            .excess(&noisy(2, 24, 0.0), 1)
            .expect("shared")
            .interval
            .expect("many");
        assert!(low > 0.01, "{low}");
    }

    #[test]
    fn starts_are_replicated_by_a_t_interval() {
        assert_eq!(over_starts(&[0.1]), None);
        let measured = over_starts(&[0.1, 0.2, 0.3]).expect("three");
        let [low, high] = measured.interval.expect("three");
        // 4.302653 * 0.1 / sqrt(3)
        assert!((measured.value - 0.2).abs() < 1e-12);
        assert!((high - 0.448_413).abs() < 1e-5 && (low + 0.048_413).abs() < 1e-5);
    }

    proptest! {
        #[test]
        fn k3_is_never_negative_and_merging_is_adding(
            rows in prop::collection::vec((0_u32..4, prop::collection::vec((-8.0_f32..0.0, -8.0_f32..0.0), 1..30)), 1..12),
        ) {
            let columns: Vec<(u32, Both)> =
                rows.into_iter().map(|(prompt, row)| (prompt, row.into_iter().unzip())).collect();
            let part = |range: std::ops::Range<usize>| {
                Mismatch::of(columns[range].iter().map(|(p, c)| one(*p, c))).expect("usable")
            };
            let middle = columns.len() / 2;
            let mut merged = part(0..middle);
            merged.merge(&part(middle..columns.len()));
            let (a, b) = (merged.numbers(1), part(0..columns.len()).numbers(1));
            let (a, b) = (a.expect("tokens"), b.expect("tokens"));
            prop_assert!(value(&b, "k3_kl") >= 0.0);
            prop_assert!((value(&a, "k3_kl") - value(&b, "k3_kl")).abs() < 1e-9);
            prop_assert_eq!(a.tokens, b.tokens);
        }
    }
}
