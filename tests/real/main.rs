//! The real binary on a real vLLM: the managed engine for CPU and the demo checkpoints, made ready by rollbench itself.
//!
//! Nothing is skipped: a machine on which the engine cannot be had fails here, loudly. One test at a time, since each
//! wants the whole machine.

mod offline;
mod online;
mod profile;
mod supervision;
mod support;
