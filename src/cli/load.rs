//! The flags of `load`.
#![expect(clippy::doc_markdown, reason = "help texts are read in a terminal")]

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// The server: HOST:PORT, `http://HOST:PORT`, .../v1, or the whole endpoint
    #[arg(value_name = "URL")]
    pub url: String,
    /// The model's name at the server [default: the first that the server lists]
    #[arg(long, value_name = "NAME", help_heading = "Server")]
    pub model: Option<String>,
    /// The endpoint: completions sends token ids (exact lengths), chat sends text (lengths approximate)
    #[arg(
        long,
        value_name = "API",
        default_value = "completions",
        hide_default_value = true,
        help_heading = "Server"
    )]
    pub api: ApiArg,
    /// A further header, KEY=VALUE; may be repeated. A key goes into OPENAI_API_KEY or VLLM_API_KEY instead
    #[arg(long = "header", value_name = "KEY=VALUE", help_heading = "Server")]
    pub headers: Vec<String>,
    /// Let responses end early at the end-of-sequence token (needed for servers that do not know `ignore_eos`)
    #[arg(long, help_heading = "Server")]
    pub no_ignore_eos: bool,
    /// Ask for token ids in the chunks, to count tokens per chunk exactly (vLLM from 0.13)
    #[arg(long, help_heading = "Server")]
    pub token_ids: bool,

    /// Prompts per step [default: 100]
    #[arg(long, value_name = "N", help_heading = "Workload")]
    pub num_prompts: Option<u32>,
    /// Samples per prompt [default: 1]
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
    /// Response length in tokens [default: 256]
    #[arg(long, value_name = "TOKENS", help_heading = "Workload")]
    pub output_len: Option<u32>,
    /// How samples become requests: each its own, or one request with n [default: requests]
    #[arg(long, value_name = "HOW", help_heading = "Workload")]
    pub fan_out: Option<super::FanOutArg>,
    /// Token ids of prompts are drawn below this [default: 32000]
    #[arg(long, value_name = "SIZE", help_heading = "Workload")]
    pub vocab_size: Option<u32>,
    /// Seed of prompts and arrivals [default: 0]
    #[arg(long, value_name = "SEED", help_heading = "Workload")]
    pub seed: Option<u64>,

    /// Requests per second, or `inf` for all at once; several make a sweep [default: inf]
    #[arg(
        long,
        value_name = "RATE",
        value_delimiter = ',',
        help_heading = "Load"
    )]
    pub request_rate: Vec<String>,
    /// Requests in flight at most; several make a sweep [default: no limit]
    #[arg(long, value_name = "N", value_delimiter = ',', help_heading = "Load")]
    pub max_concurrency: Vec<u32>,
    /// Regularity of arrivals: 1 Poisson, less in bursts, more more even, `inf` equal gaps [default: 1]
    #[arg(long, value_name = "B", help_heading = "Load")]
    pub burstiness: Option<f64>,
    /// A rate that grows over the run: FROM:TO or FROM:TO:exponential, in requests per second
    #[arg(
        long,
        value_name = "RAMP",
        conflicts_with = "request_rate",
        help_heading = "Load"
    )]
    pub ramp: Option<String>,
    /// Send for so many seconds instead of a number of prompts
    #[arg(
        long,
        value_name = "SECONDS",
        conflicts_with = "num_prompts",
        help_heading = "Load"
    )]
    pub duration: Option<f64>,
    /// Count requests that keep these objectives, in ms: ttft:500 tpot:50 e2el:9000
    #[arg(long, value_name = "SLO", num_args = 1.., help_heading = "Load")]
    pub goodput: Vec<String>,

    /// Measured steps per point [default: 1]
    #[arg(long, value_name = "K", help_heading = "Measurement")]
    pub steps: Option<u32>,
    /// Unmeasured steps before the first point [default: 1]
    #[arg(long, value_name = "K", help_heading = "Measurement")]
    pub warmup: Option<u32>,
    /// Longest wait for a first token, in seconds [default: 600]
    #[arg(long, value_name = "SECONDS", help_heading = "Measurement")]
    pub first_token_timeout: Option<f64>,
    /// Longest wait between two tokens, in seconds [default: 120]
    #[arg(long, value_name = "SECONDS", help_heading = "Measurement")]
    pub token_timeout: Option<f64>,

    /// What the record calls this server's precision [default: server]
    #[arg(long, value_name = "ID", help_heading = "Output")]
    pub label: Option<String>,
    /// Where benchmark_results/ is made [env: BENCH_BASE_DIR] [default: .]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,
    /// Print JSON, with the keys of `vllm bench serve`
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `--api`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ApiArg {
    /// `/v1/completions`.
    Completions,
    /// `/v1/chat/completions`.
    Chat,
}
