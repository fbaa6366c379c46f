//! What verl does with its rollout, and its run scripts and configurations read as a configuration of rollbench.

mod arguments;
mod arithmetic;
mod import;
mod model;
mod references;
mod rest;
mod script;
mod settings;
mod toml;
mod workload;
mod yaml;

pub(crate) use import::{ImportError, import};

/// What the rollout's settings begin with.
const ROLLOUT: &str = "actor_rollout_ref.rollout.";

/// One setting as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Dotted, without Hydra's `+` and `++`.
    key: String,
    /// Without quotes, variables put in.
    value: String,
    /// Counted from 1.
    line: usize,
}

/// A setting whose value rests on something that the file does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unknown {
    /// As it was written.
    entry: Entry,
    /// Why its value is not known.
    why: String,
}

/// A document's settings, and the places that could not be read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    entries: Vec<Entry>,
    /// `line 12: ...`.
    not_understood: Vec<String>,
    /// Settings whose value could not be followed, as they were written: a default would be a guess.
    unknown: Vec<Unknown>,
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Entry { key, value, line } = &self.entry;
        write!(f, "line {line}: {key}={value}: {}", self.why)
    }
}
