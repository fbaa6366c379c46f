//! What a workload comes to, before anything starts.

use serde::Serialize;

use super::draw::slots;
use super::spec::WorkloadSpec;
use crate::stats::quantile;

/// What one engine is asked to do in one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Description {
    /// Distinct prompts.
    pub prompts: u32,
    /// Sequences to generate.
    pub sequences: u64,
    /// Prompt tokens, once per sequence.
    pub prompt_tokens: u64,
    /// Response tokens.
    pub output_tokens: u64,
    /// Prompt lengths, once per sequence.
    pub prompt: LengthSummary,
    /// Response lengths.
    pub response: LengthSummary,
}

/// The lengths of one step, summed up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct LengthSummary {
    /// The mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The longest.
    pub max: u32,
    /// The share of sequences as long as the distribution allows; 1 if all have the same length.
    pub at_cap: f64,
}

/// Draws a step and sums it up. The specification must have passed [`WorkloadSpec::check`].
pub(crate) fn describe(spec: &WorkloadSpec, seed: u64) -> Description {
    let slots = slots(spec, seed);
    let prompts: Vec<u32> = slots.iter().map(|s| s.prompt_tokens).collect();
    let responses: Vec<u32> = slots.iter().map(|s| s.output_tokens).collect();
    let distinct = slots.chunk_by(|a, b| a.prompt == b.prompt).count();
    Description {
        prompts: u32::try_from(distinct).unwrap_or(u32::MAX),
        sequences: slots.len() as u64,
        prompt_tokens: prompts.iter().copied().map(u64::from).sum(),
        output_tokens: responses.iter().copied().map(u64::from).sum(),
        prompt: summary(prompts, spec.prompt.max()),
        response: summary(responses, spec.response.max()),
    }
}

fn summary(mut lengths: Vec<u32>, cap: u32) -> LengthSummary {
    lengths.sort_unstable();
    let count = lengths.len() as f64;
    let sorted: Vec<f64> = lengths.iter().copied().map(f64::from).collect();
    let share = |q| quantile(&sorted, q).unwrap_or(0.0);
    let at_cap = lengths.len() - lengths.partition_point(|l| *l < cap);
    LengthSummary {
        mean: lengths.iter().copied().map(f64::from).sum::<f64>() / count,
        p50: share(0.5),
        p90: share(0.9),
        p99: share(0.99),
        max: lengths.last().copied().unwrap_or(0),
        at_cap: at_cap as f64 / count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Lengths, Placement};

    #[test]
    fn a_step_is_summed_up() {
        let spec = WorkloadSpec {
            response: Lengths::Uniform { min: 1, max: 100 },
            placement: Placement::Scatter { replicas: 4 },
            ..WorkloadSpec::fixed(100, 4, 16, 1)
        };
        let shown = describe(&spec, 0);
        assert_eq!(shown.sequences, 100);
        assert_eq!(shown.prompt_tokens, 1600);
        assert!(
            (shown.response.mean - 50.0).abs() < 8.0,
            "{}",
            shown.response.mean
        );
        assert!((shown.output_tokens as f64 - 100.0 * shown.response.mean).abs() < 1e-6);
        assert!(shown.prompts > 50 && shown.prompts < 100);
        assert!((shown.prompt.at_cap - 1.0).abs() < f64::EPSILON);
    }
}
