//! What a checkpoint really is, read from its files and never from its name: number format, size, vocabulary,
//! limits. Knows nothing of engines.

mod format;
mod inspect;
mod location;
mod tokens;

pub use format::{Format, NumberKind, Scheme};
pub use inspect::{Checkpoint, CheckpointError, inspect};
pub use location::{HubCache, Location};
pub use tokens::common_vocabulary;
