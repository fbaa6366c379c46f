//! A server that streams what vLLM would, on an absolute schedule, misbehaves on request, and keeps the truth about
//! when it wrote what. For tests and benchmarks of the load client only.
//!
//! The beginning of the path says how to behave: `/ttft=50,itl=20,fault=stall,at=3/v1/completions`; see `Scenario`.
//! `GET /truth` tells everything since the last time it was asked.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers of a scenario are small and positive"
)]

mod connection;
mod scenario;
mod server;
mod stream;
pub(crate) mod truth;

pub(crate) use server::Server;
