//! `profile` and `ops`.

use std::path::PathBuf;

use clap::Args;

/// `profile`.
#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// Traces, or folders of them: Chrome traces (plain or gzip), Ascend's kernel_details.csv or op_statistic.csv
    #[arg(value_name = "DIR|FILE", required = true)]
    pub paths: Vec<PathBuf>,
    /// Explain what they gain or lose against this one, such as the BF16 profile
    #[arg(long, value_name = "DIR|FILE")]
    pub against: Option<PathBuf>,
    /// Rules from kernel names to categories, tried before the built-in ones
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Kernels to list [default: 15]
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Print Markdown, for an issue
    #[arg(long, group = "profile_format")]
    pub markdown: bool,
    /// Print CSV, one row a category, units in the column names
    #[arg(long, group = "profile_format")]
    pub csv: bool,
    /// Print JSON, with the times of every step
    #[arg(long, group = "profile_format")]
    pub json: bool,
}

/// `ops`.
#[derive(Debug, Args)]
pub(crate) struct OpsArgs {
    /// A folder with the config.json of a dense model; its weights are not read
    #[arg(value_name = "CHECKPOINT")]
    pub checkpoint: PathBuf,
    /// The Python that has vLLM, or `managed` for the environment of rollbench's own (CPU)
    #[arg(long, value_name = "PYTHON", default_value = "managed")]
    pub python: String,
    /// Tokens at once: 1, 2, 4 ... up to this [default: 8192]
    #[arg(long, value_name = "M")]
    pub up_to: Option<u32>,
    /// Sequences that decode, for the expected speed-up [default: 256]
    #[arg(long, value_name = "N")]
    pub batch: Option<u32>,
    /// A profile of the BF16 engine: how much of a step linear layers are
    #[arg(long, value_name = "DIR|FILE")]
    pub against: Option<PathBuf>,
    /// Print Markdown, for an issue
    #[arg(long, group = "ops_format")]
    pub markdown: bool,
    /// Print JSON
    #[arg(long, group = "ops_format")]
    pub json: bool,
}
