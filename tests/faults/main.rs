//! Whatever dies, nothing that rollbench started outlives it and nothing else is touched: real processes throughout.
//!
//! `ROLLBENCH_SOAK=1 cargo test --test faults -- --nocapture` runs each scenario many times.

mod guard;
mod rig;
mod scenarios;

/// A process that has used a guard is a subreaper: what one test orphans would fall to another's. So one at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
