//! Runs installers and scripts: each under a guard, which ends it and all it started with us, their output in one log.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::error::PathError;
use crate::process::{Guard, GuardedCommand};
use crate::record::ExitStatus;

use super::SetupError;
use super::ensure::SetupEvent;
use super::error::Cause;
use super::lock::Lock;

/// How many lines of a failed step's output are shown.
const TAIL: usize = 12;

/// Variables that would send an installer or an interpreter elsewhere than where it is told to work.
const MISLEADING: [&str; 11] = [
    "CONDA_PREFIX",
    "PIP_PREFIX",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_ROOT",
    "PIP_TARGET",
    "PIP_USER",
    "PYTHONHOME",
    "PYTHONPATH",
    "UV_PROJECT_ENVIRONMENT",
    "UV_SYSTEM_PYTHON",
    "VIRTUAL_ENV",
];

/// Runs the stages of one set-up, in order.
pub(crate) struct Runner<'a> {
    pub(crate) lock: &'a Lock,
    /// Appended to.
    pub(crate) log: PathBuf,
    /// Working directory and TMPDIR of the children; exists.
    pub(crate) scratch: PathBuf,
    pub(crate) emit: &'a mut dyn FnMut(SetupEvent),
    pub(crate) number: usize,
    pub(crate) of: usize,
}

impl Runner<'_> {
    /// Announces the next stage.
    pub(crate) fn stage(&mut self, text: &str) {
        self.number += 1;
        (self.emit)(SetupEvent::Stage {
            number: self.number,
            of: self.of,
            text: text.to_owned(),
        });
    }

    /// Runs one process to its end. Dropping the future ends it and whatever it has started.
    pub(crate) async fn run(&mut self, doing: &str, command: Command) -> Result<(), SetupError> {
        let log = |action| PathError::on(action, &self.log);
        let begin = self.begin_log(&command).map_err(log("write"))?;
        let mut guard = Guard::spawn(GuardedCommand {
            program: command.get_program().into(),
            args: command.get_args().map(ToOwned::to_owned).collect(),
            env: self.environment(&command),
            cwd: Some(self.scratch.clone()),
            log: self.log.clone(),
            pass_fds: vec![self.lock.pass().map_err(log("keep the lock for"))?],
        })?;

        let started = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        let exit = loop {
            tokio::select! {
                exit = guard.leader_exit() => break exit,
                _ = ticks.tick() => (self.emit)(SetupEvent::Working {
                    elapsed: started.elapsed(),
                    detail: read_from(&self.log, begin).ok().and_then(|text| tail(&text, 1).pop()),
                }),
            }
        };
        guard.sweep().await;
        if exit.code == Some(0) {
            return Ok(());
        }
        let output = read_from(&self.log, begin).map_err(PathError::on("read", &self.log))?;
        Err(SetupError::Step {
            stage: doing.to_owned(),
            cause: Cause::from_output(&output, exit.signal == Some(Signal::SIGKILL as i32)),
            status: in_words(exit),
            tail: tail(&output, TAIL),
            log: self.log.clone(),
        })
    }

    /// Ours, without what misleads, with what `command` sets.
    fn environment(&self, command: &Command) -> BTreeMap<OsString, OsString> {
        let mut env: BTreeMap<OsString, OsString> = std::env::vars_os()
            .filter(|(name, _)| !MISLEADING.iter().any(|misleading| name == misleading))
            .collect();
        env.insert("TMPDIR".into(), self.scratch.clone().into());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => env.insert(name.into(), value.into()),
                None => env.remove(name),
            };
        }
        env
    }

    /// Notes the command in the log. Returns where its output will begin.
    fn begin_log(&self, command: &Command) -> std::io::Result<u64> {
        let mut log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.log)?;
        write!(log, "$ {}", Path::new(command.get_program()).display())?;
        for arg in command.get_args() {
            write!(log, " {}", Path::new(arg).display())?;
        }
        writeln!(log)?;
        log.seek(SeekFrom::End(0))
    }
}

fn in_words(exit: ExitStatus) -> String {
    match (exit.code, exit.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// What was written since `begin`, the last 256 kB of it.
fn read_from(path: &Path, begin: u64) -> std::io::Result<String> {
    const MOST: u64 = 256 * 1024;
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(begin.max(end.saturating_sub(MOST))))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last `count` lines that say something; of a line that was drawn over itself, the last state.
fn tail(text: &str, count: usize) -> Vec<String> {
    let lines: Vec<String> = text
        .lines()
        .filter_map(|line| line.trim_end().rsplit('\r').next())
        .map(|line| line.trim_end().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_what_a_person_would_read() {
        let text = "one\n\n  10%\r  50%\r 100% two\nthree  \n\n";
        assert_eq!(tail(text, 2), [" 100% two", "three"]);
        assert_eq!(tail(text, 9).len(), 3);
        assert!(tail("", 2).is_empty());
    }
}
