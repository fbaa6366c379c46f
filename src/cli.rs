//! The command line, as clap types with their help texts, and nothing else. No flag has a clap default: a default
//! would hide whether the user said it, and then it would beat the configuration file.

mod load;
mod profile;

use crate::device::Platform;
pub(crate) use load::LoadArgs;
pub(crate) use profile::{OpsArgs, ProfileArgs};

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::config::{BatchFlags, MatrixFlags};
use crate::output::Color;
use crate::report::Language;
use crate::units::parse_share;

const AFTER_HELP: &str = "\
Start here:
  rollbench run                 measure the matrix for the accelerator found here; without one, a small real model
                                on vLLM for CPU, which rollbench installs by itself
  rollbench plan                what `run` would do, with the origin of every value; starts nothing
  rollbench summarize .         render the results in ./benchmark_results again

Exit codes:
  0 done   1 some cells failed   2 usage or configuration   3 environment (engine, device, checkpoint, disk)
  4 a threshold was exceeded   70 internal   128+n ended by signal n";

const AFTER_LONG_HELP: &str = "\
Start here:
  rollbench run                 measure the matrix for the accelerator found here; without one, a small real model
                                on vLLM for CPU, which rollbench installs by itself
  rollbench plan                what `run` would do, with the origin of every value; starts nothing
  rollbench summarize .         render the results in ./benchmark_results again

Environment:
  ROLLBENCH_CONFIG              the configuration, as --config
  MODEL_BASE                    the folder of checkpoints that ${MODEL_BASE} names, as --model-base
  BENCH_BASE_DIR                where results are written, as --out
  OPENAI_API_KEY, VLLM_API_KEY  the key that `load` sends
  HF_HOME, HF_HUB_CACHE         where checkpoints of the model hub are
  ROLLBENCH_CACHE               where the managed engine and demo checkpoints are made [default: ~/.cache/rollbench]
  ROLLBENCH_PYTHON              the Python that the managed engine is made with
  ROLLBENCH_LOG                 what happens inside, as tracing filters (debug, rollbench::load=trace)
  NO_COLOR                      no colours

Completions:
  rollbench completions bash > ~/.local/share/bash-completion/completions/rollbench
  rollbench completions zsh > \"${fpath[1]}/_rollbench\"

Exit codes:
  0 done   1 some cells failed   2 usage or configuration   3 environment (engine, device, checkpoint, disk)
  4 a threshold was exceeded   70 internal   128+n ended by signal n";

const RUN_EXAMPLES: &str = "\
Examples:
  rollbench run --quants bf16,w8a8 --blocks 6     two precisions, six engine starts each: an interval
  rollbench run --until 2% --calibrate            as many starts as intervals of 2 % need, with an A/A check
  rollbench run --workload math-4k --replicas 8   the tail of a real rollout, the share of one of 8 engines
  rollbench run --online --request-rate 1,4,16    TTFT, TPOT and E2EL at three rates
  rollbench run --resume                          go on where a run was interrupted";

const PLAN_EXAMPLES: &str = "\
Examples:
  rollbench plan --online --request-rate 4        what would be measured, and how long it takes
  rollbench plan --json | jq .settings            every value with its origin
  rollbench plan --probe                          whether the installed vLLM knows every argument";

const LOAD_EXAMPLES: &str = "\
Examples:
  rollbench load localhost:8000 --max-concurrency 8,32,128
  rollbench load http://host:8000 --request-rate 4 --duration 60 --goodput ttft:500 tpot:50";

/// Reads the command line; ends the process with its help, its version or a usage error.
pub(crate) fn parse(args: Vec<OsString>) -> Cli {
    // `--version` of a subcommand tells that of rollbench: it has no other.
    let command = Cli::command().mut_subcommands(|sub| sub.display_name("rollbench"));
    let matches = command.get_matches_from(args);
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Does low-precision inference make my RL rollout faster on this device, by how much, and is the number real?
#[derive(Debug, Parser)]
#[command(name = "rollbench", version, after_help = AFTER_HELP, after_long_help = AFTER_LONG_HELP,
          propagate_version = true)]
pub(crate) struct Cli {
    /// Show only data and errors: no notes, no progress
    #[arg(short, long, global = true, display_order = 900)]
    pub quiet: bool,
    /// Show what happens inside; -vv and -vvv show more [env: ROLLBENCH_LOG]
    #[arg(short, long, global = true, action = clap::ArgAction::Count, display_order = 901)]
    pub verbose: u8,
    /// Colours on stderr
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        display_order = 902
    )]
    pub color: Color,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measure a matrix of models x precisions on a real vLLM and report
    ///
    /// Each cell of the matrix is one engine start: a full warm-up step, then the measured steps, all on one loaded
    /// engine. Results are written as they come to benchmark_results/, engine logs to benchmark_logs/. Ctrl-C saves
    /// what is complete; `--resume` goes on from there.
    #[command(after_long_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Show what `run` would do: cells, skips with reasons, exact engine arguments, origins, estimate
    #[command(after_long_help = PLAN_EXAMPLES)]
    Plan(Box<PlanArgs>),
    /// Check configuration, checkpoint, engine and device with one tiny run, stage by stage
    Diagnostic(Box<DiagnosticArgs>),
    /// Render the summary from the records again; never measures
    Summarize(SummarizeArgs),
    /// Compare two result folders cell by cell: another day, another vLLM, another machine
    ///
    /// Each cell that both have gets the ratio of their speeds, with an interval where both have several engine
    /// starts, beside what differs in how they were measured. For CI: --fail-above 5% exits with 4 if a cell became
    /// slower by more than that, and with 1 if one could not be compared.
    Compare(CompareArgs),
    /// Load any running OpenAI-compatible server with rollbench's own streaming client, and report
    ///
    /// TTFT counts from when an encoded request is handed to the kernel on an open connection; the wait for a place
    /// under `--max-concurrency`, the client's lateness and its own load are reported beside it. Names and definitions
    /// are those of `vllm bench serve`. Results are written to benchmark_results/ as by `run --online`.
    #[command(after_long_help = LOAD_EXAMPLES)]
    Load(Box<LoadArgs>),
    /// Measure how far each precision's policy is from the baseline's, without its speed: is it safe to train on?
    ///
    /// Each quantized cell answers real prompts with log-probabilities; the baseline answers the same and scores all of
    /// them. The mismatch, over the floor that the baseline has against itself, gets a verdict by the thresholds that
    /// trainers use. `run --fidelity` does the same after its blocks. docs/fidelity.md explains every number.
    Fidelity(Box<FidelityArgs>),
    /// Predict the makespan and the speed-up of a batch that was not run, from measured steps with a tail
    ///
    /// From when each sequence ended in the measured steps follow the costs of an iteration, a token, a token of context
    /// and a prompt token, and from these the makespan of other lengths or another number of requests. What was
    /// measured with equal lengths shows none of that and is refused.
    Predict(PredictArgs),
    /// Read profiles and say where the time of a decode step went; against another, why it is faster or slower
    ///
    /// Reads Chrome traces of PyTorch's profiler (plain or gzip) and Ascend's tables, whoever took them. Every instant of a
    /// step is attributed once, so that categories and idle add up to its period. Rules tell categories by kernel names;
    /// linear layers are told apart by the path they took.
    Profile(ProfileArgs),
    /// Time the linear layers of a model alone, by every precision that the engine's Python has on this device
    ///
    /// Says from how many tokens at once a precision pays, how much of it goes into quantizing activations, and what
    /// that makes of a decode step by Amdahl's law.
    Ops(OpsArgs),
    /// Make a configuration of a verl run script, Hydra overrides or YAML, each value with its origin
    ///
    /// Follows a script as bash would, without running it: parameters, lists, functions, loops and branches. A value that the
    /// caller's environment decides has CHECK and all that it may be beside it; what is needed and not known is asked for, with
    /// exit 1. docs/import-verl.md says what it knows and how it was compared with real runs.
    ImportVerl(ImportVerlArgs),
    /// Make the managed CPU engine and the demo checkpoints ahead of time (`run` does it on demand)
    Setup(SetupArgs),
    /// List, and with --yes end, what a killed run left behind
    Clean(CleanArgs),
    /// Print the JSON Schema of rollbench.toml, for editors and CI, or the reference of all settings
    Schema {
        /// What of
        #[arg(value_enum)]
        of: SchemaOf,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What `schema` prints.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SchemaOf {
    /// The JSON Schema of a configuration
    Config,
    /// Every setting as Markdown: docs/settings.md
    Settings,
}

/// `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// What to measure.
    #[command(flatten)]
    pub matrix: MatrixArgs,

    /// Go on with an interrupted run: complete engine starts are kept, the rest is measured.
    /// `--resume=force` goes on although configuration or checkpoint changed, keeping both apart
    #[arg(long, value_name = "force", num_args = 0..=1, require_equals = true, default_missing_value = "same",
          help_heading = "Control")]
    pub resume: Option<ResumeArg>,
    /// Show the plan and stop (the same as `rollbench plan`)
    #[arg(long, help_heading = "Control")]
    pub dry_run: bool,
    /// Measure without a profiler, whatever the file says; this is the default
    #[arg(long, help_heading = "Profile")]
    pub no_profile: bool,
    /// The same as `rollbench diagnostic`
    #[arg(long, hide = true)]
    pub diagnostic: bool,
    /// Print the summary as JSON instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `--resume` and `--resume=force`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ResumeArg {
    /// Only if nothing changed.
    Same,
    /// Although something changed.
    Force,
}

/// `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// What would be measured.
    #[command(flatten)]
    pub matrix: MatrixArgs,
    /// Print the plan as JSON
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Also ask the installed vLLM which engine arguments it knows (imports it: about 16 s; cached)
    #[arg(long, help_heading = "Control")]
    pub probe: bool,
    /// Plan for another machine with this accelerator: what is unsupported there is skipped, and checkpoints are taken to
    /// be there
    #[arg(
        long,
        value_name = "PLATFORM",
        help_heading = "Control",
        conflicts_with = "probe"
    )]
    pub platform: Option<PlatformArg>,
}

/// `--platform`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlatformArg {
    #[value(alias = "npu")]
    Ascend,
    #[value(alias = "nvidia")]
    Cuda,
    Cpu,
}

impl From<PlatformArg> for Platform {
    fn from(said: PlatformArg) -> Self {
        match said {
            PlatformArg::Ascend => Self::Npu,
            PlatformArg::Cuda => Self::Cuda,
            PlatformArg::Cpu => Self::Cpu,
        }
    }
}

/// `diagnostic`.
#[derive(Debug, Args)]
pub(crate) struct DiagnosticArgs {
    /// What would be measured.
    #[command(flatten)]
    pub matrix: MatrixArgs,
    /// Print the stages as JSON
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// The flags that say what is measured; the same for `run`, `plan` and `diagnostic`.
#[derive(Debug, Args)]
pub(crate) struct MatrixArgs {
    #[command(flatten)]
    pub flags: MatrixFlags,
}

/// `summarize`.
#[derive(Debug, Args)]
pub(crate) struct SummarizeArgs {
    /// The folder that holds benchmark_results/, or that folder itself
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// Print Markdown, for an issue or a README
    #[arg(long, group = "format")]
    pub markdown: bool,
    /// Print CSV, one row a cell, units in the column names
    #[arg(long, group = "format")]
    pub csv: bool,
    /// Print JSON
    #[arg(long, group = "format")]
    pub json: bool,
    /// Print one JSON object a measured step, under verl's names (timing_s/gen, response_length/mean ...)
    #[arg(long, group = "format")]
    pub verl: bool,
    /// Write summary.html, one page with pictures that needs no network, beside the records; print it where they are not
    /// rollbench's
    #[arg(long, group = "format")]
    pub html: bool,
    /// Write the page's pictures as SVG files into figures/ beside the records, with links to them in summary.md
    #[arg(long)]
    pub figures: bool,
    /// The language of the page and of its pictures
    #[arg(long, value_enum, value_name = "LANGUAGE", default_value_t)]
    pub lang: Language,
    /// Also say what the speed-ups mean for the whole training step: gen=SECONDS,rest=SECONDS[,sync=EXTRA SECONDS], or
    /// the log of a verl run
    #[arg(long, value_name = "TIMES|LOG")]
    pub step_time: Option<String>,
    /// Write the summary's files also into a folder without records of rollbench; never over a file of somebody else
    #[arg(long)]
    pub write: bool,
}

/// `fidelity`.
#[derive(Debug, Args)]
pub(crate) struct FidelityArgs {
    /// What to measure.
    #[command(flatten)]
    pub matrix: MatrixArgs,

    /// Measure nothing: read a training run's own log-probabilities, JSON Lines with `rollout_log_probs` and
    /// `old_log_probs`
    #[arg(long, value_name = "FILE", help_heading = "Control")]
    pub trainer: Option<PathBuf>,
    /// Go on with an interrupted measurement: what is complete is kept
    #[arg(long, help_heading = "Control")]
    pub resume: bool,
    /// Print JSON instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// `compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The folder to compare with
    #[arg(value_name = "BASE")]
    pub base: PathBuf,
    /// The folder that is compared
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// Exit with 4 if a cell of NEW is slower by more than this, such as 5%, and its interval excludes 1; with 1 where
    /// that cannot be decided: conditions differ, a number is not valid, or there is no interval
    #[arg(long, value_name = "PERCENT", value_parser = parse_share)]
    pub fail_above: Option<f64>,
    /// Exit with 4 if the mismatch of a cell of NEW (excess of k3_kl over its floor, nats a token) is beyond this, such as
    /// 0.01; with 1 where its interval does not tell
    #[arg(long, value_name = "NATS")]
    pub max_kl: Option<f64>,
    /// Give a ratio, with the difference beside it, also where two cells were measured under different conditions;
    /// nothing is claimed of it
    #[arg(long)]
    pub although_different: bool,
    /// The smallest difference that matters [default: 2%]
    #[arg(long, value_name = "PERCENT", value_parser = parse_share)]
    pub smallest_effect: Option<f64>,
    /// Print Markdown, for an issue
    #[arg(long, group = "compare_format")]
    pub markdown: bool,
    /// Print JSON
    #[arg(long, group = "compare_format")]
    pub json: bool,
    /// Print one page with a picture, without scripts and without anything fetched
    #[arg(long, group = "compare_format")]
    pub html: bool,
    /// The language of the page
    #[arg(
        long,
        value_enum,
        value_name = "LANGUAGE",
        default_value_t,
        requires = "html"
    )]
    pub lang: Language,
}

/// `predict`. What is not said is as in the measured workload.
#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// The folder of the run to predict from
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    #[command(flatten)]
    pub batch: BatchFlags,
    /// Where those hold texts: the Python that counts their tokens with the measured checkpoint's tokenizer
    #[arg(
        long,
        value_name = "PYTHON",
        default_value = "managed",
        help_heading = "Workload"
    )]
    pub python: String,
    /// The smallest difference that matters [default: 2%]
    #[arg(long, value_name = "PERCENT", value_parser = parse_share)]
    pub smallest_effect: Option<f64>,
    /// Predict also from steps that are not valid and from engine starts with neighbours on the device
    #[arg(long)]
    pub although_invalid: bool,
    /// Print Markdown
    #[arg(long, group = "predict_format")]
    pub markdown: bool,
    /// Print JSON
    #[arg(long, group = "predict_format")]
    pub json: bool,
}

/// `import-verl`.
#[derive(Debug, Args)]
pub(crate) struct ImportVerlArgs {
    /// A run script, lines of overrides, a .yaml, a log of verl's, or a folder with Hydra's .hydra/config.yaml
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Write to this file, which must not exist, instead of stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Let bash run the script, with recorders in place of all programs, and read what it calls
    ///
    /// The kernel keeps the script from writing, from executing anything else, and from TCP (Landlock); it is ended after 20
    /// seconds. Without that, exit 3. The environment is yours: set in it what you set when you train.
    #[arg(long)]
    pub trace: bool,
    /// Take the rollout's defaults from the rollout.yaml of another version of verl
    #[arg(long, value_name = "FILE")]
    pub verl_defaults: Option<PathBuf>,
}

/// `setup`.
#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    /// Only say what is there and what is missing
    #[arg(long)]
    pub check: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `clean`.
#[derive(Debug, Args)]
pub(crate) struct CleanArgs {
    /// End what is listed as left by a dead run
    #[arg(long)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::declared::PRECISIONS;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn resume_takes_an_optional_word() {
        let resume = |argv: &[&str]| match Cli::try_parse_from(argv).expect("parses").command {
            Command::Run(run) => run.resume,
            other => panic!("{other:?}"),
        };
        assert_eq!(resume(&["rollbench", "run"]), None);
        assert_eq!(
            resume(&["rollbench", "run", "--resume"]),
            Some(ResumeArg::Same)
        );
        assert_eq!(
            resume(&["rollbench", "run", "--resume=force"]),
            Some(ResumeArg::Force)
        );
    }

    #[test]
    fn lists_take_commas_and_spaces() {
        let cli = Cli::try_parse_from(["rollbench", "plan", "--quants", "bf16,w8a8", "w4a16"])
            .expect("parses");
        let Command::Plan(plan) = cli.command else {
            panic!()
        };
        let quants = plan.matrix.flags.0.texts(&PRECISIONS.declaration);
        assert_eq!(quants, ["bf16", "w8a8", "w4a16"]);
    }
}
