//! What verl does with its rollout, and its run scripts and configurations read as a configuration of rollbench.

mod arithmetic;
mod import;
mod script;
mod yaml;

pub use import::{ImportError, Imported, import};

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

/// A document's settings, and the places that could not be read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    entries: Vec<Entry>,
    /// `line 12: ...`.
    not_understood: Vec<String>,
    /// Keys whose value could not be followed, and where: they are said, and a default would be a guess.
    unknown: Vec<(String, usize)>,
}
