//! rollbench answers, for people who train LLMs with reinforcement learning: does low-precision inference make my
//! rollout faster on this device, by how much, is the number real, and is it safe?
//!
//! Data flows one way: `cli` -> `config` -> `plan` -> `execute` -> events and `record` -> `stats` -> `report`.
//! `docs/architecture.md` is the map of the rooms.

pub mod cli;
pub mod clock;
pub mod config;
pub mod device;
pub mod engine;
pub mod error;
pub mod event;
pub mod load;
pub mod plan;
pub mod process;
pub mod progress;
pub mod record;
pub mod stats;
pub mod units;
pub mod workload;
