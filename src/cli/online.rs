//! How requests are sent to a server: the same flags for `run --online` and `load`.

use clap::{Args, ValueEnum};

/// The pacing, the objectives and the endpoint.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OnlineArgs {
    /// Requests per second, or `inf` for all at once; several make a sweep on one server [default: inf]
    #[arg(
        long,
        value_name = "RATE",
        value_delimiter = ',',
        help_heading = "Online load"
    )]
    pub request_rate: Vec<String>,
    /// Requests in flight at most; several make a sweep on one server [default: no limit]
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        help_heading = "Online load"
    )]
    pub max_concurrency: Vec<u32>,
    /// Regularity of arrivals at a rate: 1 Poisson, less in bursts, more more even, `inf` equal gaps [default: 1]
    #[arg(long, value_name = "B", help_heading = "Online load")]
    pub burstiness: Option<f64>,
    /// A rate that grows over the step: FROM:TO or FROM:TO:exponential, in requests per second
    #[arg(long, value_name = "RAMP", help_heading = "Online load")]
    pub ramp: Option<String>,
    /// Send for so many seconds instead of a number of prompts; throughput is then what is compared
    #[arg(long, value_name = "SECONDS", help_heading = "Online load")]
    pub duration: Option<f64>,
    /// Count requests that keep these objectives, in ms: ttft:500 tpot:50 e2el:9000
    #[arg(long, value_name = "SLO", num_args = 1.., help_heading = "Online load")]
    pub goodput: Vec<String>,
    /// The endpoint: completions sends token ids (exact lengths), chat sends text (prompt lengths approximate)
    /// [default: completions]
    #[arg(long, value_name = "API", help_heading = "Online load")]
    pub api: Option<ApiArg>,
}

/// `--api`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ApiArg {
    /// `/v1/completions`.
    Completions,
    /// `/v1/chat/completions`.
    Chat,
}
