//! A world of its own for each test: folders, checkpoints, a matrix, an environment, and a copy of the binary.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rollbench::testing::record::CellRecord;
use serde_json::{Value, json};

use crate::processes::{PATIENCE, end, inhabitants, install, python};

/// Above what a whole matrix takes on a machine with much else to do.
const LONG: Duration = Duration::from_mins(5);

/// Two precisions of one model; 4 prompts x 2 samples, a warm-up and 2 measured steps.
pub(crate) const TWO_CELLS: &str = r#"schema = 1
[run]
steps = 2
[workload]
num_prompts = 4
n = 2
input_len = 16
output_len = 8
[[precision]]
name = "bf16"
baseline = true
[[precision]]
name = "w8a8"
[[model]]
name = "tiny"
checkpoints = { bf16 = "ck/bf16", w8a8 = "ck/w8a8" }
"#;

pub(crate) struct World {
    dir: tempfile::TempDir,
}

/// How a run ended and what it said.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// As the shell shows it: 128 + n for a signal.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    /// With `matrix` as its `rollbench.toml`, and a checkpoint wherever it names `ck/NAME`.
    pub(crate) fn new(matrix: &str) -> Self {
        // Short, for the names of sockets.
        let dir = tempfile::Builder::new()
            .prefix("rb")
            .rand_bytes(6)
            .tempdir_in("/tmp")
            .expect("tempdir");
        for folder in ["tmp", "home"] {
            fs::create_dir(dir.path().join(folder)).expect("made");
        }
        install(dir.path());
        let world = Self { dir };
        world.configure(matrix);
        world
    }

    pub(crate) fn configure(&self, matrix: &str) {
        fs::write(self.path("rollbench.toml"), matrix).expect("written");
        let named = matrix.split('"').filter(|text| text.starts_with("ck/"));
        for name in named {
            let folder = self.path(name);
            fs::create_dir_all(&folder).expect("made");
            let config = json!({"dtype": "bfloat16", "vocab_size": 1000});
            fs::write(folder.join("config.json"), config.to_string()).expect("written");
            fs::write(folder.join("model.safetensors"), "weights").expect("written");
        }
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file in the results folder.
    pub(crate) fn result(&self, name: &str) -> PathBuf {
        self.path("benchmark_results").join(name)
    }

    /// `rollbench ARGS` with nothing of this machine's environment but `PATH`, before a vLLM that behaves as `fake`
    /// (the JSON of `FAKE_VLLM`) says.
    pub(crate) fn command(&self, fake: &Value, args: &[&str]) -> Command {
        // A runner under `nohup` hands down an ignored SIGHUP, which rollbench respects.
        let mut command = Command::new("env");
        command
            .arg("--default-signal=HUP")
            .arg(self.path("rollbench"))
            .args(args)
            .current_dir(self.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("PATH is set"))
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("ROLLBENCH_RUNTIME_DIR", self.path("runs"))
            .env(
                "PYTHONPATH",
                concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes"),
            )
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("FAKE_VLLM", fake.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// `rollbench run ARGS`, begun.
    pub(crate) fn start(&self, fake: &Value, args: &[&str]) -> Running {
        Running::of(self.run_command(fake, args))
    }

    pub(crate) fn run_command(&self, fake: &Value, args: &[&str]) -> Command {
        let mut command = self.command(fake, &["run", "--python"]);
        command.arg(python()).args(args);
        command
    }

    /// `rollbench run ARGS` to its end, after which nothing may be left.
    pub(crate) fn run(&self, fake: &Value, args: &[&str]) -> Outcome {
        let outcome = self.start(fake, args).end();
        self.is_empty();
        outcome
    }

    /// The record of `tiny` at this precision.
    pub(crate) fn record(&self, precision: &str) -> CellRecord {
        read_record(&self.result(&format!("tiny_{precision}.json")))
    }

    /// `summary.json`.
    pub(crate) fn summary(&self) -> Value {
        let text = fs::read(self.result("summary.json")).expect("a summary");
        serde_json::from_slice(&text).expect("JSON")
    }

    pub(crate) fn survivors(&self) -> Vec<u32> {
        inhabitants(self.root())
    }

    /// What a run that has ended must not leave: its folders and its shared memory.
    pub(crate) fn litter(&self) -> Vec<PathBuf> {
        let list = |folder: PathBuf| {
            fs::read_dir(folder)
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.path()))
        };
        let scratch = format!("rollbench-{}", nix::unistd::Uid::effective());
        let in_scratch = list(self.path("tmp").join(&scratch));
        let other = list(self.path("tmp")).filter(|path| !path.ends_with(&scratch));
        list(self.path("runs"))
            .chain(in_scratch)
            .chain(other)
            .collect()
    }

    /// Asserts that nobody lives here, and that nothing is left but files that are meant to stay.
    pub(crate) fn is_empty(&self) {
        assert_eq!(self.survivors(), [] as [u32; 0], "processes are left");
        assert_eq!(self.litter(), [] as [PathBuf; 0], "files are left");
    }
}

impl Drop for World {
    /// A failed assertion must not leave what it is about.
    fn drop(&mut self) {
        end(&self.survivors());
    }
}

pub(crate) fn read_record(path: &Path) -> CellRecord {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A rollbench at work. What it prints is read as it comes.
pub(crate) struct Running {
    child: Child,
    stderr: Arc<Mutex<String>>,
    readers: Option<(JoinHandle<String>, JoinHandle<()>)>,
}

impl Running {
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.spawn().expect("rollbench starts");
        let mut out = child.stdout.take().expect("piped");
        let err = BufReader::new(child.stderr.take().expect("piped"));
        let stderr = Arc::new(Mutex::new(String::new()));
        let told = Arc::clone(&stderr);
        let readers = (
            std::thread::spawn(move || {
                let mut text = String::new();
                out.read_to_string(&mut text).expect("UTF-8");
                text
            }),
            std::thread::spawn(move || {
                for line in err.lines().map_while(Result::ok) {
                    let mut told = told.lock().expect("no panic");
                    told.push_str(&line);
                    told.push('\n');
                }
            }),
        );
        Self {
            child,
            stderr,
            readers: Some(readers),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far on stderr.
    pub(crate) fn said(&self) -> String {
        self.stderr.lock().expect("no panic").clone()
    }

    pub(crate) fn until_it_says(&mut self, text: &str) {
        self.until(&format!("it says `{text}`"), |running| {
            running.said().contains(text)
        });
    }

    /// Waits, unless it ends before.
    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        loop {
            let ended = self.child.try_wait().expect("ours").is_some();
            if done(self) {
                return;
            }
            assert!(
                !ended && begun.elapsed() < PATIENCE,
                "not within {PATIENCE:?}, or ended: {what}; it said\n{}",
                self.said()
            );
            sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        kill(pid, signal).expect("ours, and not reaped");
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Outcome {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("ours") {
                break status;
            }
            if begun.elapsed() > LONG {
                self.signal(Signal::SIGKILL);
                panic!("no end after {LONG:?}; it said\n{}", self.said());
            }
            sleep(Duration::from_millis(10));
        };
        let (stdout, stderr) = self.readers.take().expect("taken once");
        let stdout = stdout.join().expect("no panic");
        stderr.join().expect("no panic");
        Outcome {
            code: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().expect("code or signal")),
            stdout,
            stderr: self.said(),
        }
    }
}
