//! One file per subcommand: resolved values in, an exit code or a failure with hints out. Knows nothing of clap.

pub(crate) mod clean;
mod common;
pub(crate) mod compare;
pub(crate) mod diagnostic;
mod failures;
pub(crate) mod fidelity;
pub(crate) mod import_verl;
pub(crate) mod lengths;
pub(crate) mod load;
mod measure;
pub(crate) mod ops;
pub(crate) mod plan;
pub(crate) mod predict;
pub(crate) mod profile;
pub(crate) mod run;
pub(crate) mod setup;
pub(crate) mod summarize;
