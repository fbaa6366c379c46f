//! File < environment < flag: one way from a request to [`Settings`].

use toml::de::DeTable;

use super::context::Context;
use super::declared::{ALL, LIKE_VERL};
use super::diagnostic::{ConfigErrors, Diagnostics};
use super::document::Document;
use super::walk::Table;
use super::{
    LoadRequest, Matrix, MatrixSource, ModelSettings, PrecisionSettings, Python, Settings, cells,
    like_verl, online, ray, run, select, source, workload,
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
    if request.flags.has(&LIKE_VERL) {
        let mut own = request.clone();
        own.flags.forget(&LIKE_VERL);
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
    let settings = settings(request, &document, &Table::root(&root), source, &mut found);
    drop(root);
    match settings {
        Some(settings) if found.is_empty() => Ok(settings),
        _ => Err(found.into_errors(Some(document))),
    }
}

/// Tokens for what a chat template puts around a prompt: a system message of its own, with the date and rules, in some.
/// The text itself can be some more tokens than the ids that it stands for.
const CHAT_TEMPLATE: u32 = 512;

fn settings(
    request: &LoadRequest,
    document: &Document,
    root: &Table<'_>,
    source: MatrixSource,
    found: &mut Diagnostics,
) -> Option<Settings> {
    let mut context = Context::read(request, document, root, found);
    let values = &mut context.values;
    if values.get(&LIKE_VERL) {
        like_verl::say(values);
    }
    let online = online::online(values, found);
    let run = run::run(values, online, found);
    let workload = workload::workload(&mut context, run.mode, run.fan_out, found);
    let python = context.python(found);
    let platform = match python.value {
        Python::Managed if !request.elsewhere => Platform::Cpu,
        Python::Managed | Python::Interpreter(_) => request.platform,
    };
    let out = context.out();
    let vars = context.variables();
    let models = select::models(&context, found);
    let precisions = select::precisions(&context, found);
    let selection = cells::Selection {
        models: &models,
        precisions: &precisions,
        longest: workload
            .prompt
            .max()
            .saturating_add(workload.response.max()),
        uncounted: workload::is_uncounted(request),
        elsewhere: request.elsewhere,
        chat_room: (run.mode == Mode::Online && run.online.api == Api::Chat)
            .then(|| CHAT_TEMPLATE.saturating_add(workload.prompt.max() / 4)),
        platform,
        vars: &vars,
    };
    let cells = cells::merge(&context, &selection, found);
    ray::refuse(&context, platform, &cells, found);
    let matrix = matrix(&context, source, models, precisions)?;
    let others = ALL
        .iter()
        .filter_map(|setting| Some((setting.key.to_owned(), context.values.shown(setting)?)));
    let values = online::shown(&context.values, &run).chain(others).collect();
    Some(Settings {
        matrix,
        run,
        workload,
        uncounted: workload::is_uncounted(request),
        python,
        platform,
        elsewhere: request.elsewhere,
        out,
        cells,
        like_verl: Vec::new(),
        values,
    })
}

/// Absent without a baseline, which is a mistake that is noted already.
fn matrix(
    context: &Context<'_>,
    source: MatrixSource,
    selected_models: Vec<ModelId>,
    selected_precisions: Vec<PrecisionId>,
) -> Option<Matrix> {
    let raw = &context.raw;
    let baseline = raw.precisions.iter().find(|p| p.baseline.is_some())?;
    let models = raw.models.iter().map(|m| ModelSettings {
        id: m.id.clone(),
        label: m.label.clone(),
    });
    let precisions = raw.precisions.iter().map(|p| PrecisionSettings {
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
