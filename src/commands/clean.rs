//! `rollbench clean`: what killed runs have left, and with `--yes` its end.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use crate::error::{CommandError, Exit};
use crate::output;
use crate::process::{DeadRun, Leftovers, Process, leftovers, others};
use crate::record::{Leak, redact};

/// What was found, and what was done.
#[derive(Debug, Serialize)]
struct Cleaned {
    #[serde(flatten)]
    found: Leftovers,
    /// Engines that rollbench did not start.
    others: Vec<Process>,
    /// The processes that were ended, or could not be; absent without `--yes`.
    ended: Option<Vec<Leak>>,
}

/// Lists what killed runs of this user have left; with `yes` ends it. Exits with 0 if nothing is left at the end, with 1
/// if something is.
pub(crate) fn run(yes: bool, json: bool) -> Result<Exit, CommandError> {
    let found = leftovers();
    let ended: Option<Vec<Leak>> = yes.then(|| found.dead.iter().flat_map(DeadRun::end).collect());
    let report = Cleaned {
        found,
        others: others(is_engine),
        ended,
    };
    let text = if json {
        let mut text = serde_json::to_string_pretty(&report).map_err(anyhow::Error::from)?;
        text.push('\n');
        text
    } else {
        report.render()
    };
    output::data(&text)?;
    Ok(if report.is_clean() {
        Exit::Done
    } else {
        Exit::Partial
    })
}

/// Whether a process looks like a vLLM. Only for showing whom `clean` leaves alone.
fn is_engine(name: &str, command: &str) -> bool {
    name.starts_with("VLLM::")
        || command.split(' ').any(|word| {
            word == "vllm" || word.ends_with("/vllm") || word.starts_with("vllm.entrypoints")
        })
}

impl Cleaned {
    fn is_clean(&self) -> bool {
        match &self.ended {
            Some(ended) => ended.iter().all(|leak| leak.ended),
            None => self.found.dead.is_empty(),
        }
    }

    fn render(&self) -> String {
        let mut text = String::new();
        self.write(&mut text)
            .expect("writing to a string cannot fail");
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        for run in &self.found.dead {
            dead(out, run)?;
        }
        for run in &self.found.live {
            writeln!(
                out,
                "run {} is going on, left alone: pid {}, results in {}",
                run.id,
                run.pid,
                run.results.display()
            )?;
        }
        group(
            out,
            "of a run whose folder is gone, left alone:",
            &self.found.unclaimed,
        )?;
        group(out, "not started by rollbench, left alone:", &self.others)?;
        let processes: usize = self.found.dead.iter().map(|run| run.processes.len()).sum();
        match &self.ended {
            _ if self.found.dead.is_empty() => writeln!(out, "nothing is left of killed runs"),
            None => writeln!(
                out,
                "left of killed runs: {}; `rollbench clean --yes` ends and removes it",
                match processes {
                    0 => "files, no process".to_owned(),
                    1 => "1 process".to_owned(),
                    n => format!("{n} processes"),
                }
            ),
            Some(ended) => {
                for stuck in ended.iter().filter(|leak| !leak.ended) {
                    writeln!(
                        out,
                        "could not end pid {} ({}): it is stuck in the kernel, which only its device's driver or a restart can change",
                        stuck.pid,
                        redact::command(&stuck.command)
                    )?;
                }
                let count = ended.iter().filter(|leak| leak.ended).count();
                writeln!(out, "ended {count} of {} processes", ended.len())
            }
        }
    }
}

fn dead(out: &mut String, run: &DeadRun) -> std::fmt::Result {
    match &run.info {
        Some(info) => writeln!(
            out,
            "run {} was killed: begun {}, `{}`, results in {}",
            run.id,
            time(Some(info.started)),
            redact::argv(&info.argv).join(" "),
            info.results.display()
        )?,
        None => writeln!(out, "run {} was killed before it began", run.id)?,
    }
    for process in &run.processes {
        line(out, process)?;
    }
    if let Some(info) = &run.info
        && info.scratch.exists()
    {
        writeln!(out, "  temporary files in {}", info.scratch.display())?;
    }
    for segment in &run.shared_memory {
        writeln!(out, "  shared memory {}", segment.display())?;
    }
    Ok(())
}

fn group(out: &mut String, title: &str, processes: &[Process]) -> std::fmt::Result {
    if processes.is_empty() {
        return Ok(());
    }
    writeln!(out, "{title}")?;
    processes.iter().try_for_each(|process| line(out, process))
}

fn line(out: &mut String, process: &Process) -> std::fmt::Result {
    writeln!(
        out,
        "  pid {:<8} {:<12} since {}  {}",
        process.pid,
        process.user,
        time(process.since),
        redact::command(&process.command)
    )
}

fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(
        || "?".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::RunInfo;

    fn process(pid: u32, user: &str, command: &str) -> Process {
        Process {
            pid,
            user: user.into(),
            command: command.into(),
            since: Timestamp::from_second(1_800_000_000).ok(),
        }
    }

    fn info(id: &str) -> RunInfo {
        RunInfo {
            id: id.into(),
            boot_id: "b".into(),
            pid: 77,
            start_ticks: 1,
            started: Timestamp::from_second(1_800_000_000).expect("in range"),
            argv: vec!["rollbench".into(), "run".into(), "--steps=3".into()],
            results: "/data/bench".into(),
            scratch: "/no/such/folder".into(),
        }
    }

    fn report() -> Cleaned {
        Cleaned {
            found: Leftovers {
                dead: vec![DeadRun {
                    id: "0a1b2c3d4e5f".into(),
                    info: Some(info("0a1b2c3d4e5f")),
                    folder: "/run/x".into(),
                    processes: vec![process(1234, "me", "VLLM::EngineCore")],
                    shared_memory: vec!["/dev/shm/rollbench-0a1b2c3d4e5f-9f".into()],
                }],
                live: vec![info("112233445566")],
                unclaimed: Vec::new(),
            },
            others: vec![process(
                99,
                "alice",
                "/opt/venv/bin/python /opt/venv/bin/vllm serve --api-key hidden",
            )],
            ended: None,
        }
    }

    #[test]
    fn a_listing_says_whose_is_what_and_what_would_be_ended() {
        let report = report();
        assert!(!report.is_clean());
        insta::assert_snapshot!(report.render(), @"
        run 0a1b2c3d4e5f was killed: begun 2027-01-15 08:00:00Z, `rollbench run --steps=3`, results in /data/bench
          pid 1234     me           since 2027-01-15 08:00:00Z  VLLM::EngineCore
          shared memory /dev/shm/rollbench-0a1b2c3d4e5f-9f
        run 112233445566 is going on, left alone: pid 77, results in /data/bench
        not started by rollbench, left alone:
          pid 99       alice        since 2027-01-15 08:00:00Z  /opt/venv/bin/python /opt/venv/bin/vllm serve --api-key ***
        left of killed runs: 1 process; `rollbench clean --yes` ends and removes it
        ");
    }

    #[test]
    fn a_process_that_cannot_be_ended_is_named() {
        let mut report = report();
        report.others.clear();
        report.found.live.clear();
        report.ended = Some(vec![Leak {
            pid: 1234,
            name: "VLLM::EngineCor".into(),
            command: "VLLM::EngineCore".into(),
            ended: false,
        }]);
        assert!(!report.is_clean());
        let text = report.render();
        let end: Vec<&str> = text.lines().skip(3).collect();
        assert_eq!(
            end,
            [
                "could not end pid 1234 (VLLM::EngineCore): it is stuck in the kernel, which only its device's driver or a restart can change",
                "ended 0 of 1 processes",
            ]
        );
    }

    #[test]
    fn nothing_left_is_said_so() {
        let report = Cleaned {
            found: Leftovers::default(),
            others: Vec::new(),
            ended: None,
        };
        assert!(report.is_clean());
        assert_eq!(report.render(), "nothing is left of killed runs\n");
    }

    #[test]
    fn engines_are_known_by_their_titles_and_their_programs_alone() {
        assert!(is_engine("VLLM::EngineCor", "VLLM::EngineCore"));
        assert!(is_engine(
            "python",
            "python -m vllm.entrypoints.cli.main serve"
        ));
        assert!(is_engine("vllm", "/usr/bin/python3 /usr/bin/vllm serve m"));
        assert!(!is_engine("vim", "vim notes/vllm.md"));
    }
}
