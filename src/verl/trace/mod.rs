//! `import-verl --trace`: bash runs the script with recorders in place of every program, and what they were called with is
//! read. The kernel keeps it from writing, from executing anything else, and from the network (Landlock).

mod confine;
mod recorders;

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::script::is_wanted;
use super::shell::{Call, Field, Value, evaluate};
use recorders::Recorders;

/// A script that runs longer waits for something that does not come.
const LIMIT: Duration = Duration::from_secs(20);

/// Why a script was not traced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    #[error("this kernel cannot confine a script (Landlock with network rules, Linux 6.7): {0}")]
    Unconfined(String),
    #[error("tracing: {0}")]
    Io(#[from] io::Error),
}

/// What a script called.
#[derive(Debug)]
pub(super) struct Traced {
    pub(super) calls: Vec<Call>,
    /// What makes this less than exact.
    pub(super) notes: Vec<String>,
}

/// Runs `script` in the current folder and environment, for [`LIMIT`] at most.
pub(super) fn trace(script: &Path) -> Result<Traced, TraceError> {
    trace_for(script, LIMIT)
}

fn trace_for(script: &Path, limit: Duration) -> Result<Traced, TraceError> {
    let recorders = Recorders::create(&String::from_utf8_lossy(&std::fs::read(script)?))?;
    let errors = recorders.folder().join("stderr");
    let child = spawned(&recorders, script, File::create(&errors)?)?;
    let ended = wait(child, limit)?;
    let mut traced = Traced {
        calls: recorders.calls()?.into_iter().flat_map(inner).collect(),
        notes: Vec::new(),
    };
    if !ended {
        traced.notes.push(format!(
            "the script was ended after {} s: what it would call later is not known",
            limit.as_secs()
        ));
    }
    let errors = String::from_utf8_lossy(&std::fs::read(errors)?).into_owned();
    if let Some(line) = errors.lines().find(|line| line.contains(recorders.mark())) {
        traced.notes.push(format!(
            "the script computes with what only a real run tells: {}",
            recorders.readable(line)
        ));
    }
    for denied in errors
        .lines()
        .filter(|line| line.ends_with("Permission denied"))
    {
        traced
            .notes
            .push(format!("not done while tracing: {denied}"));
    }
    Ok(traced)
}

/// Landlock holds for the thread that asks for it and all that it starts, so that thread is one of its own.
fn spawned(recorders: &Recorders, script: &Path, errors: File) -> Result<Child, TraceError> {
    let spawn = || -> Result<Child, TraceError> {
        confine::this_thread(recorders)?;
        let mut command = Command::new(recorders.bash());
        command
            .arg(script)
            .env("PATH", recorders.programs())
            .env("BASH_ENV", recorders.setup())
            .env("TMPDIR", recorders.scratch())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .process_group(0);
        Ok(command.spawn()?)
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(spawn);
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that starts bash ended").into()))
    })
}

/// Whether it ended by itself in time. Nothing of its group is left either way.
fn wait(mut child: Child, limit: Duration) -> Result<bool, TraceError> {
    let began = Instant::now();
    let ended = loop {
        if child.try_wait()?.is_some() {
            break true;
        }
        if began.elapsed() > limit {
            break false;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    if let Ok(group) = i32::try_from(child.id()) {
        // Nobody is left in a group that is gone.
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    child.wait()?;
    Ok(ended)
}

/// A recorded call, or what the script in its `bash -c '...'` calls.
fn inner(call: Call) -> Vec<Call> {
    let is = |field: &Field, names: &[&str]| names.contains(&field.value.to_string().as_str());
    let script = call.words.windows(3).find_map(|three| {
        let [shell, flag, script] = three else {
            return None;
        };
        let runs = is(shell, &["bash", "sh", "/bin/bash", "/bin/sh"]) && is(flag, &["-c", "-lc"]);
        runs.then(|| script.value.to_string())
    });
    match script {
        Some(script) => evaluate("bash", &script, is_wanted)
            .ways
            .into_iter()
            .next()
            .unwrap_or_default(),
        None => vec![call],
    }
}

/// A text with `home` in it as a value that names it.
fn with_home(text: &str, home: Option<&str>) -> Value {
    let mut value = Value::default();
    let mut rest = text;
    if let Some(home) = home.filter(|home| home.len() > 1) {
        while let Some((before, after)) = rest.split_once(home) {
            // A longer name is another folder.
            if !after.is_empty() && !after.starts_with('/') {
                break;
            }
            value.extend(Value::text(before));
            value.extend(Value::home("HOME"));
            rest = after;
        }
    }
    value.extend(Value::text(rest));
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verl::script;

    /// A call a line.
    fn words(script: &str) -> String {
        let dir = tempfile::tempdir().expect("temporary folder");
        let file = dir.path().join("run.sh");
        std::fs::write(&file, script).expect("written");
        let traced = trace_for(&file, Duration::from_secs(20)).expect("this kernel has Landlock");
        let line = |call: &Call| {
            let words = call.words.iter().map(|field| field.value.to_string());
            words.collect::<Vec<_>>().join(" ")
        };
        let mut lines: Vec<String> = traced.calls.iter().map(line).collect();
        // The programs of a pipe run side by side.
        lines.sort();
        lines.join("\n")
    }

    #[test]
    fn calls_are_recorded_and_not_made() {
        insta::assert_snapshot!(words(
            "set -e\nmkdir -p made\nX=$(basename /a/b.sh .sh)\nN=$(nvidia-smi -L | wc -l)\n\
             no-such-program $X\npython3 -m main a=$X n=$N d=$(dirname $N)/x h=$HOME/m 2>&1 | tee log\n\
             srun bash -c 'python3 -m verl.trainer.main_ppo data.x=1'\n"
        ), @r"
mkdir -p made
no-such-program b
nvidia-smi -L
python3 -m main a=b n=$(wc ...) d=$(dirname ...)/x h=${HOME}/m
python3 -m verl.trainer.main_ppo data.x=1
tee log
");
    }

    #[test]
    fn nothing_is_written_sent_or_executed() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let file = dir.path().join("run.sh");
        let target = dir.path().join("written");
        let script = format!(
            "echo x > {t}\n: >> {t}\n/usr/bin/touch {t}\nkill -9 $PPID\n(exec 3<>/dev/tcp/127.0.0.1/9) 2>/dev/null || X=refused\n\
             /usr/bin/env touch {t}\npython3 data.x=$X\n",
            t = target.display()
        );
        std::fs::write(&file, script).expect("written");
        let traced = trace_for(&file, Duration::from_secs(20)).expect("this kernel has Landlock");
        assert!(!target.exists());
        let last = traced.calls.last().expect("a call");
        assert_eq!(last.words[1].value.to_string(), "data.x=refused");
        assert!(
            traced
                .notes
                .iter()
                .any(|note| note.contains("Permission denied")),
            "{:?}",
            traced.notes
        );
    }

    #[test]
    fn a_script_without_end_is_ended() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let file = dir.path().join("run.sh");
        std::fs::write(&file, "python3 data.x=1\nwhile :; do :; done\n").expect("written");
        let traced =
            trace_for(&file, Duration::from_millis(1500)).expect("this kernel has Landlock");
        assert_eq!(traced.calls.len(), 1);
        assert!(
            traced.notes[0].contains("was ended after"),
            "{:?}",
            traced.notes
        );
    }

    /// On every case, what the reading is certain of is what bash does.
    #[test]
    fn the_reading_agrees_with_bash() {
        let cases = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/verl"))
            .expect("cases");
        let mut compared = 0;
        for case in cases {
            let file = case.expect("case").path();
            if file.extension().is_none_or(|end| end != "sh") {
                continue;
            }
            let text = std::fs::read_to_string(&file).expect("text");
            let read = script::read("run.sh", &text);
            let traced =
                trace_for(&file, Duration::from_secs(20)).expect("this kernel has Landlock");
            let traced = script::read_ways(&text, &[traced.calls]);
            let last = |of: &super::super::Read, key: &str| {
                let entry = of
                    .entries
                    .iter()
                    .rev()
                    .find(|entry| entry.key == key)
                    .cloned();
                entry.map(|entry| (entry.value, entry.state))
            };
            for entry in traced.entries.iter().chain(&read.entries) {
                let (said, ran) = (last(&read, &entry.key), last(&traced, &entry.key));
                let open = said
                    .as_ref()
                    .is_some_and(|(_, state)| *state != super::super::State::Known);
                assert!(
                    open || said == ran,
                    "{}: {}: {said:?} {ran:?}",
                    file.display(),
                    entry.key
                );
                compared += 1;
            }
        }
        assert!(compared > 40, "{compared}");
    }
}
