//! From the parsed command line to the command: the only place that knows both.

mod load;

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::CommandFactory as _;

use crate::cli::{ApiArg, Cli, Command, FanOutArg, MatrixArgs, OnlineArgs, ResumeArg, RunArgs};
use crate::commands;
use crate::commands::predict::Changes;
use crate::config::{FanOut, LoadRequest, OnlineFlags, Overrides};
use crate::device::Platform;
use crate::error::{CommandError, Exit};
use crate::execute::Resume;
use crate::load::Api;
use crate::output;
use crate::report::Format;
use crate::stats::SMALLEST_EFFECT;
use crate::stats::compare::Rules;
use crate::units::Mode;

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli) -> Result<Exit, CommandError> {
    match cli.command {
        Command::Run(args) => run_or_less(*args),
        Command::Plan(args) => commands::plan::run(&matrix(args.matrix)?, args.json, args.probe),
        Command::Diagnostic(args) => commands::diagnostic::run(&matrix(args.matrix)?, args.json),
        Command::Setup(args) => commands::setup::run(args.check, args.json),
        Command::Clean(args) => commands::clean::run(args.yes, args.json),
        Command::Summarize(args) => {
            let format = if args.verl {
                Format::Verl
            } else {
                format(args.markdown, args.csv, args.json)
            };
            commands::summarize::run(&args.dir, format, args.step_time.as_deref())
        }
        Command::Compare(args) => commands::compare::run(
            &args.base,
            &args.new,
            Rules {
                smallest_effect: args.smallest_effect.unwrap_or(SMALLEST_EFFECT),
                fail_above: args.fail_above,
                although_different: args.although_different,
            },
            format(args.markdown, false, args.json),
        ),
        Command::Load(args) => commands::load::run(&load::options(*args, &environment())?),
        Command::Predict(args) => commands::predict::run(
            &args.dir,
            &Changes {
                workload: args.workload,
                lengths_from: args.lengths_from,
                python: args.python,
                num_prompts: args.num_prompts,
                n: args.n,
                input_len: args.input_len,
                output_len: args.output_len,
                sibling_correlation: args.sibling_correlation,
                replicas: args.replicas,
            },
            args.smallest_effect.unwrap_or(SMALLEST_EFFECT),
            format(args.markdown, false, args.json),
        ),
        Command::ImportVerl(args) => commands::import_verl::run(&args.file, args.out.as_deref()),
        Command::Completions { shell } => completions(shell),
    }
}

fn run_or_less(args: RunArgs) -> Result<Exit, CommandError> {
    if args.profile {
        return Err(
            CommandError::usage("--profile: the profiled step is not available yet")
                .hint("leave it out: rollbench measures without a profiler"),
        );
    }
    let request = matrix(args.matrix)?;
    if args.diagnostic {
        return commands::diagnostic::run(&request, args.json);
    }
    if args.dry_run {
        return commands::plan::run(&request, args.json, false);
    }
    let resume = match args.resume {
        None => Resume::No,
        Some(ResumeArg::Same) => Resume::Same,
        Some(ResumeArg::Force) => Resume::Force,
    };
    commands::run::run(&request, resume, format(false, false, args.json))
}

/// What the matrix flags, the environment and the machine say.
fn matrix(args: MatrixArgs) -> Result<LoadRequest, CommandError> {
    let mode = match (args.offline, args.online) {
        (true, _) => Some(Mode::Offline),
        (_, true) => Some(Mode::Online),
        _ => None,
    };
    let (step, lengths_from) = (args.step, args.lengths_from);
    let overrides = Overrides {
        config: args.config,
        models: args.models,
        quants: args.quants,
        model_base: args.model_base,
        out: args.out,
        mode,
        online: online(args.load),
        num_prompts: step.num_prompts,
        n: step.n,
        input_len: step.input_len,
        output_len: step.output_len,
        like_verl: args.like_verl,
        workload: args.workload,
        lengths: None,
        sibling_correlation: args.sibling_correlation,
        shared_prefix: args.shared_prefix,
        replicas: args.replicas,
        fan_out: step.fan_out.map(fan_out),
        steps: step.steps,
        warmup: step.warmup,
        blocks: args.blocks,
        until: args.until,
        max_blocks: args.max_blocks,
        calibrate: args.calibrate,
        smallest_effect: args.smallest_effect,
        seed: step.seed,
        gate_timeout: args.gate_timeout,
        python: args.python,
        gpu_mem_util: args.gpu_mem_util,
    };
    let cwd = std::env::current_dir().map_err(|error| {
        CommandError::environment(format!("the current directory cannot be read: {error}"))
    })?;
    let mut request = LoadRequest {
        overrides,
        env: environment(),
        cwd,
        platform: Platform::detect(),
    };
    if !lengths_from.is_empty() {
        request.overrides.lengths = Some(commands::lengths::read(&request, &lengths_from)?);
    }
    Ok(request)
}

fn fan_out(how: FanOutArg) -> FanOut {
    match how {
        FanOutArg::Requests => FanOut::Requests,
        FanOutArg::N => FanOut::N,
    }
}

fn online(args: OnlineArgs) -> OnlineFlags {
    OnlineFlags {
        api: args.api.map(|api| match api {
            ApiArg::Completions => Api::Completions,
            ApiArg::Chat => Api::Chat,
        }),
        request_rate: args.request_rate,
        max_concurrency: args.max_concurrency,
        burstiness: args.burstiness,
        ramp: args.ramp,
        duration: args.duration,
        goodput: args.goodput,
    }
}

/// The environment, as far as it is UTF-8: a variable that is not cannot be meant for us.
fn environment() -> BTreeMap<String, String> {
    let utf8 = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(utf8).collect()
}

fn format(markdown: bool, csv: bool, json: bool) -> Format {
    match (markdown, csv, json) {
        (true, _, _) => Format::Markdown,
        (_, true, _) => Format::Csv,
        (_, _, true) => Format::Json,
        _ => Format::Text {
            width: output::terminal_width(),
        },
    }
}

fn completions(shell: clap_complete::Shell) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rollbench", &mut script);
    output::data(&script).map_err(anyhow::Error::from)?;
    Ok(Exit::Done)
}
