//! Whatever dies, nothing that rollbench started outlives it and nothing else is touched: real processes throughout.
//!
//! `ROLLBENCH_SOAK=1 cargo test --test faults -- --nocapture` runs each scenario many times;
//! `ROLLBENCH_SCENARIO=daemons` only those with that in their name.

mod guard;
#[path = "../support/processes.rs"]
mod processes;
mod rig;
mod scenarios;
#[path = "../support/table.rs"]
mod table;
mod teardown;

/// A process that has used a guard is a subreaper: what one test orphans would fall to another's. So one at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Whether to loop for long.
fn soak() -> bool {
    std::env::var_os("ROLLBENCH_SOAK").is_some()
}
