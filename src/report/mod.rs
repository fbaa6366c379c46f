//! One summary, several formats. Everything is computed from records by `stats`; nothing here measures, and nothing
//! here knows how a number was measured.

mod across;
mod again;
mod csv;
mod derive;
mod document;
mod drawn;
mod fidelity;
mod fidelity_words;
mod figures;
mod html;
mod imported;
mod json;
mod markdown;
mod measured_on;
mod model;
mod ops;
mod paced;
mod prediction;
mod profile;
mod sets;
mod summary;
#[cfg(test)]
mod tests;
mod text;
mod unlike;
mod verl;
mod write;

pub(crate) use again::resumed;
pub(crate) use fidelity::{FidelityRow, read_rows as fidelity_rows};
pub(crate) use fidelity_words::render_trainer;
pub use html::Language;
pub(crate) use model::Summary;
pub(crate) use ops::{OpsReport, OpsRow, render_ops};
pub(crate) use prediction::{PredictedRow, Prediction, render_prediction};
pub(crate) use profile::{ProfileReport, render_profile};
pub(crate) use sets::render_sets;
pub use write::{Format, read, render};
pub(crate) use write::{PAGE, Written, write_all, write_page, write_pictures};
