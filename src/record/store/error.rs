//! Why the store refuses, and what can be done about it.

use std::path::PathBuf;

use crate::error::PathError;
use crate::record::{Change, LockHolder};
use crate::units::CellId;

/// Why the store refuses.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder cannot be used.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Another rollbench is at work there.
    #[error("another rollbench uses {}{}", results.display(), describe(holder.as_ref()))]
    Busy {
        /// The results folder.
        results: PathBuf,
        /// Who it is; absent if the lock does not say.
        holder: Option<LockHolder>,
    },
    /// `resume` would put numbers side by side that were not measured alike.
    #[error("{cell} cannot be resumed: {}", list(changes))]
    Changed {
        /// The cell.
        cell: CellId,
        /// What differs.
        changes: Vec<Change>,
    },
    /// The engine that is ready is not the one of the cell's complete engine starts.
    #[error("{cell} cannot be resumed: {}", list(changes))]
    OtherEngine {
        /// The cell.
        cell: CellId,
        /// What differs.
        changes: Vec<Change>,
    },
    /// The record on the disk cannot be gone on with.
    #[error("{} cannot be resumed: {reason}", path.display())]
    Unreadable {
        /// The record.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The caller names a cell or an engine start that was not announced: a defect of rollbench.
    #[error("the store does not know {0}")]
    Unknown(String),
}

impl StoreError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Path(_) => Some("choose another folder with --out DIR".to_owned()),
            Self::Busy { .. } => {
                Some("wait until it has ended, or choose another folder with --out DIR".to_owned())
            }
            Self::Changed { .. } => Some(
                "--resume=force measures the cell anew and keeps the earlier record under previous/"
                    .to_owned(),
            ),
            Self::OtherEngine { .. } => Some(
                "use the engine of before, or measure everything anew without --resume (earlier records are kept under previous/)"
                    .to_owned(),
            ),
            Self::Unreadable { .. } => Some(
                "--resume=force measures the cell anew and keeps the file under previous/"
                    .to_owned(),
            ),
            Self::Unknown(_) => None,
        }
    }
}

fn list(changes: &[Change]) -> String {
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    changes.join("; ")
}

fn describe(holder: Option<&LockHolder>) -> String {
    holder.map_or_else(String::new, |h| {
        format!(" (pid {} on {}, since {})", h.pid, h.host, h.since)
    })
}
