//! Which configuration is read: `--config`, else `ROLLBENCH_CONFIG`, else `./rollbench.toml`, else that of a parent
//! folder, else the embedded matrix for the accelerator found.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::declared::CONFIG;
use super::diagnostic::{Diagnostics, nearest};
use super::document::{Document, Name};
use super::{LoadRequest, MatrixSource};
use crate::device::Platform;

/// The matrices embedded in the binary, by name.
pub(crate) const BUILT_IN: [(&str, &str); 3] = [
    ("ascend", include_str!("../../configs/ascend.toml")),
    ("nvidia", include_str!("../../configs/nvidia.toml")),
    ("cpu", include_str!("../../configs/cpu.toml")),
];

const PLATFORM: &str = "flag --platform";

/// The file that is found without being named.
const FOUND: &str = "rollbench.toml";

/// The document to read and why that one; absent (with a diagnostic) if it cannot be read. With `--shapes` another
/// matrix stands behind it.
pub(crate) fn choose(
    request: &LoadRequest,
    found: &mut Diagnostics,
) -> Option<(Document, MatrixSource)> {
    let (mut document, source) = chosen(request, found)?;
    super::shape_only::append(request, &mut document, found);
    Some((document, source))
}

fn chosen(request: &LoadRequest, found: &mut Diagnostics) -> Option<(Document, MatrixSource)> {
    if let [named] = request.flags.texts(&CONFIG.declaration) {
        return named_source(request, named, "--config", "flag --config", found);
    }
    if let Some(named) = request.var("ROLLBENCH_CONFIG") {
        return named_source(
            request,
            named,
            "ROLLBENCH_CONFIG",
            "env ROLLBENCH_CONFIG",
            found,
        );
    }
    if request.cwd.join(FOUND).exists() {
        return file(
            request,
            Path::new(FOUND),
            "found in the current directory",
            found,
        );
    }
    if let Some(above) = found_above(request) {
        return file(request, &above, "found in a parent folder", found);
    }
    let (name, why) = match request.platform {
        Platform::Npu if request.elsewhere => ("ascend", PLATFORM),
        Platform::Cuda if request.elsewhere => ("nvidia", PLATFORM),
        Platform::Cpu if request.elsewhere => ("cpu", PLATFORM),
        Platform::Npu => ("ascend", "Ascend NPU found"),
        Platform::Cuda => ("nvidia", "NVIDIA GPU found"),
        Platform::Cpu => ("cpu", "no accelerator found"),
    };
    built_in(name, why)
}

/// The nearest file in a parent folder, up to the one that holds `.git` and that is `HOME`. It names a Python to run, so
/// neither it nor a folder on the way may be another user's.
fn found_above(request: &LoadRequest) -> Option<PathBuf> {
    let me = nix::unistd::Uid::effective().as_raw();
    let mine = |path: &Path| std::fs::metadata(path).is_ok_and(|facts| facts.uid() == me);
    let home = request.var("HOME").map(Path::new);
    let is_last = |folder: &Path| folder.join(".git").exists() || Some(folder) == home;
    let mut folder = request.cwd.as_path();
    while !is_last(folder) {
        folder = folder.parent().filter(|parent| mine(parent))?;
        let file = folder.join(FOUND);
        if file.is_file() && mine(&file) {
            return Some(file);
        }
    }
    None
}

fn named_source(
    request: &LoadRequest,
    named: &str,
    from: &str,
    why: &str,
    found: &mut Diagnostics,
) -> Option<(Document, MatrixSource)> {
    if let Some(source) = built_in(named, why) {
        return Some(source);
    }
    let path = Path::new(named);
    if request.cwd.join(path).exists() {
        return file(request, path, why, found);
    }
    let mistake = found.plain(format!("{from}: there is no file `{named}`"));
    match nearest(named, BUILT_IN.map(|(name, _)| name)) {
        Some(near) => mistake.help(format!("did you mean the built-in matrix `{near}`?")),
        None => mistake.help("the built-in matrices are `ascend`, `nvidia` and `cpu`"),
    };
    None
}

fn built_in(name: &str, why: &str) -> Option<(Document, MatrixSource)> {
    let (name, text) = BUILT_IN.into_iter().find(|(known, _)| *known == name)?;
    let document = Document {
        name: Name::BuiltIn(name),
        text: text.to_owned(),
        made: None,
    };
    let source = MatrixSource::BuiltIn {
        name: name.to_owned(),
        why: why.to_owned(),
    };
    Some((document, source))
}

fn file(
    request: &LoadRequest,
    path: &Path,
    why: &str,
    found: &mut Diagnostics,
) -> Option<(Document, MatrixSource)> {
    let bytes = match std::fs::read(request.cwd.join(path)) {
        Ok(bytes) => bytes,
        Err(error) => {
            found.plain(format!("cannot read {}: {error}", path.display()));
            return None;
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => Some((
            Document {
                name: Name::File(path.to_owned()),
                text,
                made: None,
            },
            MatrixSource::File {
                path: path.to_owned(),
                why: why.to_owned(),
            },
        )),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            found
                .plain(format!("{} is not UTF-8 text (byte {at})", path.display()))
                .help("TOML is UTF-8; save the file in that encoding");
            None
        }
    }
}
