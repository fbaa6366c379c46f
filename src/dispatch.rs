//! From the parsed command line to the command: the only place that knows both.

use clap::CommandFactory as _;

use crate::cli::{Cli, Command};
use crate::commands;
use crate::error::{CommandError, Exit};
use crate::output;

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli) -> Result<Exit, CommandError> {
    match cli.command {
        Command::Setup(args) => commands::setup::run(args.check, args.json),
        Command::Clean(args) => commands::clean::run(args.yes, args.json),
        Command::Completions { shell } => completions(shell),
        _ => Err(CommandError::usage("not available yet")),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rollbench", &mut script);
    output::data(&String::from_utf8_lossy(&script)).map_err(anyhow::Error::from)?;
    Ok(Exit::Done)
}
