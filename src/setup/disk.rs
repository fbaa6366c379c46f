//! Is there room?

use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::error::PathError;
use crate::units::Bytes;

use super::SetupError;

/// Fails unless `needed` bytes are free for this user where `dir` is or will be.
pub(crate) fn check(what: &str, dir: &Path, needed: Bytes) -> Result<(), SetupError> {
    let there = dir
        .ancestors()
        .find(|ancestor| ancestor.exists())
        .unwrap_or(dir);
    let stat = statvfs(there)
        .map_err(std::io::Error::from)
        .map_err(PathError::on("ask for the free space of", there))?;
    // The types differ between platforms.
    #[allow(clippy::useless_conversion)]
    let free = Bytes(u64::from(stat.blocks_available()) * u64::from(stat.fragment_size()));
    if free.0 >= needed.0 {
        return Ok(());
    }
    Err(SetupError::Disk {
        what: what.to_owned(),
        dir: dir.to_owned(),
        free,
        needed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_says_how_much_there_is_and_must_be() {
        let dir = tempfile::tempdir().expect("temporary");
        let deep = dir.path().join("not/there/yet");
        check("nothing", &deep, Bytes(0)).expect("room for nothing");
        let error = check("everything", &deep, Bytes(u64::MAX)).expect_err("no such disk");
        let SetupError::Disk { free, needed, .. } = error else {
            panic!("{error}")
        };
        assert!(free.0 > 0 && needed.0 == u64::MAX);
    }
}
