//! The binary as a user meets it: arguments and environment in, output and exit code out.

mod config_errors;
mod diagnostic;
mod plan;
mod profile;
mod results;
mod setup;
mod site;
mod summarize;
mod workload;

#[path = "../support/trace.rs"]
mod trace;
