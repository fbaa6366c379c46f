//! One file per subcommand: resolved values in, an exit code or a failure with hints out. Knows nothing of clap.
pub(crate) mod clean;
pub mod plan;
pub mod setup;
