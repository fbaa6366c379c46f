//! The binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The guard is this same binary. It must stay small and single-threaded, so it parts ways before anything else.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == "__guard")
    {
        return rollbench::process::guard_main();
    }
    rollbench::main()
}
