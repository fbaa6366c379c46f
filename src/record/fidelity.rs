//! The record of a cell's fidelity: what it sampled, and what the baseline thinks of that. One file per cell,
//! `<model>_<precision>.fidelity.json`; the columns of tokens lie beside it as NumPy's .npz. Raw samples only: every
//! number is computed from them in `stats/`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::files::move_aside;
use super::layout;
use super::regular::read_regular;
use super::{
    CellInfo, EngineFacts, Failure, Fingerprint, PassedOver, Session, Sidecar, hex, write_atomic,
};
use crate::error::PathError;
use crate::stats::fidelity::Thresholds;
use crate::units::CellId;

/// The version of the format. A reader refuses any other.
pub(crate) const FIDELITY_SCHEMA: &str = "rollbench.fidelity/1";

/// How the names of such records end.
pub(crate) const FIDELITY_SUFFIX: &str = ".fidelity.json";

/// Everything measured of one cell's fidelity. The baseline has one too: its scores of its own samples are the floor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FidelityRecord {
    /// [`FIDELITY_SCHEMA`].
    pub schema: String,
    /// The session that measured it.
    pub session: Session,
    /// Which cell it is, and its checkpoint.
    pub cell: CellInfo,
    /// Digests of configuration and checkpoint.
    pub fingerprint: Fingerprint,
    /// What was asked, and how much of it.
    pub prompts: FidelityPrompts,
    /// Limits, fixed before measuring.
    pub thresholds: Thresholds,
    /// One entry a repetition, each of engine starts of its own.
    pub looks: Vec<Look>,
}

/// What every cell was asked. Cells with other prompts are not compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FidelityPrompts {
    /// `built-in`, or the user's file.
    pub source: String,
    /// SHA-256 over the prompts' lines.
    pub sha256: String,
    /// How many.
    pub count: u32,
    /// Most tokens of a response.
    pub output_len: u32,
    /// How many of the best tokens are kept at each position.
    pub best: u32,
    /// Of the built-in prompts.
    pub seed: u64,
    /// By prompt: what a right answer ends with; empty where it is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<String>,
}

/// One repetition.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Look {
    /// Counted from 0.
    pub repeat: u32,
    /// Engines by what they did: `sample`, `score`.
    pub engines: IndexMap<String, EngineFacts>,
    /// Responses at temperature 1, by this cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Columns>,
    /// Responses at temperature 0, by this cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greedy: Option<Columns>,
    /// `sampled`, scored by the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scored: Option<Columns>,
    /// The baseline's samples, scored by this cell (`--both-ways`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scored_baseline: Option<Columns>,
    /// Why it is not complete; absent if it is, or was interrupted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Columns in a file beside the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Columns {
    /// The file.
    pub file: Sidecar,
    /// Responses in it.
    pub responses: u64,
    /// Their tokens.
    pub tokens: u64,
    /// How long the engine took.
    pub seconds: f64,
    /// By response: whether its answer was right; empty where it was not looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub solved: Vec<bool>,
}

impl Look {
    /// Whether nothing of it is missing.
    pub(crate) fn is_complete(&self) -> bool {
        self.failure.is_none()
            && self.sampled.is_some()
            && self.greedy.is_some()
            && self.scored.is_some()
    }
}

impl FidelityRecord {
    /// The look of repetition `repeat`, made if it is new.
    pub(crate) fn look(&mut self, repeat: u32) -> &mut Look {
        let known = self.looks.iter().position(|look| look.repeat == repeat);
        let at = known.unwrap_or(self.looks.len());
        if known.is_none() {
            self.looks.push(Look {
                repeat,
                ..Look::default()
            });
        }
        &mut self.looks[at]
    }
}

/// The name of a cell's record.
pub(crate) fn fidelity_name(cell: &CellId) -> String {
    format!("{cell}{FIDELITY_SUFFIX}")
}

/// Writes `record` into the results folder, whole or not at all.
pub(crate) fn write_fidelity(results: &Path, record: &FidelityRecord) -> Result<(), PathError> {
    write_atomic(&results.join(fidelity_name(&record.cell.id)), |file| {
        serde_json::to_writer(&mut *file, record)?;
        file.write_all(b"\n")
    })
}

/// The record of `cell`, if there is a readable one.
pub(crate) fn fidelity_of(results: &Path, cell: &CellId) -> Option<FidelityRecord> {
    read_one(&results.join(fidelity_name(cell))).ok()
}

/// Moves the record of `cell` and its columns to where nothing writes, if there is one.
pub(crate) fn set_fidelity_aside(results: &Path, cell: &CellId) -> Result<(), PathError> {
    let Some(record) = fidelity_of(results, cell) else {
        return Ok(());
    };
    let dir = layout::previous_dir(results, record.session.started);
    let columns = record.looks.iter().flat_map(|look| {
        [
            &look.sampled,
            &look.greedy,
            &look.scored,
            &look.scored_baseline,
        ]
        .into_iter()
        .flatten()
    });
    let files = columns.map(|columns| results.join(&columns.file.file));
    let own = results.join(fidelity_name(cell));
    move_aside(results, &dir, files.chain([own]))
}

/// All such records of the results folder, by name; what cannot be read is named.
pub(crate) fn read_fidelity(
    results: &Path,
) -> Result<(Vec<FidelityRecord>, Vec<PassedOver>), PathError> {
    let mut read = BTreeMap::new();
    let mut passed_over = Vec::new();
    for entry in fs::read_dir(results).map_err(PathError::on("read", results))? {
        let entry = entry.map_err(PathError::on("read", results))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(FIDELITY_SUFFIX) || !entry.path().is_file() {
            continue;
        }
        match read_one(&entry.path()) {
            Ok(record) => {
                read.insert(name, record);
            }
            Err(reason) => passed_over.push(PassedOver { file: name, reason }),
        }
    }
    Ok((read.into_values().collect(), passed_over))
}

/// The record in `path`, or why there is none.
pub(crate) fn read_one(path: &Path) -> Result<FidelityRecord, String> {
    let bytes = read_regular(path).map_err(|error| error.to_string())?;
    let record: FidelityRecord =
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if record.schema == FIDELITY_SCHEMA {
        Ok(record)
    } else {
        Err(format!("schema {}", record.schema))
    }
}

/// The file `name` of the results folder, as a record names it.
pub(crate) fn sidecar(results: &Path, name: &str) -> Result<Sidecar, PathError> {
    let path = results.join(name);
    let bytes = read_regular(&path).map_err(PathError::on("read", &path))?;
    Ok(Sidecar {
        file: name.to_owned(),
        sha256: hex(&Sha256::digest(&bytes)),
        bytes: bytes.len() as u64,
    })
}

/// Responses with the log-probabilities that one engine gives them. Flat columns: response `i` has the tokens from
/// `offsets[i]` to `offsets[i + 1]`; `best_*` have `best` entries a token, best first.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ResponseColumns {
    pub offsets: Vec<u64>,
    pub logprob: Vec<f32>,
    pub best: usize,
    pub best_ids: Vec<u32>,
    pub best_logprobs: Vec<f32>,
    /// The prompt of each response; empty in scores, which have the order of what they score.
    pub prompt: Vec<u32>,
    /// The sampled tokens; empty in scores.
    pub ids: Vec<u32>,
    /// By response: 0 ended by itself, 1 cut at the most tokens, 2 anything else; empty in scores.
    pub finish: Vec<u8>,
}

/// A file of columns that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ColumnsError {
    #[error("{0} is gone or is not what was written")]
    NotAsWritten(String),
    #[error("{file} has no usable column {column}")]
    Column { file: String, column: &'static str },
}

impl ResponseColumns {
    /// Reads the file that `columns` names in the results folder, if it is what was written.
    pub(crate) fn read(results: &Path, columns: &Columns) -> Result<Self, ColumnsError> {
        let name = &columns.file.file;
        let changed = || ColumnsError::NotAsWritten(name.clone());
        // A record may come from anywhere: it names files of its own folder, and no others.
        let plain = Path::new(name).file_name() == Some(name.as_ref());
        let bytes = read_regular(&results.join(name)).map_err(|_| changed())?;
        if !plain || hex(&Sha256::digest(&bytes)) != columns.file.sha256 {
            return Err(changed());
        }
        Self::decode(&bytes).map_err(|column| ColumnsError::Column {
            file: name.clone(),
            column,
        })
    }

    /// From the bytes of an .npz; the name of the column that is missing or makes no sense, if one does.
    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|_| "at all")?;
        let mut read = Npz(&mut archive);
        let offsets = read.column("offsets")?;
        let logprob: Vec<f32> = read.column("logprob")?;
        let best_ids: Vec<u32> = read.column("best_ids")?;
        let columns = Self {
            best: best_ids.len() / logprob.len().max(1),
            offsets,
            logprob,
            best_ids,
            best_logprobs: read.column("best_logprobs")?,
            prompt: read.optional("prompt")?,
            ids: read.optional("ids")?,
            finish: read.optional("finish")?,
        };
        columns.check()
    }

    fn check(self) -> Result<Self, &'static str> {
        let tokens = self.logprob.len();
        let rises = self.offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        let ends = self
            .offsets
            .last()
            .is_some_and(|&last| last == tokens as u64);
        if !rises || !ends {
            return Err("offsets");
        }
        if self.best_ids.len() != tokens * self.best
            || self.best_logprobs.len() != self.best_ids.len()
        {
            return Err("best_ids");
        }
        if !self.ids.is_empty() && self.ids.len() != tokens {
            return Err("ids");
        }
        if !self.prompt.is_empty() && self.prompt.len() != self.responses() {
            return Err("prompt");
        }
        Ok(self)
    }

    /// How many were cut at the most tokens.
    pub(crate) fn capped(&self) -> usize {
        let cut = |finish: &&u8| matches!(finish, 1);
        self.finish.iter().filter(cut).count()
    }

    /// How many responses there are.
    pub(crate) fn responses(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// The places of response `index` in the columns of tokens.
    pub(crate) fn tokens_of(&self, index: usize) -> std::ops::Range<usize> {
        let at = |index: usize| usize::try_from(self.offsets[index]).unwrap_or(usize::MAX);
        at(index)..at(index + 1)
    }
}

struct Npz<'a, 'b>(&'a mut zip::ZipArchive<Cursor<&'b [u8]>>);

impl Npz<'_, '_> {
    fn column<T: npyz::Deserialize>(&mut self, name: &'static str) -> Result<Vec<T>, &'static str> {
        let mut file = self.0.by_name(&format!("{name}.npy")).map_err(|_| name)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|_| name)?;
        let array = npyz::NpyFile::new(&bytes[..]).map_err(|_| name)?;
        array.into_vec().map_err(|_| name)
    }

    fn optional<T: npyz::Deserialize>(
        &mut self,
        name: &'static str,
    ) -> Result<Vec<T>, &'static str> {
        match self.0.index_for_name(&format!("{name}.npy")) {
            Some(_) => self.column(name),
            None => Ok(Vec::new()),
        }
    }
}
