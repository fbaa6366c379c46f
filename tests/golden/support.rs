//! Running the binary, and comparing what it made with what is kept.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the goldens.
pub(crate) fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// `rollbench ARGS` in `folder`, as a transcript: the command, the exit code, both outputs.
pub(crate) fn transcript(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollbench"));
    command
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let output = command.output().expect("rollbench starts");
    let mut text = format!("$ rollbench {}\n", args.join(" "));
    text.push_str(&String::from_utf8_lossy(&output.stdout));
    if !output.stderr.is_empty() {
        let _ = write!(
            text,
            "--- stderr\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let code = output.status.code().expect("an exit code");
    let _ = writeln!(text, "--- exit {code}");
    text
}

/// What differs from the goldens, told all at once.
#[derive(Default)]
pub(crate) struct Differences(String);

impl Differences {
    /// Compares `made` with the golden `name` byte for byte, or writes it there if asked to.
    pub(crate) fn compare(&mut self, name: &str, made: &[u8]) {
        let path = goldens().join(name);
        if std::env::var_os("ROLLBENCH_BLESS").is_some() {
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(&path, made).expect("written");
            return;
        }
        let kept = fs::read(&path).unwrap_or_default();
        if kept == made {
            return;
        }
        let (kept, made) = (
            String::from_utf8_lossy(&kept),
            String::from_utf8_lossy(made),
        );
        let lines = kept.lines().zip(made.lines());
        let same = lines.take_while(|(kept, made)| kept == made).count();
        let line = |text: &str| text.lines().nth(same).unwrap_or("(its end)").to_owned();
        let _ = writeln!(
            self.0,
            "{name}:{}\n  kept {}\n  made {}",
            same + 1,
            line(&kept),
            line(&made)
        );
    }

    /// Fails if there are any.
    pub(crate) fn none(self) {
        assert!(
            self.0.is_empty(),
            "not as it was. If that is meant, CHANGELOG.md says so, and ROLLBENCH_BLESS=1 writes it anew:\n{}",
            self.0
        );
    }
}
