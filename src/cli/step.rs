//! What a step is and how many there are: the same flags for `run` and `load`.

use clap::{Args, ValueEnum};

/// The requests of a step. Where nothing is said, `load` takes its own defaults.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct StepArgs {
    /// Prompts per step [default: 32; of load 100]
    #[arg(long, value_name = "N", help_heading = "Workload")]
    pub num_prompts: Option<u32>,
    /// Samples per prompt [default: 8; online 1]
    #[arg(
        short = 'n',
        long = "samples",
        value_name = "N",
        help_heading = "Workload"
    )]
    pub n: Option<u32>,
    /// Prompt length in tokens [default: 512]
    #[arg(long, value_name = "TOKENS", help_heading = "Workload")]
    pub input_len: Option<u32>,
    /// Response length in tokens, exact [default: 256]
    #[arg(long, value_name = "TOKENS", help_heading = "Workload")]
    pub output_len: Option<u32>,
    /// How samples become requests: each its own, as verl does, or one request with n [default: requests]
    #[arg(long, value_name = "HOW", help_heading = "Workload")]
    pub fan_out: Option<FanOutArg>,

    /// Measured steps per engine start, at each point of a sweep [default: 3; of load 1]
    #[arg(long, value_name = "K", help_heading = "Measurement")]
    pub steps: Option<u32>,
    /// Unmeasured full steps before them, at each point of a sweep [default: 1]
    #[arg(long, value_name = "K", help_heading = "Measurement")]
    pub warmup: Option<u32>,
    /// Seed of prompts, arrivals and orders [default: 0]
    #[arg(long, value_name = "SEED", help_heading = "Measurement")]
    pub seed: Option<u64>,
}

/// `--fan-out`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FanOutArg {
    /// Each sample a request of its own.
    Requests,
    /// One request per prompt with n samples.
    N,
}
