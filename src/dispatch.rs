//! From the parsed command line to the command: the only place that knows both.

mod load;

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::CommandFactory as _;

use crate::cli::{Cli, Command, FidelityArgs, MatrixArgs, ResumeArg, RunArgs, SchemaOf};
use crate::commands;
use crate::config::declared::PROFILE;
use crate::config::{self, LoadRequest};
use crate::device::Platform;
use crate::error::{CommandError, Exit};
use crate::execute::Resume;
use crate::output;
use crate::report::Format;
use crate::stats::SMALLEST_EFFECT;
use crate::stats::compare::Rules;

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli) -> Result<Exit, CommandError> {
    match cli.command {
        Command::Run(args) => run_or_less(*args),
        Command::Plan(args) => {
            let mut request = matrix(args.matrix)?;
            if let Some(platform) = args.platform {
                request.platform = platform.into();
                request.elsewhere = true;
            }
            commands::plan::run(&request, args.json, args.probe)
        }
        Command::Diagnostic(args) => commands::diagnostic::run(&matrix(args.matrix)?, args.json),
        Command::Setup(args) => commands::setup::run(args.check, args.json),
        Command::Clean(args) => commands::clean::run(args.yes, args.json),
        Command::Summarize(args) => {
            let format = if args.verl {
                Format::Verl
            } else if args.html {
                Format::Html(args.lang)
            } else {
                format(args.markdown, args.csv, args.json)
            };
            let figures = args.figures.then_some(args.lang);
            commands::summarize::run(
                &args.dir,
                format,
                args.step_time.as_deref(),
                args.write,
                figures,
            )
        }
        Command::Compare(args) => commands::compare::run(
            &args.base,
            &args.new,
            Rules {
                smallest_effect: args.smallest_effect.unwrap_or(SMALLEST_EFFECT),
                fail_above: args.fail_above,
                although_different: args.although_different,
            },
            args.max_kl,
            if args.html {
                Format::Html(args.lang)
            } else {
                format(args.markdown, false, args.json)
            },
        ),
        Command::Load(args) => commands::load::run(&load::options(*args, &environment())?),
        Command::Predict(args) => commands::predict::run(
            &args.dir,
            &args.batch.0,
            &args.python,
            args.smallest_effect.unwrap_or(SMALLEST_EFFECT),
            args.although_invalid,
            format(args.markdown, false, args.json),
        ),
        Command::Profile(args) => commands::profile::run(
            &commands::profile::Options {
                paths: args.paths,
                against: args.against,
                rules: args.rules,
                top: args.top.unwrap_or(15),
            },
            format(args.markdown, args.csv, args.json),
        ),
        Command::Ops(args) => commands::ops::run(
            &commands::ops::Options {
                checkpoint: args.checkpoint,
                python: args.python,
                up_to: args.up_to.unwrap_or(8192),
                batch: args.batch.unwrap_or(256),
                against: args.against,
            },
            format(args.markdown, false, args.json),
        ),
        Command::ImportVerl(args) => commands::import_verl::run(
            &args.file,
            args.trace,
            args.out.as_deref(),
            args.verl_defaults.as_deref(),
        ),
        Command::Fidelity(args) => fidelity(*args),
        Command::Schema { of } => schema(of),
        Command::Completions { shell } => completions(shell),
    }
}

fn run_or_less(args: RunArgs) -> Result<Exit, CommandError> {
    let mut request = matrix(args.matrix)?;
    if args.no_profile {
        request.flags.give(&PROFILE, ["false"]);
    }
    if args.diagnostic {
        return commands::diagnostic::run(&request, args.json);
    }
    if args.dry_run {
        return commands::plan::run(&request, args.json, false);
    }
    commands::run::run(
        &request,
        resume(args.resume),
        format(false, false, args.json),
    )
}

fn fidelity(args: FidelityArgs) -> Result<Exit, CommandError> {
    let format = format(false, false, args.json);
    if let Some(file) = &args.trainer {
        return commands::fidelity::trainer(file, format);
    }
    let resume = if args.resume {
        Resume::Same
    } else {
        Resume::No
    };
    commands::fidelity::run(&matrix(args.matrix)?, resume, format)
}

/// What the matrix flags, the environment and the machine say.
fn matrix(args: MatrixArgs) -> Result<LoadRequest, CommandError> {
    let cwd = std::env::current_dir().map_err(|error| {
        CommandError::environment(format!("the current directory cannot be read: {error}"))
    })?;
    let mut request = LoadRequest {
        flags: args.flags.0,
        lengths: None,
        env: environment(),
        cwd,
        platform: Platform::detect(),
        elsewhere: false,
    };
    request.lengths = commands::lengths::read(&request)?;
    Ok(request)
}

fn resume(how: Option<ResumeArg>) -> Resume {
    match how {
        None => Resume::No,
        Some(ResumeArg::Same) => Resume::Same,
        Some(ResumeArg::Force) => Resume::Force,
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

fn schema(of: SchemaOf) -> Result<Exit, CommandError> {
    let text = match of {
        SchemaOf::Config => config::json_schema(),
        SchemaOf::Settings => config::reference(),
    };
    output::data(&text)?;
    Ok(Exit::Done)
}

fn completions(shell: clap_complete::Shell) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rollbench", &mut script);
    output::data(&script)?;
    Ok(Exit::Done)
}
