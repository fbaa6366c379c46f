//! The last file that is written into a finished folder, and the proof that it is one.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::PathError;
use crate::units::Bytes;

const FILE: &str = "rollbench.json";
const SCHEMA: &str = "rollbench.made/1";

/// How a folder was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    schema: String,
    made_by: String,
    made: Timestamp,
    /// Packages and recipe, pinned.
    pub(crate) from: Vec<String>,
    /// Of all its files.
    pub(crate) bytes: Bytes,
}

impl Stamp {
    /// Of the folder as it is now.
    pub(crate) fn of(dir: &Path, from: &[&str]) -> Result<Self, PathError> {
        Ok(Self {
            schema: SCHEMA.to_owned(),
            made_by: concat!("rollbench ", env!("CARGO_PKG_VERSION")).to_owned(),
            made: Timestamp::now(),
            from: from.iter().map(ToString::to_string).collect(),
            bytes: Bytes(tree_bytes(dir).map_err(PathError::on("read", dir))?),
        })
    }

    /// Written beside, synced, renamed: it is there whole or not at all, after a power failure too.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), PathError> {
        let beside = dir.join(".rollbench.json.new");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&beside)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&beside, dir.join(FILE))?;
            File::open(dir)?.sync_all()
        };
        write().map_err(PathError::on("write", dir.join(FILE)))
    }

    /// Absent if the folder is unfinished (or not ours).
    pub(crate) fn read(dir: &Path) -> Option<Self> {
        let text = fs::read(dir.join(FILE)).ok()?;
        serde_json::from_slice::<Self>(&text)
            .ok()
            .filter(|stamp| stamp.schema == SCHEMA)
    }
}

/// Syncs every file of a (flat) checkpoint, so that the stamp cannot outlive what it vouches for.
pub(crate) fn sync_files(dir: &Path) -> Result<(), PathError> {
    let sync = || -> std::io::Result<()> {
        for entry in fs::read_dir(dir)? {
            File::open(entry?.path())?.sync_all()?;
        }
        Ok(())
    };
    sync().map_err(PathError::on("sync", dir))
}

fn tree_bytes(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() {
            tree_bytes(&entry.path())?
        } else {
            meta.len()
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_finished_once_it_is_stamped() {
        let dir = tempfile::tempdir().expect("temporary");
        fs::create_dir(dir.path().join("sub")).expect("made");
        fs::write(dir.path().join("sub/file"), b"12345").expect("written");
        assert_eq!(Stamp::read(dir.path()), None);
        let stamp = Stamp::of(dir.path(), &["a==1"]).expect("readable");
        stamp.write(dir.path()).expect("writable");
        assert_eq!(Stamp::read(dir.path()), Some(stamp.clone()));
        assert_eq!(stamp.bytes, Bytes(5));
    }

    #[test]
    fn a_torn_or_foreign_stamp_is_none() {
        let dir = tempfile::tempdir().expect("temporary");
        for text in ["", "{\"schema\":\"rollbench.ma", "{\"schema\":\"other/1\"}"] {
            fs::write(dir.path().join(FILE), text).expect("written");
            assert_eq!(Stamp::read(dir.path()), None);
        }
    }
}
