//! What will be run: cells, skips with their reasons, blocks and their order. Starts no process.

mod decided;
mod error;
mod estimate;
mod fingerprint;
mod json;
mod make;
mod notes;
mod order;
mod text;

#[cfg(test)]
mod tests;

pub use decided::{Plan, PlannedCell, Turn};
pub use error::{PlanError, PlanErrors};
pub use estimate::{Basis, Estimate};
pub use json::to_json;
pub use make::make;
pub use text::{matrix_line, to_text};
