//! A folder of programs that only note how they were called.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::with_home;
use crate::verl::shell::{Call, Field, Value};

/// Programs that answer by themselves, where they are given nothing that is not known.
const REAL: [&str; 18] = [
    "basename", "cat", "cut", "date", "dirname", "expr", "grep", "head", "nproc", "readlink",
    "realpath", "sed", "seq", "sort", "tail", "tr", "uname", "wc",
];

/// Programs that scripts ask for, also where this machine has none of them.
const ALWAYS: [&str; 8] = [
    "python",
    "python3",
    "torchrun",
    "ray",
    "accelerate",
    "uv",
    "nvidia-smi",
    "kill",
];

/// The recorders, in a temporary folder that goes with them.
pub(super) struct Recorders {
    folder: TempDir,
    bash: PathBuf,
    /// Begins what a recorder answers: nothing that arithmetic takes for a name.
    mark: String,
    real: Vec<PathBuf>,
}

impl Recorders {
    /// For what stands in the script `text`; the shell calls a recorder also for what it does not find.
    pub(super) fn create(text: &str) -> io::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("rollbench-trace-")
            .tempdir()?;
        let search = std::env::var_os("PATH").unwrap_or_default();
        let search: Vec<PathBuf> = std::env::split_paths(&search).collect();
        let find = |name: &str| {
            let found = search
                .iter()
                .map(|folder| folder.join(name))
                .find(|file| file.is_file());
            found.and_then(|file| file.canonicalize().ok())
        };
        let bash = find("bash").ok_or_else(|| io::Error::other("bash is not installed"))?;
        let mark = format!("@rb{:08x}:", rand::random::<u32>());
        let mut recorders = Self {
            folder,
            bash,
            mark,
            real: Vec::new(),
        };
        for folder in [
            recorders.programs(),
            recorders.records(),
            recorders.scratch(),
            recorders.reals(),
        ] {
            fs::create_dir(folder)?;
        }
        recorders.write_scripts()?;
        let part = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+'));
        let said: BTreeSet<&str> = text.split(part).collect();
        let always = ALWAYS.into_iter().chain(REAL).chain(["bash", "sh"]);
        let mut names: BTreeSet<String> = always.map(str::to_owned).collect();
        for folder in &search {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let found = entries.filter_map(|entry| entry.file_name().into_string().ok());
            names.extend(found.filter(|name| said.contains(name.as_str())));
        }
        for name in names {
            let link = recorders.programs().join(&name);
            if matches!(name.as_str(), "bash" | "sh") {
                symlink(&recorders.bash, link)?;
            } else if let Some(file) = REAL.contains(&name.as_str()).then(|| find(&name)).flatten()
            {
                symlink(&file, recorders.reals().join(&name))?;
                symlink(recorders.file("filter"), link)?;
                recorders.real.push(file);
            } else {
                symlink(recorders.file("recorder"), link)?;
            }
        }
        Ok(recorders)
    }

    fn write_scripts(&self) -> io::Result<()> {
        let values = [
            ("BASH", self.bash.display().to_string()),
            ("MARK", self.mark.clone()),
            ("RECORDS", self.records().display().to_string()),
            ("REALS", self.reals().display().to_string()),
            ("RECORDER", self.file("recorder").display().to_string()),
        ];
        for (name, template) in [
            ("recorder", include_str!("recorder.sh")),
            ("filter", include_str!("filter.sh")),
            ("setup", include_str!("setup.sh")),
        ] {
            let mut text = template.to_owned();
            for (key, value) in &values {
                text = text.replace(&format!("@{key}@"), value);
            }
            fs::write(self.file(name), text)?;
            fs::set_permissions(self.file(name), fs::Permissions::from_mode(0o700))?;
        }
        Ok(())
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub(super) fn bash(&self) -> &Path {
        &self.bash
    }

    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// Read by every bash before its script.
    pub(super) fn setup(&self) -> PathBuf {
        self.file("setup")
    }

    pub(super) fn programs(&self) -> PathBuf {
        self.file("bin")
    }

    pub(super) fn records(&self) -> PathBuf {
        self.file("records")
    }

    /// For here-documents.
    pub(super) fn scratch(&self) -> PathBuf {
        self.file("tmp")
    }

    fn reals(&self) -> PathBuf {
        self.file("real")
    }

    /// All files that may be executed.
    pub(super) fn executed(&self) -> Vec<PathBuf> {
        let own = [
            self.bash.clone(),
            self.file("recorder"),
            self.file("filter"),
        ];
        own.into_iter().chain(self.real.iter().cloned()).collect()
    }

    /// What was called, in order.
    pub(super) fn calls(&self) -> io::Result<Vec<Call>> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.records())?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()?;
        // Their names begin with the time.
        files.sort();
        let home = std::env::var("HOME").ok();
        let mut calls = Vec::new();
        for file in files {
            let bytes = fs::read(file)?;
            let text = String::from_utf8_lossy(&bytes);
            let words = text.strip_suffix('\0').unwrap_or(&text).split('\0');
            let words = words.map(|word| Field {
                value: self.value(word, home.as_deref()),
                line: 0,
            });
            calls.push(Call {
                words: words.collect(),
                line: 0,
            });
        }
        Ok(calls)
    }

    /// A word in which the answers of recorders are not known; with only a piece of such an answer, none of it is.
    fn value(&self, word: &str, home: Option<&str>) -> Value {
        let mut value = Value::default();
        let mut rest = word;
        while let Some((before, after)) = rest.split_once(&self.mark) {
            let Some((name, after)) = after.split_once('@') else {
                break;
            };
            value.extend(with_home(before, home));
            value.extend(Value::unknown(format!("$({name} ...)")));
            rest = after;
        }
        let piece = self.mark.trim_matches(['@', ':']);
        if rest.contains(piece) {
            return match word.split_once('=') {
                Some((key, _)) if !key.contains(piece) => {
                    let mut value = Value::text(format!("{key}="));
                    value.extend(Value::unknown("$(...)"));
                    value
                }
                _ => Value::unknown("$(...)"),
            };
        }
        value.extend(with_home(rest, home));
        value
    }

    /// A line for people, with the recorders' answers as what asked for them.
    pub(super) fn readable(&self, line: &str) -> String {
        self.value(line, None).to_string()
    }
}
