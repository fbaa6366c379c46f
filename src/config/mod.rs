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

pub use diagnostic::{ConfigErrors, Diagnostic};
pub use load::load;
pub use online::OnlineFlags;
pub use pacing::LoadPoint;
pub use request::{LoadRequest, Overrides};
pub use settings::{
    CellSettings, CheckpointRef, FanOut, Limits, Matrix, MatrixSource, ModelSettings,
    OnlineSettings, Origin, PrecisionSettings, Python, RunSettings, Settings, Sourced,
};
pub use source::BUILT_IN;
