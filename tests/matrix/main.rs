//! Whole matrices through the real binary: real processes, real kills, real files; only the vLLM is a stand-in.
//!
//! `ROLLBENCH_SOAK=1 cargo test --test matrix -- --nocapture` kills rollbench at many more instants.

mod disk;
mod failures;
mod faulty;
mod kills;
mod online;
#[path = "../support/processes.rs"]
mod processes;
mod profile;
mod records;
mod resume;
mod secrets;
mod signals;
#[path = "../support/table.rs"]
mod table;
mod terminal;
#[path = "../support/trace.rs"]
mod trace;
mod until;
mod world;

/// Whether to loop for long.
fn soak() -> bool {
    std::env::var_os("ROLLBENCH_SOAK").is_some()
}
