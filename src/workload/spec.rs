//! The specification of a workload.

use serde::{Deserialize, Serialize};

use super::lengths::{Lengths, LengthsError};

/// One step's worth of requests, described.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkloadSpec {
    /// Distinct prompts in a step, over all replicas.
    pub num_prompts: u32,
    /// Samples per prompt.
    pub n: u32,
    /// Prompt lengths in tokens.
    pub prompt: Lengths,
    /// Response lengths in tokens: exact, by `ignore_eos` and `max_tokens`.
    pub response: Lengths,
    /// Sampling parameters.
    pub sampling: Sampling,
    /// Correlation of the (normal scores of the) response lengths of one prompt's samples, 0 to 1: hard prompts
    /// have long answers.
    #[serde(default)]
    pub sibling_correlation: f64,
    /// Tokens that all prompts begin with, such as a system prompt; part of the prompt length.
    #[serde(default)]
    pub shared_prefix: u32,
    /// Which of the step's requests this engine serves.
    #[serde(default)]
    pub placement: Placement,
    /// The preset it was made from; absent if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
}

/// Which of a step's requests the measured engine serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Placement {
    /// All of them.
    #[default]
    Local,
    /// The share of one of `replicas` engines. verl sends each request to the replica with the fewest in flight,
    /// whatever its prompt, so that the samples of one prompt scatter.
    Scatter {
        /// How many engines share a step.
        replicas: u32,
    },
}

impl Placement {
    /// Over how many engines a step is spread.
    pub fn replicas(self) -> u32 {
        match self {
            Self::Local => 1,
            Self::Scatter { replicas } => replicas,
        }
    }
}

/// A workload that cannot be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WorkloadError {
    /// Nothing to do.
    #[error("{0} must be at least 1")]
    None(&'static str),
    /// The prompt lengths cannot be.
    #[error("prompt lengths: {0}")]
    Prompt(LengthsError),
    /// The response lengths cannot be.
    #[error("response lengths: {0}")]
    Response(LengthsError),
    /// Not a correlation.
    #[error("sibling_correlation must be between 0 and 1, not {0}")]
    Correlation(f64),
    /// A prompt cannot be shorter than what all begin with.
    #[error(
        "shared_prefix of {prefix} tokens leaves no token of its own to a prompt of {shortest}"
    )]
    Prefix {
        /// The shared prefix.
        prefix: u32,
        /// The shortest prompt.
        shortest: u32,
    },
    /// Some replica would have nothing to do.
    #[error("{requests} requests cannot be spread over {replicas} replicas")]
    Replicas {
        /// Requests in a step.
        requests: u64,
        /// Replicas asked for.
        replicas: u32,
    },
}

impl WorkloadSpec {
    /// Prompts and responses all of the same length, everything else at its default.
    pub fn fixed(num_prompts: u32, n: u32, prompt_tokens: u32, response_tokens: u32) -> Self {
        Self {
            num_prompts,
            n,
            prompt: Lengths::Fixed {
                tokens: prompt_tokens,
            },
            response: Lengths::Fixed {
                tokens: response_tokens,
            },
            sampling: Sampling::default(),
            sibling_correlation: 0.0,
            shared_prefix: 0,
            placement: Placement::Local,
            preset: None,
        }
    }

    /// Samples in a step, over all replicas.
    pub fn samples(&self) -> u64 {
        u64::from(self.num_prompts) * u64::from(self.n)
    }

    /// Whether it can be drawn from.
    pub fn check(&self) -> Result<(), WorkloadError> {
        if self.num_prompts == 0 {
            return Err(WorkloadError::None("num_prompts"));
        }
        if self.n == 0 {
            return Err(WorkloadError::None("n"));
        }
        self.prompt.check().map_err(WorkloadError::Prompt)?;
        self.response.check().map_err(WorkloadError::Response)?;
        if !(0.0..=1.0).contains(&self.sibling_correlation) {
            return Err(WorkloadError::Correlation(self.sibling_correlation));
        }
        let shortest = self.prompt.quantiles().at(f64::MIN_POSITIVE);
        if self.shared_prefix > 0 && self.shared_prefix >= shortest {
            return Err(WorkloadError::Prefix {
                prefix: self.shared_prefix,
                shortest,
            });
        }
        let replicas = self.placement.replicas();
        if replicas == 0 {
            return Err(WorkloadError::None("replicas"));
        }
        if u64::from(replicas) > self.samples() {
            return Err(WorkloadError::Replicas {
                requests: self.samples(),
                replicas,
            });
        }
        Ok(())
    }
}

/// Sampling parameters; `generation_config = "vllm"` in both modes, so a checkpoint's own defaults do not leak in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 1 unless said.
    pub temperature: f64,
    /// 1 unless said.
    pub top_p: f64,
    /// -1 (off) unless said.
    pub top_k: i32,
    /// Log-probabilities per token; absent (off) unless said.
    pub logprobs: Option<u32>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: -1,
            logprobs: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_workloads_say_why() {
        let with = |change: fn(&mut WorkloadSpec)| {
            let mut spec = WorkloadSpec::fixed(4, 2, 16, 8);
            change(&mut spec);
            spec.check().expect_err("impossible").to_string()
        };
        assert_eq!(with(|s| s.n = 0), "n must be at least 1");
        assert_eq!(
            with(|s| s.response = Lengths::Fixed { tokens: 0 }),
            "response lengths: a length must be at least 1 token, not 0"
        );
        assert_eq!(
            with(|s| s.sibling_correlation = f64::NAN),
            "sibling_correlation must be between 0 and 1, not NaN"
        );
        assert_eq!(
            with(|s| s.shared_prefix = 16),
            "shared_prefix of 16 tokens leaves no token of its own to a prompt of 16"
        );
        assert_eq!(
            with(|s| s.placement = Placement::Scatter { replicas: 9 }),
            "8 requests cannot be spread over 9 replicas"
        );
    }

    #[test]
    fn a_specification_from_before_placement_still_reads() {
        let old = r#"{"num_prompts":2,"n":1,"prompt":{"kind":"fixed","tokens":4},
            "response":{"kind":"fixed","tokens":3},
            "sampling":{"temperature":1.0,"top_p":1.0,"top_k":-1,"logprobs":null}}"#;
        let read: WorkloadSpec = serde_json::from_str(old).expect("reads");
        assert_eq!(read, WorkloadSpec::fixed(2, 1, 4, 3));
    }
}
