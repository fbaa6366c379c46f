//! The load client against a server that keeps the truth about what it did.

mod command;
mod faults;
mod mock;
mod schedule;
mod support;
mod times;
