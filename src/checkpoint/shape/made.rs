//! The folder of a shape: what is in it follows from its source and its scheme alone.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::inspect::{Checkpoint, CheckpointError, Files, described, json};
use super::super::modelslim::DESCRIPTION;
use super::describe::description;
use super::{Known, ShapeScheme};
use crate::device::Platform;
use crate::error::PathError;
use crate::record::hex;

/// A checkpoint's folder without weights.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Its name in the cache: source, scheme, hash of the contents.
    pub folder: String,
    /// `config.json` first, then a description of `ModelSlim` where there is one.
    files: Vec<(&'static str, Vec<u8>)>,
}

/// Why there is no such shape.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShapeError {
    /// The folder that it is to be made of has no config.
    #[error(transparent)]
    Source(#[from] CheckpointError),
    /// On this platform rollbench cannot describe the scheme.
    #[error("rollbench writes ModelSlim descriptions of w8a8 and w8a16 alone")]
    Scheme,
}

/// Whether a text is a place in the file system and no name.
pub(crate) fn is_path(of: &str) -> bool {
    of.contains('/') || of == "." || of == ".."
}

impl Shape {
    /// The shape of a known architecture, or of the folder `of` (or its `config.json`), at `scheme`. On Ascend a
    /// quantization is described as `ModelSlim` does.
    ///
    /// # Errors
    /// If the folder cannot be read, or the scheme has no description on `platform`.
    pub(crate) fn of(
        of: &str,
        scheme: ShapeScheme,
        platform: Platform,
    ) -> Result<Self, ShapeError> {
        let mut config = config(of)?;
        let mut files = Vec::new();
        if let Some(fields) = config.as_object_mut() {
            fields.shift_remove("quantization_config");
            fields.shift_remove("compression_config");
        }
        if platform == Platform::Npu && scheme != ShapeScheme::Bf16 {
            let word = scheme.of_model_slim().ok_or(ShapeError::Scheme)?;
            files.push((DESCRIPTION, bytes(&description(&config, word))));
        } else if let Some(quantization) = scheme.quantization(&config) {
            config["quantization_config"] = quantization;
        }
        files.insert(0, ("config.json", bytes(&config)));
        let mut digest = Sha256::new();
        for (name, bytes) in &files {
            digest.update(format!("{name}\0{}\0", bytes.len()));
            digest.update(bytes);
        }
        let hash = hex(&digest.finalize());
        let source = Path::new(of).file_name().unwrap_or_default();
        Ok(Self {
            folder: format!(
                "{}-{}-{}",
                source.to_string_lossy(),
                scheme.name(),
                &hash[..8]
            ),
            files,
        })
    }

    /// What will be in the folder, read as if it were there.
    ///
    /// # Errors
    /// Never for a config that is JSON.
    pub(crate) fn checkpoint(
        &self,
        folder: &Path,
        shown: &str,
    ) -> Result<Checkpoint, CheckpointError> {
        let read = |name: &str| {
            let (_, bytes) = self.files.iter().find(|(file, _)| *file == name)?;
            Some((bytes.clone(), serde_json::from_slice(bytes).ok()?))
        };
        let files = Files::of_shape(read(DESCRIPTION).is_some());
        let absent = |name: &str| CheckpointError::NoConfig {
            folder: folder.join(name),
            gguf: false,
        };
        described(folder, shown, &files, &|name| {
            read(name).ok_or_else(|| absent(name))
        })
    }

    /// Makes the folder below `parent` unless it is there; whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn make(&self, parent: &Path) -> Result<PathBuf, PathError> {
        let folder = parent.join(&self.folder);
        if folder.join("config.json").exists() {
            return Ok(folder);
        }
        std::fs::create_dir_all(parent).map_err(PathError::on("create", parent))?;
        let beside = tempfile::Builder::new()
            .prefix(".new-")
            .tempdir_in(parent)
            .map_err(PathError::on("create a folder in", parent))?;
        for (name, bytes) in &self.files {
            let file = beside.path().join(name);
            std::fs::write(&file, bytes).map_err(PathError::on("write", &file))?;
        }
        match std::fs::rename(beside.path(), &folder) {
            Ok(()) => {}
            // Another run was faster, with the same contents.
            Err(_) if folder.join("config.json").exists() => {}
            Err(error) => return Err(PathError::on("rename", beside.path())(error)),
        }
        Ok(folder)
    }
}

fn config(of: &str) -> Result<Value, CheckpointError> {
    if let Some(known) = Known::of(of) {
        return Ok(known.config);
    }
    let path = Path::new(of);
    let file = if path.is_dir() {
        path.join("config.json")
    } else {
        path.to_owned()
    };
    json(&file).map(|(_, config)| config)
}

fn bytes(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspected(of: &str, scheme: ShapeScheme, platform: Platform) -> Checkpoint {
        let cache = tempfile::tempdir().expect("a folder");
        let shape = Shape::of(of, scheme, platform).expect("made");
        let expected = shape
            .checkpoint(&cache.path().join("x"), "s")
            .expect("read");
        let folder = shape.make(cache.path()).expect("written");
        assert_eq!(shape.make(cache.path()).expect("there"), folder);
        let read = super::super::super::inspect(&folder, "s").expect("read");
        assert_eq!(read, expected);
        assert!(read.info.shape_only);
        assert_eq!(read.doubts, [""; 0]);
        read
    }

    #[test]
    fn every_scheme_of_every_architecture_is_what_it_says() {
        for name in super::super::known_names() {
            for scheme in ShapeScheme::names().filter_map(ShapeScheme::of) {
                let format = inspected(name, scheme, Platform::Cuda)
                    .format
                    .expect("told");
                assert_eq!(format.is_quantized(), scheme != ShapeScheme::Bf16);
                if let Some(expected) = super::super::super::Scheme::of_precision(scheme.name()) {
                    assert!(
                        format.scheme.expect("told").agrees_with(expected),
                        "{format}"
                    );
                }
            }
        }
        let names = ShapeScheme::names()
            .filter_map(ShapeScheme::of)
            .map(|scheme| {
                inspected("qwen3-30b-a3b", scheme, Platform::Cuda)
                    .format
                    .expect("told")
                    .name
            });
        insta::assert_snapshot!(names.collect::<Vec<_>>().join("\n"), @"
    BF16
    compressed-tensors pack-quantized W8A16
    compressed-tensors int-quantized W8A8 dynamic
    compressed-tensors float-quantized FP8 W8A8 dynamic
    fp8 block 128x128 dynamic
    compressed-tensors pack-quantized W4A16 group 128
    compressed-tensors nvfp4-pack-quantized FP4 W4A4 dynamic group 16
    ");
    }

    #[test]
    fn ascend_gets_a_description_of_modelslim() {
        for (scheme, words) in [
            (ShapeScheme::W8a8, "ModelSlim W8A8_DYNAMIC"),
            (ShapeScheme::W8a16, "ModelSlim W8A16"),
            (ShapeScheme::Bf16, "BF16"),
        ] {
            let format = inspected("qwen3-30b-a3b", scheme, Platform::Npu).format;
            assert_eq!(format.expect("told").name, words);
        }
        let none = Shape::of("qwen3-1.7b", ShapeScheme::Fp8, Platform::Npu);
        assert!(matches!(none, Err(ShapeError::Scheme)));
    }

    #[test]
    fn a_folder_is_a_source_and_its_own_quantization_goes() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = r#"{"vocab_size": 9, "dtype": "bfloat16", "quantization_config": {"quant_method": "awq", "bits": 4}}"#;
        std::fs::write(dir.path().join("config.json"), config).expect("written");
        let of = dir.path().display().to_string();
        let plain = inspected(&of, ShapeScheme::Bf16, Platform::Cuda);
        assert_eq!(plain.format.expect("told").name, "BF16");
        assert!(Shape::of("/nonexistent", ShapeScheme::Bf16, Platform::Cuda).is_err());
    }
}
