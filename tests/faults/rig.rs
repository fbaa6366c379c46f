//! One supervised tree, who belongs to it, and what is left of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::processes::{
    Identity, PATIENCE, end, identity, inhabitants, install, python, send, tree,
};

/// rollbench with a tree under it, in a world of its own: folders, and a copy of the binary that nobody else runs.
pub(crate) struct Rig {
    dir: tempfile::TempDir,
    child: Child,
    stdout: BufReader<ChildStdout>,
    hello: Value,
    members: Vec<Identity>,
}

impl Rig {
    /// Starts rollbench with a tree of Python processes, and does not wait.
    pub(crate) fn launch(options: &[&str]) -> Self {
        Self::launch_with(|list| {
            let mut argv = vec![python().into(), tree(), list.to_owned()];
            argv.extend(options.iter().map(PathBuf::from));
            argv
        })
    }

    /// Starts rollbench with any program, whose argv is made from the path of the list that it is to write.
    pub(crate) fn launch_with(argv: impl FnOnce(&Path) -> Vec<PathBuf>) -> Self {
        // Short, for the names of sockets.
        let dir = tempfile::Builder::new()
            .prefix("rb")
            .rand_bytes(6)
            .tempdir_in("/tmp")
            .expect("tempdir");
        install(dir.path());
        let mut command = Self::command(dir.path());
        command
            .args(["__supervise", "--"])
            .args(argv(&dir.path().join("list")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("rollbench starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        Self {
            dir,
            child,
            stdout,
            hello: Value::Null,
            members: Vec::new(),
        }
    }

    /// Starts rollbench and waits until the whole tree is there.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::launch(options).ready()
    }

    /// Waits until the whole tree is there.
    pub(crate) fn ready(mut self) -> Self {
        let rig = &mut self;
        rig.hello = rig.line();
        rig.until("the tree is there", |rig| {
            rig.list().iter().any(|line| line == "ready")
        });
        rig.members = rig
            .list()
            .iter()
            .filter_map(|line| line.split_once(' ')?.1.parse().ok())
            .chain([rig.pid("guard"), rig.pid("rollbench")])
            .filter_map(identity)
            .collect();
        self
    }

    fn command(dir: &Path) -> Command {
        let mut command = Command::new("env");
        // rollbench respects a SIGHUP that is ignored, as it is where the tests themselves run under nohup.
        command
            .arg("--default-signal=HUP")
            .arg(dir.join("rollbench"));
        command
            .current_dir(dir)
            .env("ROLLBENCH_RUNTIME_DIR", dir.join("runs"))
            .env("TMPDIR", dir);
        command
    }

    /// `rollbench clean` in the same world: its exit code and what it printed.
    pub(crate) fn clean(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = Self::command(self.dir.path())
            .arg("clean")
            .args(args)
            .output()
            .expect("rollbench starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    }

    /// A process id of the first line, or of the tree's list.
    pub(crate) fn pid(&self, role: &str) -> u32 {
        let said = self.hello[role]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok());
        said.or_else(|| {
            self.list().iter().find_map(|line| {
                let (who, pid) = line.split_once(' ')?;
                (who == role).then(|| pid.parse().ok())?
            })
        })
        .unwrap_or_else(|| panic!("no {role} in the tree"))
    }

    pub(crate) fn signal(&self, role: &str, signal: Signal) {
        // If it has ended by itself meanwhile, that is what the scenario wanted.
        send(self.pid(role), signal);
    }

    /// The last line that rollbench prints, and how it ended.
    pub(crate) fn end(&mut self) -> (Value, ExitStatus) {
        let report = self.line();
        (report, self.child.wait().expect("ours"))
    }

    /// After SIGKILL.
    pub(crate) fn reap(&mut self) {
        let status = self.child.wait().expect("ours");
        assert_eq!(status.signal(), Some(9));
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("ours");
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("readable");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("`{line}`: {error}"))
    }

    fn list(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("list")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Every process that is alive and was started by this rollbench: the members of the tree, whatever was started in
    /// this world's environment, and whatever runs this world's binary.
    pub(crate) fn survivors(&self) -> Vec<u32> {
        let members = self
            .members
            .iter()
            .filter(|who| identity(who.0) == Some(**who));
        let mut alive: Vec<u32> = inhabitants(self.dir.path())
            .into_iter()
            .chain(members.map(|who| who.0))
            .collect();
        alive.sort_unstable();
        alive.dedup();
        alive
    }

    /// Waits until nothing is alive; the time it took, or who still is after `patience`.
    pub(crate) fn until_gone(&self, patience: Duration) -> Result<Duration, Vec<u32>> {
        let begun = Instant::now();
        // Cheap at first, complete at the end.
        while self.members.iter().any(|who| identity(who.0) == Some(*who))
            && begun.elapsed() < patience
        {
            sleep(Duration::from_micros(500));
        }
        let took = begun.elapsed();
        loop {
            match self.survivors() {
                alive if alive.is_empty() => return Ok(took),
                alive if begun.elapsed() > patience => return Err(alive),
                _ => sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Shared memory, run folders and temporary folders that are left.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut left: Vec<PathBuf> = self
            .list()
            .iter()
            .filter_map(|line| line.strip_prefix("shm "))
            .map(|name| Path::new("/dev/shm").join(name.trim_start_matches('/')))
            .filter(|path| path.exists())
            .collect();
        let scratch = format!("rollbench-{}", nix::unistd::Uid::effective());
        for folder in ["runs", &scratch] {
            left.extend(
                fs::read_dir(self.dir.path().join(folder))
                    .into_iter()
                    .flatten()
                    .filter_map(|entry| Some(entry.ok()?.path())),
            );
        }
        if let Some(run) = self.hello["run"].as_str() {
            left.extend(
                fs::read_dir("/dev/shm")
                    .expect("there")
                    .filter_map(|entry| Some(entry.ok()?.path()))
                    .filter(|path| path.to_string_lossy().contains(run)),
            );
        }
        left
    }

    pub(crate) fn until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(
                begun.elapsed() < PATIENCE,
                "not within {PATIENCE:?}: {what}; log: {}",
                fs::read_to_string(self.dir.path().join("supervise.log")).unwrap_or_default()
            );
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Rig {
    /// A failed assertion must not leave what it is about.
    fn drop(&mut self) {
        end(&self.survivors());
    }
}
