//! One rollbench per results folder: an exclusive lock that the kernel drops with its holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::regular::open_regular;

/// Who holds a results folder, as written into its lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// Process id, on `host`.
    pub pid: u32,
    /// Host name.
    pub host: String,
    /// Since when.
    pub since: Timestamp,
    /// Its session.
    pub session: String,
}

/// The lock could not be taken.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Someone else has it; absent if the file does not say who.
    Held(Option<LockHolder>),
    Io(io::Error),
}

/// A held lock; dropping it (or dying) gives it back. The file stays: removing it would let two hold "the" lock.
#[derive(Debug)]
pub(crate) struct ResultsLock {
    path: PathBuf,
    file: File,
}

impl ResultsLock {
    pub(crate) fn acquire(journal: &Path, session: &str) -> Result<Self, LockError> {
        let path = journal.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(LockError::Io)?;
        let mut patience = 20;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                // `holder` takes the lock for an instant to see whether it is free; that must not refuse a run.
                Err(TryLockError::WouldBlock) if patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held(read_holder(&mut file)));
                }
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
            }
        }
        let holder = LockHolder {
            pid: std::process::id(),
            host: host_name(),
            since: Timestamp::now(),
            session: session.to_owned(),
        };
        // The lock is held by now; what the file says only serves the message that another one shows.
        let _ = file
            .set_len(0)
            .and_then(|()| file.write_all(&serde_json::to_vec(&holder)?));
        Ok(Self { path, file })
    }

    /// Whether the file that we locked is still the one in the folder.
    pub(crate) fn is_in_place(&self) -> bool {
        let ours = self.file.metadata().map(|m| (m.dev(), m.ino()));
        let there = std::fs::metadata(&self.path).map(|m| (m.dev(), m.ino()));
        matches!((ours, there), (Ok(a), Ok(b)) if a == b)
    }
}

/// Who holds the results folder of this journal folder; absent if nobody does or the file does not say.
pub(crate) fn holder(journal: &Path) -> Option<LockHolder> {
    let mut file = open_regular(&journal.join("lock")).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => read_holder(&mut file),
        _ => None,
    }
}

/// Far more than we write.
const LONGEST: u64 = 64 << 10;

fn read_holder(file: &mut File) -> Option<LockHolder> {
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn host_name() -> String {
    nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_told_who_holds_it_and_gets_it_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let first = ResultsLock::acquire(dir.path(), "s1").unwrap();
        assert!(first.is_in_place());
        match ResultsLock::acquire(dir.path(), "s2") {
            Err(LockError::Held(Some(holder))) => {
                assert_eq!(holder.pid, std::process::id());
                assert_eq!(holder.session, "s1");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(holder(dir.path()).unwrap().session, "s1");
        drop(first);
        assert_eq!(holder(dir.path()), None);
        ResultsLock::acquire(dir.path(), "s2").unwrap();
    }

    #[test]
    fn a_replaced_folder_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let lock = ResultsLock::acquire(dir.path(), "s").unwrap();
        std::fs::remove_file(dir.path().join("lock")).unwrap();
        assert!(!lock.is_in_place());
    }
}
