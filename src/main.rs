//! The binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let first = std::env::args_os().nth(1);
    match first.as_ref().and_then(|first| first.to_str()) {
        // The guard is this same binary. It must stay small and single-threaded, so it parts ways before anything else.
        Some("__guard") => rollbench::process::guard_main(),
        Some("__supervise") => rollbench::process::supervise_main(),
        _ => rollbench::main(),
    }
}
