//! From TOML, environment and flags to [`Settings`]: file < environment < flag, each value with its origin,
//! every mistake reported at once with the line it stands on. Knows nothing of engines or processes.

mod cells;
mod diagnostic;
mod document;
mod expand;
mod layer;
mod like_verl;
mod load;
mod online;
mod pacing;
mod raw;
mod ray;
mod request;
mod scalars;
mod select;
mod settings;
mod source;
mod walk;
mod workload;

#[cfg(test)]
mod tests;

pub(crate) use diagnostic::ConfigErrors;
pub(crate) use load::load;
pub(crate) use online::OnlineFlags;
pub(crate) use pacing::LoadPoint;
pub(crate) use request::{LoadRequest, Overrides};
pub(crate) use settings::{
    CellSettings, CheckpointRef, Matrix, MatrixSource, ModelSettings, OnlineSettings, Origin,
    PrecisionSettings, Python, RunSettings, Settings, Sourced,
};
pub use settings::{FanOut, Limits};
