//! The layers of each selected cell, laid over each other: engine < model < precision < cell < flag.

use std::collections::BTreeMap;
use std::ops::Range;

use indexmap::IndexMap;
use serde_json::Value;

use super::context::Context;
use super::declared::{GPU_MEM_UTIL, LIKE_VERL, TENSOR_PARALLEL};
use super::diagnostic::Diagnostics;
use super::document::At;
use super::expand::{ExpandError, expand};
use super::layer::Merged;
use super::like_verl;
use super::raw::{RawCheckpoint, RawModel, RawPrecision};
use super::shape_only;
use super::{CellSettings, CheckpointRef, Origin, Sourced};
use crate::checkpoint::{Location, is_path};
use crate::device::Platform;
use crate::units::{CellId, ModelId, PrecisionId};

/// What is selected, and what the cells depend on besides their layers.
pub(super) struct Selection<'a> {
    pub(super) models: &'a [ModelId],
    pub(super) precisions: &'a [PrecisionId],
    /// Longest prompt + response of the workload.
    pub(super) longest: u32,
    /// Whether that is not known yet.
    pub(super) uncounted: bool,
    /// Whether the variables of the machine that is planned for are not known.
    pub(super) elsewhere: bool,
    /// Beyond that, for what chat wraps a prompt in; absent without chat.
    pub(super) chat_room: Option<u32>,
    pub(super) platform: Platform,
    pub(super) vars: &'a BTreeMap<String, String>,
}

/// Every selected cell, in declaration order.
pub(super) fn merge(
    context: &Context<'_>,
    selection: &Selection<'_>,
    found: &mut Diagnostics,
) -> Vec<CellSettings> {
    let mut cells = Vec::new();
    let mut unset = Unset {
        may_be: selection.elsewhere,
        ..Unset::default()
    };
    let mut short = Vec::new();
    for model in &context.raw.models {
        if !selection.models.contains(&model.id) {
            continue;
        }
        for precision in &context.raw.precisions {
            if selection.precisions.contains(&precision.id) {
                let cell = cell(context, selection, model, precision, &mut unset);
                short.extend(too_short(context, selection, &cell));
                cells.push(cell);
            }
        }
    }
    unset.report(found);
    short.dedup();
    for (span, origin) in short {
        let message = format!(
            "max_model_len is shorter than the longest prompt + response, {} tokens",
            selection.longest
        );
        match span {
            Some(span) => found.at(&span, message),
            None => found.plain(format!("{message} ({origin})")),
        };
    }
    cells
}

/// Where a `max_model_len` stands that the workload does not fit into. (-1, `"auto"` and `"8k"` are vLLM's to judge.)
fn too_short(
    context: &Context<'_>,
    selection: &Selection<'_>,
    cell: &CellSettings,
) -> Option<(Option<Range<usize>>, Origin)> {
    let said = cell.args.get("max_model_len")?;
    let fits = said
        .value
        .as_u64()
        .is_none_or(|len| len >= u64::from(selection.longest));
    (!fits).then(|| {
        let layers = context.raw.layers();
        let span = layers
            .flat_map(|layer| &layer.args)
            .filter(|(name, _)| name == "max_model_len")
            .map(|(_, at)| at.span.clone())
            .find(|span| context.document.origin(span) == said.origin);
        (span, said.origin.clone())
    })
}

fn cell(
    context: &Context<'_>,
    selection: &Selection<'_>,
    model: &RawModel,
    precision: &RawPrecision,
    unset: &mut Unset,
) -> CellSettings {
    let mut merged = Merged::default();
    let own = |key: &At<String>| key.value == precision.id.as_str();
    let layers = [&context.raw.engine, &model.layer, &precision.layer]
        .into_iter()
        .chain(
            model
                .cells
                .iter()
                .filter(|(key, _)| own(key))
                .map(|(_, layer)| layer),
        );
    for layer in layers {
        layer.apply(context.document, &mut merged);
    }
    if context.values.get(&LIKE_VERL) {
        like_verl::apply(&mut merged.args, selection.platform);
    }
    let mut say = |name: &str, said: Option<Sourced<Value>>| {
        if let Some(said) = said {
            merged.args.insert(name.to_owned(), said);
        }
    };
    let values = &context.values;
    let share = values.if_said(&GPU_MEM_UTIL);
    say(
        "gpu_memory_utilization",
        share.map(|s| Sourced::new(s.value.into(), s.origin)),
    );
    let devices = values.if_said(&TENSOR_PARALLEL);
    say(
        "tensor_parallel_size",
        devices.map(|s| Sourced::new(s.value.into(), s.origin)),
    );
    derive(&mut merged.args, selection);
    let raw = model.checkpoints.iter().find(|(key, _)| own(key));
    if let Some((_, raw)) = raw {
        shape_only::derive(&mut merged.args, &raw.path.value, selection.platform);
    }

    // A cell that cannot run here needs none of its variables.
    let runs = !precision
        .unsupported
        .contains_key(&selection.platform.to_string());
    if runs {
        for (name, value) in &mut merged.env {
            if let Some(span) = merged.env_spans.get(name) {
                unset.expand(&mut value.value, span, selection.vars);
            }
        }
        for (name, value) in &mut merged.args {
            if let (Value::String(text), Some(span)) = (&mut value.value, merged.spans.get(name)) {
                unset.expand(text, span, selection.vars);
            }
        }
    }
    CellSettings {
        id: CellId {
            model: model.id.clone(),
            precision: precision.id.clone(),
        },
        model_label: model.label.clone(),
        precision_label: precision.label.clone(),
        checkpoint: raw.map(|(_, raw)| {
            let mut checkpoint = as_written(raw);
            if runs {
                let vars = selection.vars;
                unset.expand(&mut checkpoint.location, &raw.path.span, vars);
                if let (Some(text), Some(at)) = (&mut checkpoint.revision, &raw.revision) {
                    unset.expand(text, &at.span, vars);
                }
                if let (Some(text), Some(at)) = (&mut checkpoint.tokenizer, &raw.tokenizer) {
                    unset.expand(text, &at.span, vars);
                }
                checkpoint.location = absolute(context, &checkpoint.location);
            }
            Sourced::new(checkpoint, context.document.origin(&raw.path.span))
        }),
        args: merged.args,
        env: merged.env,
        limits: merged.limits,
        unsupported: precision.unsupported.clone(),
    }
}

/// The arguments that rollbench computes where the user said nothing.
fn derive(args: &mut IndexMap<String, Sourced<Value>>, selection: &Selection<'_>) {
    let how = match selection.chat_room {
        None => "longest prompt + response",
        Some(_) => "longest prompt + response, and room for the chat template",
    };
    let longest = selection
        .longest
        .saturating_add(selection.chat_room.unwrap_or(0));
    let len = ("max_model_len", Value::from(longest), how);
    let config = (
        "generation_config",
        Value::from("vllm"),
        "the checkpoint's own sampling defaults stay out",
    );
    // Of lengths that are not counted yet the longest is not known.
    let derived = (!selection.uncounted).then_some(len).into_iter();
    for (name, value, how) in derived.chain([config]) {
        args.entry(name.to_owned())
            .or_insert_with(|| Sourced::new(value, Origin::Derived(how)));
    }
}

fn as_written(raw: &RawCheckpoint) -> CheckpointRef {
    CheckpointRef {
        location: raw.path.value.clone(),
        revision: raw.revision.as_ref().map(|r| r.value.clone()),
        tokenizer: raw.tokenizer.as_ref().map(|t| t.value.clone()),
    }
}

/// A folder is relative to the file that names it.
fn absolute(context: &Context<'_>, location: &str) -> String {
    if let Location::Shape { of, scheme } = Location::parse(location) {
        let base = context.base();
        let of = if is_path(of) {
            base.join(of).display().to_string()
        } else {
            of.to_owned()
        };
        return Location::of_shape(&of, scheme);
    }
    if location.starts_with("hf:") || location.starts_with("managed:") {
        return location.to_owned();
    }
    if location.starts_with("${") {
        return location.to_owned();
    }
    let path = context.base().join(location);
    // Two words, and no folder for the first of them: a name of the hub without its `hf:`, to be shown as it was written.
    if location.matches('/').count() == 1 && path.parent().is_some_and(|p| !p.exists()) {
        return location.to_owned();
    }
    path.display().to_string()
}

/// Texts that could not be expanded, by what is wrong: one variable is one mistake, however many cells need it.
#[derive(Default)]
struct Unset {
    found: Vec<(ExpandError, Vec<Range<usize>>)>,
    /// Texts with variables that are not set stay as they are.
    may_be: bool,
}

impl Unset {
    fn expand(&mut self, text: &mut String, span: &Range<usize>, vars: &BTreeMap<String, String>) {
        match expand(text, vars) {
            Ok(expanded) => *text = expanded,
            Err(ExpandError::Unset(_)) if self.may_be => {}
            Err(error) => match self.found.iter_mut().find(|(e, _)| *e == error) {
                Some((_, spans)) if spans.contains(span) => {}
                Some((_, spans)) => spans.push(span.clone()),
                None => self.found.push((error, vec![span.clone()])),
            },
        }
    }

    fn report(&self, found: &mut Diagnostics) {
        for (error, spans) in &self.found {
            if let Some((first, more)) = spans.split_first() {
                cannot_expand(error, first, more.len(), found);
            }
        }
    }
}

/// Notes a text that could not be expanded, and how many others have the same trouble.
pub(super) fn cannot_expand(
    error: &ExpandError,
    span: &Range<usize>,
    more: usize,
    found: &mut Diagnostics,
) {
    match error {
        ExpandError::Unset(name) => {
            let mistake = found.at(span, format!("the variable {name} is not set"));
            match more {
                0 => mistake.label("needed here"),
                1 => mistake.label("needed here and in 1 more place"),
                n => mistake.label(format!("needed here and in {n} more places")),
            };
            if name == "MODEL_BASE" {
                mistake.help("export MODEL_BASE, or pass --model-base DIR: the folder that holds the checkpoints");
            } else {
                mistake.help(format!("export {name}, or write the value into the file"));
            }
        }
        ExpandError::Malformed => {
            found
                .at(span, "`${` begins a variable that does not end")
                .label("write ${NAME}");
        }
    }
}
