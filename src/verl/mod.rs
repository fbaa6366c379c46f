//! What verl does with its rollout, and its run scripts and configurations read as a configuration of rollbench.

mod arguments;
mod defaults;
mod hydra;
mod import;
mod model;
mod printed;
mod references;
mod rest;
mod script;
mod settings;
mod shell;
mod timings;
mod toml;
mod trace;
pub(crate) mod trainer;
mod workload;
mod yaml;

pub(crate) use defaults::engine_defaults;
pub(crate) use import::{ImportError, Source, import, import_composed, import_traced};
pub(crate) use timings::step_time;
pub(crate) use trace::TraceError;

/// What the rollout's settings begin with.
const ROLLOUT: &str = "actor_rollout_ref.rollout.";

/// One setting as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entry {
    /// Dotted, without Hydra's `+` and `++`.
    key: String,
    /// Without quotes, variables put in.
    value: String,
    /// Counted from 1; 0 where it is on no line of its own.
    line: usize,
    /// What it is on other branches of the script, as a person would read it.
    others: Vec<String>,
    state: State,
}

/// What is known of a setting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum State {
    #[default]
    Known,
    /// Its value rests on something that the file does not say: this.
    Unknown(String),
    /// It is said only on branches that a caller who sets nothing does not take.
    Elsewhere,
}

/// A document's settings, and the places that could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Read {
    entries: Vec<Entry>,
    /// `line 12: ...`.
    not_understood: Vec<String>,
    /// Trainers of verl's that make no closed batch, by their configuration or program.
    streams: bool,
    /// For a configuration that Hydra composed: the keys that somebody set. The rest are defaults of that verl.
    overridden: Option<Vec<String>>,
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            key,
            value,
            line,
            others,
            state,
        } = self;
        write!(f, "line {line}: {key}={value}")?;
        for other in others {
            write!(f, " or {other}")?;
        }
        match state {
            State::Known => Ok(()),
            State::Unknown(why) => write!(f, ": {why}"),
            State::Elsewhere => write!(f, ": on some branches only"),
        }
    }
}
