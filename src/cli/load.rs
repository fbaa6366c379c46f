//! The flags of `load`.
#![expect(clippy::doc_markdown, reason = "help texts are read in a terminal")]

use std::path::PathBuf;

use clap::Args;

use super::ResumeArg;
use crate::config::LoadFlags;

/// `load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// The server: HOST:PORT, `http://HOST:PORT`, .../v1, or the whole endpoint
    #[arg(value_name = "URL")]
    pub url: String,
    /// The model's name at the server [default: the first that the server lists]
    #[arg(long, value_name = "NAME", help_heading = "Server")]
    pub model: Option<String>,
    /// A further header, KEY=VALUE; may be repeated. A key goes into OPENAI_API_KEY or VLLM_API_KEY instead
    #[arg(long = "header", value_name = "KEY=VALUE", help_heading = "Server")]
    pub headers: Vec<String>,
    /// Let responses end early at the end-of-sequence token (needed for servers that do not know `ignore_eos`)
    #[arg(long, help_heading = "Server")]
    pub no_ignore_eos: bool,
    /// Ask for token ids in the chunks, to count tokens per chunk exactly (vLLM from 0.13)
    #[arg(long, help_heading = "Server")]
    pub token_ids: bool,

    /// What a step is, and how it is sent.
    #[command(flatten)]
    pub flags: LoadFlags,
    /// Token ids of prompts are drawn below this [default: 32000]
    #[arg(long, value_name = "SIZE", help_heading = "Workload")]
    pub vocab_size: Option<u32>,

    /// Longest wait for a first token, in seconds [default: 600]
    #[arg(long, value_name = "SECONDS", help_heading = "Measurement")]
    pub first_token_timeout: Option<f64>,
    /// Longest wait between two tokens, in seconds [default: 120]
    #[arg(long, value_name = "SECONDS", help_heading = "Measurement")]
    pub token_timeout: Option<f64>,

    /// Go on with an interrupted load: what is complete is kept, the rest is measured.
    /// `--resume=force` goes on although something changed, keeping both apart
    #[arg(long, value_name = "force", num_args = 0..=1, require_equals = true, default_missing_value = "same",
          help_heading = "Control")]
    pub resume: Option<ResumeArg>,

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
