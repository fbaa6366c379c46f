//! Whole matrices through the real binary: real processes, real kills, real files; only the vLLM is a stand-in.
//!
//! `ROLLBENCH_SOAK=1 cargo test --test matrix -- --nocapture` kills rollbench at many more instants.

mod disk;
mod failures;
mod kills;
mod online;
#[path = "../support/processes.rs"]
mod processes;
mod records;
mod resume;
mod signals;
mod terminal;
mod until;
mod world;
