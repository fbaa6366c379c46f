//! Profiles: a session of its own behind the measured steps of an engine start.

mod kept;
mod session;
mod taking;

pub(super) use session::Session;
pub(super) use taking::{ask, keep, take};
