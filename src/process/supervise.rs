//! `rollbench __supervise -- PROGRAM ARGS`: any program under all layers, for tests of supervision without an engine.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use super::guard::{Guard, GuardedCommand};
use super::rundir::{LEASE_MODULE, LEASE_PY, RunDir};
use super::signals::Interrupt;
use crate::error::Exit;

/// How long the program may take to end after SIGTERM. Short: nothing real is run here.
const PATIENCE: Duration = Duration::from_millis(500);

/// Supervises the program until it ends or a signal comes; says who is who on stdout, and at the end what was swept, as
/// JSON Lines. The program's output goes to `supervise.log` in the working directory.
pub(crate) fn supervise_main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(supervise()),
        Err(error) => Err(error.into()),
    };
    exit.unwrap_or_else(|error: Box<dyn std::error::Error>| {
        eprintln!("error: {error}");
        Exit::Internal
    })
    .into()
}

async fn supervise() -> Result<Exit, Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(3);
    let program = PathBuf::from(args.next().ok_or("no program given")?);
    let interrupt = Interrupt::install()?;
    let run = RunDir::create(&std::env::current_dir()?)?;
    std::fs::write(run.scratch().join(LEASE_MODULE), LEASE_PY)?;
    let mut env: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    env.extend(run.hygiene_env(&env));
    env.insert("PYTHONPATH".into(), run.scratch().into());
    let mut guard = Guard::spawn(GuardedCommand {
        program,
        args: args.collect(),
        env,
        cwd: None,
        log: "supervise.log".into(),
        pass_fds: Vec::new(),
    })?;
    println!(
        "{}",
        json!({
            "rollbench": std::process::id(),
            "guard": guard.guard(),
            "leader": guard.leader(),
            "run": run.id(),
            "folder": run.path(),
            "scratch": run.scratch(),
        })
    );
    let signal = tokio::select! {
        signal = interrupt.first() => Some(signal),
        _ = guard.leader_exit() => None,
    };
    guard.signal_leader(Signal::SIGTERM);
    let polite = tokio::select! {
        report = guard.finish(PATIENCE) => Some(report),
        _ = interrupt.second() => None,
    };
    let report = match polite {
        Some(report) => report,
        None => guard.sweep().await,
    };
    println!("{}", json!(report));
    Ok(signal.map_or(Exit::Done, Exit::Signal))
}
