//! From TOML, environment and flags to [`Settings`]: file < environment < flag, each value with its origin,
//! every mistake reported at once with the line it stands on. Knows nothing of engines or processes.

mod settings;

pub use settings::{
    CellSettings, CheckpointRef, FanOut, Limits, Matrix, MatrixSource, ModelSettings, Origin,
    PrecisionSettings, Python, RunSettings, Settings, Sourced,
};
