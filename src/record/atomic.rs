//! Files that are either the old ones or the new ones, whatever happens in between.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::PathError;

/// Writes `path` through a temporary file beside it: write, sync, rename, sync of the folder. Mode 0600.
///
/// After an error the earlier file is as it was and the temporary one is gone.
pub(crate) fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), PathError> {
    let temporary = temporary_name(path);
    let result = write_synced(&temporary, write)
        .map_err(PathError::on("write", path))
        .and_then(|()| fs::rename(&temporary, path).map_err(PathError::on("replace", path)));
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
        return result;
    }
    match path.parent() {
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

fn write_synced(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    let mut buffer = BufWriter::with_capacity(1 << 16, file);
    write(&mut buffer)?;
    buffer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()
}

/// `.NAME.PID.tmp` beside `path`: two writers do not meet, and what a killed one left can be told.
fn temporary_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

/// Removes the temporary files of writers that are gone.
pub(crate) fn remove_stale_temporaries(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let stale = name
            .to_str()
            .and_then(|name| name.strip_prefix('.')?.strip_suffix(".tmp"))
            .and_then(|name| name.rsplit_once('.')?.1.parse::<u32>().ok())
            .is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists());
        if stale {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Creates `dir` and what is missing above it, mode 0700.
pub(crate) fn create_private_dir(dir: &Path) -> Result<(), PathError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(PathError::on("create", dir))
}

/// Makes renames and creations in `dir` last.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), PathError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(PathError::on("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, |w| w.write_all(b"old")).unwrap();
        let error = write_atomic(&path, |w| {
            w.write_all(b"ne")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        })
        .unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_and_folders_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        create_private_dir(&below).unwrap();
        let path = below.join("f");
        write_atomic(&path, |w| w.write_all(b"x")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&below), 0o700);
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn only_the_temporaries_of_the_dead_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let ours = dir
            .path()
            .join(format!(".a.json.{}.tmp", std::process::id()));
        let theirs = dir.path().join(".a.json.4194305.tmp"); // beyond the largest pid there can be
        let other = dir.path().join(".keep.tmp");
        for path in [&ours, &theirs, &other] {
            fs::write(path, b"").unwrap();
        }
        remove_stale_temporaries(dir.path());
        assert!(ours.exists() && other.exists() && !theirs.exists());
    }
}
