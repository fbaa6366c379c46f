//! A folder of its own for each test, and the binary run in it with an environment of its own.

use std::path::Path;
use std::process::{Command, Output};

pub(crate) struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        std::fs::create_dir(dir.path().join("work")).expect("made");
        Self { dir }
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        self.write_bytes(name, text.as_bytes());
    }

    pub(crate) fn write_bytes(&self, name: &str, bytes: &[u8]) {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().expect("below")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }

    /// Runs the binary in the folder; nothing of this machine's environment reaches it but `PATH`.
    pub(crate) fn rollbench(&self, args: &[&str]) -> Output {
        self.command(args, "").output().expect("runs")
    }

    /// The same from a folder below.
    pub(crate) fn command(&self, args: &[&str], folder: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollbench"));
        command
            .args(args)
            .current_dir(self.work().join(folder))
            .env_clear()
            .env("HOME", self.dir.path());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    /// The names in the working folder.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.work()).expect("reads");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("reads")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    /// With the folder's random name replaced.
    pub(crate) fn shown(&self, text: &str) -> String {
        text.replace(&self.work().display().to_string(), "DIR")
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.work().join(name)).expect("reads")
    }

    pub(crate) fn work(&self) -> std::path::PathBuf {
        Path::new(self.dir.path()).join("work")
    }
}
