//! What a checkpoint really is, read from its files and never from its name: number format, size, vocabulary,
//! limits. Knows nothing of engines.

mod format;
mod groups;
mod inspect;
mod location;
mod modelslim;
mod quantization;
mod shape;
mod tokens;

pub(crate) use format::{Format, NumberKind, Scheme};
pub(crate) use inspect::{Checkpoint, CheckpointError, inspect};
pub(crate) use location::{HubCache, Location};
pub(crate) use shape::{Known, PRECISIONS, Shape, ShapeError, ShapeScheme, is_path, known_names};
pub(crate) use tokens::common_vocabulary;
