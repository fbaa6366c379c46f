//! From settings to a plan.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::Value;

use super::estimate::estimate;
use super::notes::{mismatch, notes};
use super::order::orders;
use super::{Plan, PlanError, PlanErrors, PlannedCell, Turn, fingerprint};
use crate::checkpoint::{
    Checkpoint, CheckpointError, HubCache, Location, Shape, ShapeError, common_vocabulary, inspect,
};
use crate::config::{CellSettings, CheckpointRef, Origin, Settings, Sourced};
use crate::record::{Arm, CheckpointInfo, Skip};
use crate::units::{CellId, ModelId};

/// Decides what is run. Reads checkpoints and earlier records, starts and writes nothing.
///
/// `cache` says where what rollbench makes itself lies, whether it is made yet or not.
///
/// # Errors
/// Every checkpoint that is there and cannot be used, and every model that cannot take the workload. A plan in which all
/// cells are skipped is none: [`Plan::runs`] is empty then.
pub(crate) fn make(
    settings: Settings,
    hub: &HubCache,
    cache: &dyn Fn(Cached<'_>) -> Result<PathBuf, String>,
) -> Result<Plan, PlanErrors> {
    let mut errors = Vec::new();
    let mut drafts = Vec::new();
    for cell in &settings.cells {
        match Draft::of(cell, &settings, hub, cache) {
            Ok(draft) => drafts.push(draft),
            Err(error) => errors.push(error),
        }
    }
    for draft in &drafts {
        if let Some(error) = too_long(draft, &settings, &errors) {
            errors.push(error);
        }
    }
    errors.extend(super::fidelity::refusals(&settings, &drafts));
    if !errors.is_empty() {
        return Err(PlanErrors(errors));
    }
    let notes = notes(&settings, &drafts);
    let cells: Vec<PlannedCell> = drafts
        .iter()
        .map(|draft| draft.planned(&settings, &drafts))
        .collect();
    let models: Vec<Vec<Turn>> = settings
        .matrix
        .selected_models
        .iter()
        .map(|model| turns(model, &cells, &settings))
        .collect();
    let order = orders(&models, settings.run.blocks, settings.run.seed);
    let estimate = (!settings.uncounted)
        .then(|| estimate(&settings, &cells))
        .flatten();
    Ok(Plan {
        settings,
        cells,
        order,
        estimate,
        notes,
    })
}

/// What runs of a model in every block: each cell once, and for a calibration the baseline once more.
fn turns(model: &ModelId, cells: &[PlannedCell], settings: &Settings) -> Vec<Turn> {
    let running = (0..)
        .zip(cells)
        .filter(|(_, cell)| cell.skip.is_none() && cell.settings.id.model == *model);
    running
        .flat_map(|(cell, planned)| {
            let again = settings.run.inference.calibrate
                && planned.settings.id.precision == settings.matrix.baseline;
            let arms = if again {
                &[Arm::Main, Arm::Calibration][..]
            } else {
                &[Arm::Main]
            };
            arms.iter().map(move |&arm| Turn { cell, arm })
        })
        .collect()
}

/// A cell and what was found of its checkpoint.
pub(super) struct Draft<'a> {
    pub(super) cell: &'a CellSettings,
    pub(super) skip: Option<Skip>,
    pub(super) found: Found,
}

/// A folder that rollbench makes.
pub(crate) enum Cached<'a> {
    /// The demo checkpoint that a configuration calls `managed:NAME`.
    Demo(&'a str),
    /// A shape's, by its folder's name.
    Shape(&'a str),
}

/// What was found of a checkpoint.
pub(super) enum Found {
    /// There is none, or it is not looked at because the cell is skipped.
    None,
    /// It is not here yet: a demo checkpoint to be made, one of the hub to be downloaded, or one on the machine that is
    /// planned for.
    Later {
        /// What vLLM is given as `model`.
        model: Sourced<Value>,
        /// As configured.
        shown: String,
    },
    /// It is here.
    Here {
        /// What vLLM is given as `model`.
        model: Sourced<Value>,
        /// What it is.
        checkpoint: Box<Checkpoint>,
    },
}

impl Found {
    pub(super) fn checkpoint(&self) -> Option<&Checkpoint> {
        match self {
            Self::Here { checkpoint, .. } => Some(checkpoint),
            Self::None | Self::Later { .. } => None,
        }
    }
}

impl<'a> Draft<'a> {
    fn of(
        cell: &'a CellSettings,
        settings: &Settings,
        hub: &HubCache,
        cache: &dyn Fn(Cached<'_>) -> Result<PathBuf, String>,
    ) -> Result<Self, PlanError> {
        let platform = settings.platform.to_string();
        let skipped = |skip| Self {
            cell,
            skip: Some(skip),
            found: Found::None,
        };
        if let Some(reason) = cell.unsupported.get(&platform) {
            let reason = reason.clone();
            return Ok(skipped(Skip::Unsupported { platform, reason }));
        }
        let Some(reference) = &cell.checkpoint else {
            return Ok(skipped(Skip::NoCheckpoint));
        };
        let cannot_make = |message| PlanError::Managed {
            cell: cell.id.clone(),
            message,
        };
        let found = match Location::parse(&reference.value.location) {
            Location::Shape { of, scheme } => match Shape::of(of, scheme, settings.platform) {
                Ok(shape) => {
                    let folder = cache(Cached::Shape(&shape.folder)).map_err(cannot_make)?;
                    let how = Origin::Derived("made of the shape and the scheme");
                    let checkpoint = shape.checkpoint(&folder, &reference.value.location);
                    Found::Here {
                        model: path_value(&folder, how),
                        checkpoint: Box::new(checkpoint.map_err(unusable(&cell.id))?),
                    }
                }
                Err(ShapeError::Source(_)) if !Path::new(of).exists() && settings.elsewhere => {
                    later(
                        reference,
                        path_value(Path::new(of), reference.origin.clone()),
                    )
                }
                Err(ShapeError::Source(_)) if !Path::new(of).exists() => {
                    let path = of.to_owned();
                    return Ok(skipped(Skip::CheckpointMissing { path }));
                }
                Err(ShapeError::Source(source)) => return Err(unusable(&cell.id)(source)),
                Err(error @ ShapeError::Scheme) => {
                    let reason = error.to_string();
                    return Ok(skipped(Skip::Unsupported { platform, reason }));
                }
            },
            Location::Folder(folder) => {
                let model = path_value(folder, reference.origin.clone());
                match (folder.exists(), settings.elsewhere) {
                    (true, _) => here(&cell.id, folder, reference, model)?,
                    (false, true) => later(reference, model),
                    (false, false) => {
                        let path = reference.value.location.clone();
                        return Ok(skipped(Skip::CheckpointMissing { path }));
                    }
                }
            }
            Location::Managed(name) => {
                let folder = cache(Cached::Demo(name)).map_err(cannot_make)?;
                let model = path_value(&folder, Origin::Derived("made by `rollbench setup`"));
                later_or_here(&cell.id, &folder, reference, model)
            }
            Location::Hub(name) => match hub.snapshot(name, reference.value.revision.as_deref()) {
                Some(folder) => {
                    let how = Origin::Derived("found in the local cache of the hub");
                    here(&cell.id, &folder, reference, path_value(&folder, how))?
                }
                None => Found::Later {
                    model: Sourced::new(Value::from(name), reference.origin.clone()),
                    shown: reference.value.location.clone(),
                },
            },
        };
        let refusal = groups_refusal(cell, &found);
        Ok(Self {
            cell,
            skip: refusal.map(|reason| Skip::Unsupported { platform, reason }),
            found,
        })
    }

    fn planned(&self, settings: &Settings, all: &[Draft<'_>]) -> PlannedCell {
        let args = self.args();
        let siblings = all
            .iter()
            .filter(|other| other.cell.id.model == self.cell.id.model)
            .filter_map(|other| other.found.checkpoint()?.vocabulary.as_ref());
        PlannedCell {
            vocabulary: common_vocabulary(siblings),
            fingerprint: fingerprint::of(settings, self.cell, &args),
            checkpoint_fingerprint: self
                .found
                .checkpoint()
                .map_or_else(String::new, |c| c.fingerprint.clone()),
            checkpoint: match &self.found {
                Found::None => self
                    .cell
                    .checkpoint
                    .as_ref()
                    .map(|reference| unknown(&reference.value.location)),
                Found::Later { shown, .. } => Some(unknown(shown)),
                Found::Here { checkpoint, .. } => Some(CheckpointInfo {
                    mismatch: mismatch(self),
                    ..checkpoint.info.clone()
                }),
            },
            settings: self.cell.clone(),
            skip: self.skip.clone(),
            args,
        }
    }

    /// `model` first, then what the layers say.
    fn args(&self) -> IndexMap<String, Sourced<Value>> {
        let mut args = IndexMap::new();
        if let (Found::Later { model, .. } | Found::Here { model, .. }, Some(reference)) =
            (&self.found, &self.cell.checkpoint)
        {
            args.insert("model".to_owned(), model.clone());
            let text =
                |text: &String| Sourced::new(Value::from(text.clone()), reference.origin.clone());
            if let Some(tokenizer) = &reference.value.tokenizer {
                args.insert("tokenizer".to_owned(), text(tokenizer));
            }
            if let (Found::Later { .. }, Some(revision)) = (&self.found, &reference.value.revision)
            {
                args.insert("revision".to_owned(), text(revision));
            }
        }
        for (name, value) in &self.cell.args {
            args.entry(name.clone()).or_insert_with(|| value.clone());
        }
        args
    }
}

/// A demo checkpoint that is missing, or was left unfinished, is made before it is used.
fn later_or_here(
    cell: &CellId,
    folder: &Path,
    reference: &Sourced<CheckpointRef>,
    model: Sourced<Value>,
) -> Found {
    here(cell, folder, reference, model.clone()).unwrap_or_else(|_| later(reference, model))
}

fn later(reference: &Sourced<CheckpointRef>, model: Sourced<Value>) -> Found {
    Found::Later {
        model,
        shown: reference.value.location.clone(),
    }
}

fn here(
    cell: &CellId,
    folder: &Path,
    reference: &Sourced<CheckpointRef>,
    model: Sourced<Value>,
) -> Result<Found, PlanError> {
    let checkpoint = inspect(folder, &reference.value.location).map_err(unusable(cell))?;
    Ok(Found::Here {
        model,
        checkpoint: Box::new(checkpoint),
    })
}

fn unusable(cell: &CellId) -> impl Fn(CheckpointError) -> PlanError {
    move |source| PlanError::Checkpoint {
        cell: cell.clone(),
        source,
    }
}

/// Why the weights cannot be divided among the cell's devices.
fn groups_refusal(cell: &CellSettings, found: &Found) -> Option<String> {
    let groups = found.checkpoint()?.groups.as_ref()?;
    let devices = cell.args.get("tensor_parallel_size")?.value.as_u64()?;
    // Experts are then whole on a device.
    let whole = cell.args.get("enable_expert_parallel");
    if whole.is_some_and(|said| said.value == true) {
        return None;
    }
    groups.refusal(devices)
}

fn path_value(path: &Path, origin: Origin) -> Sourced<Value> {
    Sourced::new(Value::from(path.display().to_string()), origin)
}

fn unknown(location: &str) -> CheckpointInfo {
    CheckpointInfo {
        path: location.to_owned(),
        format: None,
        bytes: None,
        sha256_config: None,
        shape_only: false,
        method: None,
        mismatch: None,
    }
}

/// vLLM refuses a `max_model_len` beyond the model's positions, unless it is told otherwise. Said once a model.
fn too_long(draft: &Draft<'_>, settings: &Settings, said: &[PlanError]) -> Option<PlanError> {
    let limit = draft.found.checkpoint()?.max_positions?;
    let cell = draft.cell;
    let told_otherwise = cell.args.contains_key("hf_overrides")
        || cell.env.contains_key("VLLM_ALLOW_LONG_MAX_MODEL_LEN");
    let model = &cell.id.model;
    let already = said
        .iter()
        .any(|e| matches!(e, PlanError::TooLong { model: other, .. } if other == model));
    if told_otherwise || already {
        return None;
    }
    let longest =
        u64::from(settings.workload.prompt.max()) + u64::from(settings.workload.response.max());
    let asked = cell.args.get("max_model_len");
    let (needed, what) = match asked.and_then(|len| Some((len.value.as_u64()?, &len.origin))) {
        Some((len, origin)) if len > longest => (len, format!("max_model_len ({origin})")),
        _ => (longest, "the longest prompt + response".to_owned()),
    };
    (needed > limit).then(|| PlanError::TooLong {
        model: model.clone(),
        limit,
        what,
        needed,
    })
}
