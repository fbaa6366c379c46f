//! Programs in `PATH`.

use std::ffi::OsStr;
use std::path::PathBuf;

/// The first file called `name` that can be executed, in the absolute folders of `path`: what stands in a relative one
/// depends on where rollbench was started. A `name` with a folder in it is looked at itself.
pub(crate) fn program(name: impl AsRef<OsStr>, path: &OsStr) -> Option<PathBuf> {
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    let folders = std::env::join_paths(folders).ok()?;
    which::which_in(name, Some(folders), "/").ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_executed_is_passed_over() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let mut folders = Vec::new();
        for (name, mode) in [("plain", 0o644), ("program", 0o755)] {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder).expect("made");
            let file = folder.join("tool");
            std::fs::write(&file, "#!/bin/sh\n").expect("written");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("set");
            folders.push(folder);
        }
        let path = std::env::join_paths(&folders).expect("joins");
        assert_eq!(program("tool", &path), Some(folders[1].join("tool")));
        assert_eq!(program(folders[0].join("tool"), &path), None);
        assert_eq!(program("tool", OsStr::new("relative")), None);
    }
}
