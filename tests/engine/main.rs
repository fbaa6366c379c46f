//! The offline engine with its real driver, guard and pipes, on the fake vLLM of `tests/fakes`.

mod bench;
mod failures;
mod server;
mod steps;
mod stop;
mod warm;

#[allow(dead_code)]
#[path = "../support/processes.rs"]
mod processes;
