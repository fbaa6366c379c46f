//! What a run script would call, found without running it: bash as far as run scripts use it, over values of which a
//! part may not be known, and with every branch that the caller's environment decides.

mod arithmetic;
mod condition;
mod expand;
mod parameter;
mod pattern;
mod programs;
mod run;
mod simple;
mod value;
mod world;

pub(super) use run::evaluate;
pub(super) use value::{Part, Unknown, Value};
pub(super) use world::{Call, Field};
