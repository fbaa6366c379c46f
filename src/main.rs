//! The binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    rollbench::run(std::env::args_os())
}
