//! One summary, several formats. Everything is computed from records by `stats`; nothing here measures, and nothing
//! here knows how a number was measured.

mod across;
mod csv;
mod derive;
mod document;
mod figures;
mod json;
mod markdown;
mod measured_on;
mod model;
mod prediction;
mod sets;
mod summary;
#[cfg(test)]
mod tests;
mod text;
mod verl;
mod write;

pub use derive::{Derived, derive};
pub use model::{
    CalibrationRow, CellRow, Comparison, Environment, FailureRow, GeometricMeanRow, ImportedRow,
    LeakRow, Note, Outcome, SessionRow, Summary, TrainingStepRow, WorkloadRow,
};
pub use prediction::{PredictedRow, Prediction, render_prediction};
pub use sets::render_sets;
pub use write::{FILES, Format, read, render, write_all};
