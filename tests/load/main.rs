//! The load client against a server that keeps the truth about what it did.

#[path = "mock/truth.rs"]
#[expect(
    dead_code,
    reason = "shared with the mock, which is a crate of its own"
)]
mod truth;

mod command;
mod faults;
mod schedule;
mod support;
mod times;
