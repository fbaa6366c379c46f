//! What rollbench makes for a machine without an engine of its own: a Python environment with vLLM for CPU, and the
//! checkpoints of a small real model in four precisions, in the user's cache directory.
//!
//! A finished folder carries a stamp, written last. What has none is made anew, so nothing half done is ever used.

mod checkpoints;
mod child;
mod disk;
mod engine;
mod ensure;
mod error;
mod installer;
mod lock;
mod paths;
mod python;
mod show;
mod stamp;
mod status;

pub(crate) use ensure::{SetupEvent, ensure};
pub(crate) use error::SetupError;
pub(crate) use paths::{DemoCheckpoint, Paths, checkpoint_dir};
pub(crate) use show::Show;
#[cfg(test)]
pub(crate) use status::Part;
pub(crate) use status::{State, Status, status};
