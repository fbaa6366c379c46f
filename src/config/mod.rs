//! From TOML, environment and flags to [`Settings`]: file < environment < flag, each value with its origin,
//! every mistake reported at once with the line it stands on. Knows nothing of engines or processes.

mod cells;
mod context;
pub(crate) mod declared;
mod diagnostic;
mod document;
mod expand;
mod fidelity;
mod flags;
mod layer;
mod like_verl;
mod load;
mod online;
mod pacing;
mod raw;
mod ray;
mod reference;
mod request;
mod run;
mod schema;
mod select;
mod setting;
mod settings;
mod shape_only;
mod shapes;
mod source;
mod values;
mod walk;
mod workload;

#[cfg(test)]
mod tests;

pub(crate) use diagnostic::ConfigErrors;
pub(crate) use fidelity::FidelitySettings;
pub(crate) use flags::{BatchFlags, Given, LoadFlags, MatrixFlags};

pub(crate) use load::load;
pub(crate) use online::{LoadSettings, load_flags};
pub(crate) use pacing::LoadPoint;
pub(crate) use reference::reference;
pub(crate) use request::LoadRequest;
pub(crate) use schema::json_schema;
pub(crate) use setting::Setting;
pub(crate) use settings::{
    CellSettings, CheckpointRef, Matrix, MatrixSource, ModelSettings, OnlineSettings, Origin,
    PrecisionSettings, ProfileSettings, Python, RunSettings, Settings, Sourced, Start, StepPlace,
};
pub use settings::{FanOut, Limits};
pub(crate) use workload::changed;
