//! File < environment < flag: one way from a request to [`Settings`].

use indexmap::IndexMap;
use toml::de::DeTable;

use super::cells;
use super::diagnostic::{ConfigErrors, Diagnostics};
use super::document::Document;
use super::like_verl;
use super::raw::Raw;
use super::ray;
use super::source;
use super::walk::Table;
use super::{
    LoadRequest, Matrix, MatrixSource, ModelSettings, PrecisionSettings, Python, Settings,
};
use crate::device::Platform;
use crate::load::Api;
use crate::units::{Mode, ModelId, PrecisionId};

/// Reads, checks and merges everything.
///
/// # Errors
/// Every mistake in flags, environment and file at once; syntax errors of the file first, alone.
pub(crate) fn load(request: &LoadRequest) -> Result<Settings, ConfigErrors> {
    let mut settings = load_once(request)?;
    if request.overrides.like_verl {
        let mut own = request.clone();
        own.overrides.like_verl = false;
        settings.like_verl = like_verl::differences(&load_once(&own)?, &settings);
    }
    Ok(settings)
}

fn load_once(request: &LoadRequest) -> Result<Settings, ConfigErrors> {
    let mut found = Diagnostics::default();
    let Some((document, source)) = source::choose(request, &mut found) else {
        return Err(found.into_errors(None));
    };
    let (root, syntax) = DeTable::parse_recoverable(&document.text);
    if !syntax.is_empty() {
        for error in syntax {
            let end = document.text.len();
            let span = error.span().unwrap_or(end..end);
            found.at(&span, format!("not TOML: {}", error.message()));
        }
        return Err(found.into_errors(Some(document)));
    }
    let raw = Raw::read(&Table::root(&root), &mut found);
    let loader = Loader {
        request,
        document: &document,
        raw: &raw,
    };
    let settings = loader.settings(source, &mut found);
    drop(root);
    match settings {
        Some(settings) if found.is_empty() => Ok(settings),
        _ => Err(found.into_errors(Some(document))),
    }
}

/// What the merging looks at.
pub(super) struct Loader<'a> {
    pub(super) request: &'a LoadRequest,
    pub(super) document: &'a Document,
    pub(super) raw: &'a Raw,
}

/// Tokens for what a chat template puts around a prompt: a system message of its own, with the date and rules, in some.
/// The text itself can be some more tokens than the ids that it stands for.
const CHAT_TEMPLATE: u32 = 512;

impl Loader<'_> {
    fn settings(&self, source: MatrixSource, found: &mut Diagnostics) -> Option<Settings> {
        let mut values = IndexMap::new();
        let run = self.run(&mut values, found);
        let workload = self.workload(run.mode, run.fan_out, &mut values, found);
        let python = self.python(&mut values, found);
        let platform = match python.value {
            Python::Managed => Platform::Cpu,
            Python::Interpreter(_) => self.request.platform,
        };
        let out = self.out(&mut values);
        let vars = self.variables(&mut values);
        let models = self.select_models(found);
        let precisions = self.select_precisions(found);
        let selection = cells::Selection {
            models: &models,
            precisions: &precisions,
            longest: workload
                .prompt
                .max()
                .saturating_add(workload.response.max()),
            chat_room: (run.mode == Mode::Online && run.online.api == Api::Chat)
                .then(|| CHAT_TEMPLATE.saturating_add(workload.prompt.max() / 4)),
            platform,
            vars: &vars,
        };
        let cells = cells::merge(self, &selection, found);
        ray::refuse(self, platform, &cells, found);
        let matrix = self.matrix(source, models, precisions)?;
        Some(Settings {
            matrix,
            run,
            workload,
            python,
            allow_ray: self.raw.allow_ray,
            platform,
            out,
            cells,
            like_verl: Vec::new(),
            values,
        })
    }

    /// Absent without a baseline, which is a mistake that is noted already.
    fn matrix(
        &self,
        source: MatrixSource,
        selected_models: Vec<ModelId>,
        selected_precisions: Vec<PrecisionId>,
    ) -> Option<Matrix> {
        let baseline = self.raw.precisions.iter().find(|p| p.baseline.is_some())?;
        let models = self.raw.models.iter().map(|m| ModelSettings {
            id: m.id.clone(),
            label: m.label.clone(),
        });
        let precisions = self.raw.precisions.iter().map(|p| PrecisionSettings {
            id: p.id.clone(),
            label: p.label.clone(),
        });
        Some(Matrix {
            source,
            models: models.collect(),
            precisions: precisions.collect(),
            baseline: baseline.id.clone(),
            selected_models,
            selected_precisions,
        })
    }
}
