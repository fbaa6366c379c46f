//! Checkpoints without weights, for speed alone: a known architecture (or the config of a folder), and the description of
//! a quantization that it would have. Speed depends on shapes, not on values.

mod describe;
mod known;
mod made;
mod scheme;

pub(crate) use known::{Known, known_names};
pub(crate) use made::{Shape, ShapeError, is_path};
pub(crate) use scheme::{PRECISIONS, ShapeScheme};
