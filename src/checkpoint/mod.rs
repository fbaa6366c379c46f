//! What a checkpoint really is, read from its files and never from its name: number format, size, vocabulary,
//! limits. Knows nothing of engines.

mod format;
mod inspect;
mod location;
mod modelslim;
mod quantization;
mod tokens;

pub(crate) use format::{Format, NumberKind, Scheme};
pub(crate) use inspect::{Checkpoint, CheckpointError, inspect};
pub(crate) use location::{HubCache, Location};
pub(crate) use tokens::common_vocabulary;
