//! A record as a file: read, written whole, set aside.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::atomic::{create_private_dir, sync_dir, write_atomic};
use super::layout;
use super::regular::read_regular;
use super::{CellRecord, SCHEMA};
use crate::error::PathError;

/// Why a record could not be had.
pub(super) enum Unread {
    Missing,
    Io(io::Error),
    Damaged(String),
}

pub(super) fn read_record(path: &Path) -> Result<CellRecord, Unread> {
    let bytes = read_regular(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unread::Missing,
        _ => Unread::Io(error),
    })?;
    let record: CellRecord =
        serde_json::from_slice(&bytes).map_err(|error| Unread::Damaged(error.to_string()))?;
    if record.schema == SCHEMA {
        Ok(record)
    } else {
        Err(Unread::Damaged(format!("schema {}", record.schema)))
    }
}

pub(super) fn write_record(path: &Path, record: &CellRecord) -> Result<(), PathError> {
    write_atomic(path, |file| {
        serde_json::to_writer(&mut *file, record)?;
        file.write_all(b"\n")
    })
}

/// Moves an earlier record, and the files beside it that it names, to where nothing writes.
pub(super) fn set_aside(
    results: &Path,
    path: &Path,
    record: Option<&CellRecord>,
) -> Result<(), PathError> {
    let dir = match record {
        Some(record) => layout::previous_dir(results, record.session.started),
        None => results.join(layout::PREVIOUS).join("unreadable"),
    };
    let starts = || record.into_iter().flat_map(|r| &r.starts);
    let digests = starts().filter_map(|s| s.profile.as_ref()?.digest.as_ref());
    let sidecars = starts()
        .flat_map(|s| &s.steps)
        .filter_map(|s| s.detail.as_ref())
        .chain(digests)
        .map(|sidecar| results.join(&sidecar.file));
    move_aside(results, &dir, sidecars.chain([path.to_owned()]))
}

/// Moves those of `files` that lie in the results folder itself to `dir`, where nothing writes. A record may name any
/// file: no other one is touched.
pub(super) fn move_aside(
    results: &Path,
    dir: &Path,
    files: impl IntoIterator<Item = PathBuf>,
) -> Result<(), PathError> {
    let own = |file: &PathBuf| file.parent() == Some(results) && file.exists();
    for file in files.into_iter().filter(own) {
        let target = free_name(dir, &file);
        if let Some(parent) = target.parent() {
            create_private_dir(parent)?;
        }
        fs::rename(&file, target).map_err(PathError::on("set aside", &file))?;
    }
    sync_dir(&results.join(layout::PREVIOUS))?;
    sync_dir(results)
}

/// `DIR/NAME`, or `DIR.2/NAME` and so on if that is taken.
pub(super) fn free_name(dir: &Path, file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default();
    let mut target = dir.join(name);
    let mut number = 2;
    while target.symlink_metadata().is_ok() {
        let mut numbered = dir.as_os_str().to_owned();
        numbered.push(format!(".{number}"));
        target = Path::new(&numbered).join(name);
        number += 1;
    }
    target
}
