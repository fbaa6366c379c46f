//! One checkpoint's folder, read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::format::{Format, field, quantization_of};
use super::groups::Groups;
use super::{modelslim, tokens};
use crate::error::PathError;
use crate::record::{CheckpointInfo, hex, read_regular};
use crate::workload::Vocabulary;

/// A checkpoint, as its files describe it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checkpoint {
    /// What the record keeps.
    pub info: CheckpointInfo,
    /// The number format; absent if the files do not tell.
    pub format: Option<Format>,
    /// The token ids that prompts may hold; absent if the config does not tell.
    pub vocabulary: Option<Vocabulary>,
    /// The longest prompt + response that the model's positions allow; absent if the config does not tell, or scales
    /// them in a way that vLLM's versions understand differently.
    pub max_positions: Option<u64>,
    /// What weights with a common scale ask of the number of devices; absent where the config has none of fixed size.
    pub groups: Option<Groups>,
    /// What will not load, or not as it seems, in words.
    pub doubts: Vec<String>,
    /// SHA-256 over the config and the names and sizes of the weight files.
    pub fingerprint: String,
}

/// A folder that is no checkpoint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    /// Not a folder, or no permission.
    #[error(transparent)]
    Path(#[from] PathError),
    /// No `config.json` in it.
    #[error("{} has no config.json: it is no checkpoint of the Hugging Face layout{}", folder.display(), if *gguf { ", but a folder of GGUF files" } else { "" })]
    NoConfig {
        /// The folder.
        folder: PathBuf,
        /// Whether there are GGUF files in it.
        gguf: bool,
    },
    /// It is a single file.
    #[error("{} is a file, not a checkpoint's folder", path.display())]
    File {
        /// The file.
        path: PathBuf,
    },
    /// A file of it is truncated, empty, or something else than JSON.
    #[error("{} is not valid JSON", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
}

impl CheckpointError {
    /// What the user can do.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Path(_) => "check the path and its permissions",
            Self::NoConfig { gguf: true, .. } => GGUF,
            Self::File { path } if path.extension().is_some_and(|e| e == "gguf") => GGUF,
            Self::NoConfig { .. } | Self::File { .. } => {
                "name the folder that holds config.json and the *.safetensors files, `hf:ORG/NAME` for one of the Hugging Face hub, or `managed:NAME` for a demo checkpoint"
            }
            Self::Invalid { .. } => "the file is damaged or half copied: copy the checkpoint again",
        }
    }
}

const GGUF: &str = "GGUF is not accepted: name a folder of the Hugging Face layout (config.json and *.safetensors), which Transformers can make of a GGUF file";

/// Reads the checkpoint in `folder`, which the record is to call `shown`.
///
/// # Errors
/// If it has no readable `config.json`. Everything else may be missing and is then unknown.
pub(crate) fn inspect(folder: &Path, shown: &str) -> Result<Checkpoint, CheckpointError> {
    if folder.is_file() {
        return Err(CheckpointError::File {
            path: folder.to_owned(),
        });
    }
    let files = Files::of(folder)?;
    if !files.has_config {
        return Err(CheckpointError::NoConfig {
            folder: folder.to_owned(),
            gguf: files.weights.iter().any(|(name, _)| is_gguf(name)),
        });
    }
    described(folder, shown, &files, &|name| json(&folder.join(name)))
}

/// What the files say that `read` gives by their names.
pub(super) fn described(
    folder: &Path,
    shown: &str,
    files: &Files,
    read: &dyn Fn(&str) -> Result<Json, CheckpointError>,
) -> Result<Checkpoint, CheckpointError> {
    let (bytes, config) = read("config.json")?;
    let mut doubts = Vec::new();
    let (description, format) = if let Some(name) = files.description() {
        let (bytes, description) = read(name)?;
        doubts = modelslim::doubts(name, &description, &config);
        (bytes, Some(modelslim::format(&description)))
    } else if let Some(name) = files
        .quantization
        .as_ref()
        .filter(|_| quantization_of(&config).is_none())
    {
        let (bytes, quantization) = read(name)?;
        (bytes, Some(Format::of_quantization(&quantization)))
    } else {
        (Vec::new(), Format::of_config(&config))
    };
    let sha256_config = hex(&Sha256::digest(&bytes));
    let mut digest = Sha256::new();
    digest.update(&sha256_config);
    digest.update(Sha256::digest(&description));
    for (name, size) in &files.weights {
        digest.update(format!("{name}\0{size}\n"));
    }
    let shape_only = files.weights.is_empty();
    let size: u64 = files.weights.iter().map(|(_, size)| size).sum();
    Ok(Checkpoint {
        info: CheckpointInfo {
            path: shown.to_owned(),
            format: format.as_ref().map(|f| f.name.clone()),
            bytes: (!shape_only).then_some(size),
            sha256_config: Some(sha256_config),
            shape_only,
            method: format.as_ref().and_then(|f| f.method.clone()),
            mismatch: None,
        },
        format,
        vocabulary: tokens::vocabulary(folder, &config),
        max_positions: max_positions(&config),
        groups: Groups::of(&config),
        doubts,
        fingerprint: hex(&digest.finalize()),
    })
}

/// The names in a folder that matter.
pub(super) struct Files {
    has_config: bool,
    /// ModelSlim's descriptions.
    descriptions: Vec<String>,
    /// Another file that describes a quantization, where `config.json` does not.
    quantization: Option<String>,
    /// Names and sizes of the weight files, sorted.
    weights: Vec<(String, u64)>,
}

impl Files {
    /// The description that counts: the one that vllm-ascend reads, else the first of the others.
    fn description(&self) -> Option<&String> {
        let read = |name: &&String| *name == modelslim::DESCRIPTION;
        self.descriptions
            .iter()
            .find(read)
            .or_else(|| self.descriptions.iter().min())
    }

    /// Of a folder with a config and no weights.
    pub(super) fn of_shape(described: bool) -> Self {
        Self {
            has_config: true,
            descriptions: described
                .then(|| modelslim::DESCRIPTION.to_owned())
                .into_iter()
                .collect(),
            quantization: None,
            weights: Vec::new(),
        }
    }

    fn of(folder: &Path) -> Result<Self, CheckpointError> {
        let entries = std::fs::read_dir(folder).map_err(PathError::on("read", folder))?;
        let mut files = Self {
            has_config: false,
            descriptions: Vec::new(),
            quantization: None,
            weights: Vec::new(),
        };
        let mut others: BTreeMap<&str, Vec<(String, u64)>> = BTreeMap::new();
        for entry in entries {
            let entry = entry.map_err(PathError::on("read", folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            match name.as_str() {
                "config.json" => files.has_config = true,
                // ModelOpt's, AWQ's and GPTQ's.
                "hf_quant_config.json" | "quant_config.json" | "quantize_config.json" => {
                    files.quantization = Some(name.clone());
                }
                name if modelslim::is_description(name) => files.descriptions.push(name.to_owned()),
                _ => {}
            }
            // The hub's cache links to its blobs: follow.
            let size = || std::fs::metadata(entry.path()).map(|m| m.len());
            match Path::new(&name).extension().and_then(|e| e.to_str()) {
                Some("safetensors") => {
                    let size = size().map_err(PathError::on("read", entry.path()))?;
                    files.weights.push((name, size));
                }
                Some(kind) => {
                    let Some(kind) = OTHER_WEIGHTS.into_iter().find(|known| *known == kind) else {
                        continue;
                    };
                    if !OF_TRAINING.contains(&name.as_str()) {
                        let size = size().map_err(PathError::on("read", entry.path()))?;
                        others.entry(kind).or_default().push((name, size));
                    }
                }
                _ => {}
            }
        }
        // vLLM loads files of one kind only, and others only where there are no safetensors.
        if files.weights.is_empty() {
            let first = OTHER_WEIGHTS
                .into_iter()
                .find_map(|kind| others.remove(kind));
            files.weights = first.unwrap_or_default();
        }
        files.keep_one_set(folder);
        files.weights.sort();
        Ok(files)
    }
}

impl Files {
    /// Where the same weights are there twice, keeps those that vLLM loads: the ones that the index names, or those in the
    /// layout of Hugging Face beside `consolidated.safetensors` of Mistral and Meta.
    fn keep_one_set(&mut self, folder: &Path) {
        let index = json(&folder.join("model.safetensors.index.json")).ok();
        let named: BTreeSet<String> = index
            .iter()
            .filter_map(|(_, index)| index.get("weight_map")?.as_object())
            .flat_map(|map| map.values().filter_map(Value::as_str))
            .map(str::to_owned)
            .collect();
        let is_indexed = |name: &str| named.contains(name);
        let is_other = |name: &str| !name.starts_with("consolidated");
        if self.weights.iter().any(|(name, _)| is_indexed(name)) {
            self.weights.retain(|(name, _)| is_indexed(name));
        } else if self.weights.iter().any(|(name, _)| is_other(name)) {
            self.weights.retain(|(name, _)| is_other(name));
        }
    }
}

/// What may hold weights beside `safetensors`, in vLLM's order.
const OTHER_WEIGHTS: [&str; 3] = ["bin", "pt", "gguf"];

/// What a trainer leaves, which vLLM does not load.
const OF_TRAINING: [&str; 5] = [
    "training_args.bin",
    "optimizer.bin",
    "optimizer.pt",
    "scheduler.pt",
    "scaler.pt",
];

fn is_gguf(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == "gguf")
}

/// vLLM's keys, in its order; see `_get_and_verify_max_len`.
fn max_positions(config: &Value) -> Option<u64> {
    let scaling = field(config, "rope_scaling").or_else(|| field(config, "rope_parameters"));
    if let Some(scaling) = scaling {
        let kind = scaling
            .get("rope_type")
            .or_else(|| scaling.get("type"))
            .and_then(Value::as_str)
            .unwrap_or("default");
        if !matches!(kind, "default" | "llama3") {
            return None;
        }
    }
    [
        "max_position_embeddings",
        "n_positions",
        "max_seq_len",
        "seq_length",
    ]
    .into_iter()
    .find_map(|key| field(config, key)?.as_u64())
}

/// The bytes of a file, and what they say.
pub(super) type Json = (Vec<u8>, Value);

pub(super) fn json(path: &Path) -> Result<Json, CheckpointError> {
    let bytes = read_regular(path).map_err(PathError::on("read", path))?;
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok((bytes, value)),
        Err(source) => Err(CheckpointError::Invalid {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temporary folder");
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("written");
        }
        dir
    }

    const CONFIG: &str =
        r#"{"dtype": "bfloat16", "vocab_size": 100, "max_position_embeddings": 64}"#;

    #[test]
    fn a_checkpoint_is_what_its_files_say() {
        let dir = folder(&[
            ("config.json", CONFIG),
            ("model-2.safetensors", "12345"),
            ("model-1.safetensors", "123"),
            ("training_args.bin", "1"),
        ]);
        let read = inspect(dir.path(), "here").expect("reads");
        assert_eq!(read.info.path, "here");
        assert_eq!(read.info.format.as_deref(), Some("BF16"));
        assert_eq!(read.info.bytes, Some(8));
        assert!(!read.info.shape_only);
        assert_eq!(read.max_positions, Some(64));
        assert_eq!(read.vocabulary.expect("told").size, 100);
    }

    #[test]
    fn weights_that_are_there_twice_count_once() {
        let bytes = |files: &[(&str, &str)]| {
            let dir = folder(files);
            std::fs::create_dir(dir.path().join("original")).expect("made");
            std::fs::write(dir.path().join("original/consolidated.00.pth"), "12345678")
                .expect("written");
            inspect(dir.path(), "x").expect("reads").info.bytes
        };
        let config = ("config.json", CONFIG);
        let (one, two) = (
            ("model-1.safetensors", "123"),
            ("model-2.safetensors", "12"),
        );
        let whole = ("consolidated.safetensors", "12345");
        let torch = ("pytorch_model.bin", "12345");
        let index = (
            "model.safetensors.index.json",
            r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#,
        );
        assert_eq!(bytes(&[config, one, two, whole, torch]), Some(5));
        let adapter = ("other.safetensors", "1234567");
        assert_eq!(bytes(&[config, one, two, whole, index, adapter]), Some(5));
        assert_eq!(bytes(&[config, whole]), Some(5));
        let trainer = ("training_args.bin", "1");
        assert_eq!(bytes(&[config, torch, trainer, ("model.pt", "1")]), Some(5));
    }

    #[test]
    fn a_config_alone_is_a_shape() {
        let read = inspect(folder(&[("config.json", CONFIG)]).path(), "x").expect("reads");
        assert!(read.info.shape_only);
        assert_eq!(read.info.bytes, None);
    }

    #[test]
    fn the_fingerprint_follows_config_and_weights() {
        let print = |files: &[(&str, &str)]| {
            inspect(folder(files).path(), "x")
                .expect("reads")
                .fingerprint
        };
        let one = print(&[("config.json", CONFIG), ("a.safetensors", "1")]);
        assert_eq!(
            one,
            print(&[("config.json", CONFIG), ("a.safetensors", "2")])
        );
        assert_ne!(
            one,
            print(&[("config.json", CONFIG), ("a.safetensors", "12")])
        );
        assert_ne!(one, print(&[("config.json", "{}"), ("a.safetensors", "1")]));
        assert_ne!(
            one,
            print(&[
                ("config.json", CONFIG),
                ("a.safetensors", "1"),
                ("quant_model_description.json", "{}")
            ])
        );
    }

    #[test]
    fn what_is_no_checkpoint_says_why() {
        let truncated = folder(&[("config.json", &CONFIG[..20])]);
        let error = inspect(truncated.path(), "x").expect_err("truncated");
        assert!(error.to_string().ends_with("config.json is not valid JSON"));
        let error = inspect(folder(&[]).path(), "x").expect_err("empty");
        assert!(error.to_string().contains("has no config.json"));
        let error = inspect(Path::new("/nonexistent"), "x").expect_err("missing");
        assert_eq!(error.to_string(), "cannot read /nonexistent");
    }

    #[test]
    fn scaled_positions_are_no_limit() {
        let limit = |text: &str| max_positions(&serde_json::from_str(text).expect("JSON"));
        assert_eq!(limit(r#"{"max_position_embeddings": 8}"#), Some(8));
        assert_eq!(
            limit(
                r#"{"max_position_embeddings": 8, "rope_scaling": {"rope_type": "yarn", "factor": 4}}"#
            ),
            None
        );
        assert_eq!(
            limit(r#"{"max_position_embeddings": 8, "rope_parameters": {"rope_type": "default"}}"#),
            Some(8)
        );
        assert_eq!(limit("{}"), None);
    }
}
