//! What will be run: cells, skips with their reasons, blocks and their order. Starts no process.

mod decided;
mod error;
mod estimate;
mod fidelity;
mod fingerprint;
mod json;
mod make;
mod notes;
mod order;
mod text;

#[cfg(test)]
mod tests;

pub(crate) use decided::{Plan, PlannedCell, Turn};
pub(crate) use error::{PlanError, PlanErrors};
pub(crate) use fingerprint::of as fingerprint;
pub(crate) use json::to_json;
pub(crate) use make::{Cached, make};
pub(crate) use text::to_text;
