//! Profiles: traces of an engine, read at the speed of the disk and explained.

mod account;
mod align;
mod ascend;
mod chrome;
mod digest;
mod explain;
mod files;
mod interval;
mod number;
mod roles;
mod rules;
mod scan;
mod sentence;
mod steps;
mod testing;
mod trace;
mod window;

pub(crate) use digest::{Column, Digest, Table, batch};
pub(crate) use explain::{CategoryChange, Explanation, Measured, Verdict, explain};
pub(crate) use files::{Profiles, read};
pub(crate) use interval::{Estimate, mean, median_and_mad};
pub(crate) use roles::Role;
pub(crate) use rules::Rules;
pub(crate) use sentence::{points, words};
pub use testing::{digest_bytes, digest_file};
