//! What does not stop a run but should be known before it.

use serde_json::Value;

use super::make::{Draft, Found};
use crate::checkpoint::{Format, NumberKind, Scheme};
use crate::config::Settings;
use crate::config::declared::ALLOW_RAY;

/// One line each.
pub(super) fn notes(settings: &Settings, drafts: &[Draft<'_>]) -> Vec<String> {
    let mut notes = settings.like_verl.clone();
    let matrix = &settings.matrix;
    if !matrix.selected_precisions.contains(&matrix.baseline) {
        notes.push(format!(
            "the baseline {} is not selected: there will be no speed-up, only rates",
            matrix.baseline
        ));
    }
    if settings.get(&ALLOW_RAY) {
        notes.push(
            "Ray is allowed: workers that it starts are not ended by rollbench, and may hold the device afterwards"
                .to_owned(),
        );
    }
    if settings.elsewhere {
        notes.push(format!(
            "planned for another machine ({}): checkpoints that are not here are taken to be there",
            settings.platform
        ));
    }
    notes.extend(fidelity(settings, drafts));
    for (index, draft) in drafts.iter().enumerate() {
        notes.extend(wrong_format(draft));
        let doubts = draft.found.checkpoint().map_or(&[][..], |c| &c.doubts);
        notes.extend(
            doubts
                .iter()
                .map(|doubt| format!("{}: {doubt}", draft.cell.id)),
        );
        notes.extend(no_weights(draft));
        notes.extend(same_folder(draft, &drafts[..index]));
    }
    let later: Vec<&str> = drafts
        .iter()
        .filter_map(|draft| match &draft.found {
            Found::Later { shown, .. } => Some(shown.as_str()),
            Found::None | Found::Here { .. } => None,
        })
        .collect();
    let count = |prefix: &str| {
        later
            .iter()
            .filter(|shown| shown.starts_with(prefix))
            .count()
    };
    match count("managed:") {
        0 => {}
        n => notes.push(format!(
            "{n} demo checkpoint{} not made yet: `run` makes what is missing first",
            if n == 1 { " is" } else { "s are" }
        )),
    }
    match count("hf:") {
        0 => {}
        n => notes.push(format!(
            "{n} checkpoint{} not in the local hub cache: vLLM will download, and the format is unknown until then",
            if n == 1 { " is" } else { "s are" }
        )),
    }
    notes
}

/// What the files and the arguments say against a precision's name.
struct Doubt {
    text: String,
    /// Whether the floats that the name promises are quantized: then what is measured is no such number.
    quantized: bool,
}

/// Why the cell does not measure the floats that its precision's name promises, for its record; absent if it does, or
/// promises none.
pub(super) fn mismatch(draft: &Draft<'_>) -> Option<String> {
    doubt(draft)
        .filter(|doubt| doubt.quantized)
        .map(|doubt| doubt.text)
}

/// What fidelity costs beyond the blocks.
fn fidelity(settings: &Settings, drafts: &[Draft<'_>]) -> Option<String> {
    let fidelity = &settings.run.fidelity;
    let cells = drafts.iter().filter(|draft| draft.skip.is_none()).count();
    let quantized = cells.saturating_sub(settings.matrix.selected_models.len());
    let starts = cells + if fidelity.both_ways { quantized } else { 0 };
    fidelity.measure.then(|| {
        format!(
            "fidelity: {} more engine starts after the blocks; each cell samples {} tokens at most at temperature 1 and as many at 0, \
             and the baseline scores the former",
            starts * settings.run.blocks as usize,
            fidelity.tokens
        )
    })
}

/// A precision's name and its checkpoint's files disagree.
fn wrong_format(draft: &Draft<'_>) -> Option<String> {
    let path = &draft.found.checkpoint()?.info.path;
    Some(format!(
        "{}: {} ({path})",
        draft.cell.id,
        doubt(draft)?.text
    ))
}

fn doubt(draft: &Draft<'_>) -> Option<Doubt> {
    let name = draft.cell.id.precision.as_str();
    let expected = Scheme::of_precision(name)?;
    let files = draft.found.checkpoint()?.format.as_ref();
    let argument = |name: &str| draft.cell.args.get(name).map(|a| &a.value);
    // A name for what the cache holds says nothing of the weights.
    let cache = argument("kv_cache_dtype").and_then(|dtype| dtype.as_str());
    if name.contains("kv") && cache.is_some_and(|dtype| dtype != "auto") {
        return None;
    }
    let stored = files.map_or_else(|| "of an unknown format".to_owned(), ToString::to_string);
    let loading = on_the_fly(argument).filter(|_| !files.is_some_and(Format::is_quantized));
    let format = loading.as_ref().or(files);
    let floats = expected.kind == NumberKind::Float && expected.weights >= 16;
    let quantized = floats && format.is_some_and(Format::is_quantized);
    match format.and_then(|format| format.scheme) {
        Some(is) if is.agrees_with(expected) && !quantized => return None,
        // Files that say nothing at all hold floats.
        None if floats && !quantized => return None,
        _ => {}
    }
    let mut text = format!("the checkpoint is {stored}");
    if let Some(loading) = &loading {
        text = format!("{text}, quantized while it is loaded ({loading})");
    }
    let unknown = format.is_some_and(|f| f.is_quantized() && f.scheme.is_none()) && !floats;
    text.push_str(if unknown {
        ": whether that is what the precision is called cannot be told"
    } else {
        ", whatever the precision is called"
    });
    Some(Doubt { text, quantized })
}

/// What a float checkpoint is turned into while it is loaded; absent if nothing says that it is. (Only ModelSlim's method
/// cannot do that.)
fn on_the_fly<'a>(argument: impl Fn(&str) -> Option<&'a Value>) -> Option<Format> {
    let overrides = argument("hf_overrides").and_then(|o| o.get("quantization_config"));
    if let Some(quantization) = overrides.filter(|q| q.is_object()) {
        return Some(Format::of_quantization(quantization));
    }
    let method = argument("quantization").and_then(Value::as_str);
    let loader = argument("load_format").and_then(Value::as_str);
    let method = method
        .filter(|method| *method != "ascend")
        .or_else(|| loader.filter(|loader| *loader == "bitsandbytes"))?;
    let fp8 = method.contains("fp8") && !method.contains("mx");
    Some(Format {
        name: method.to_owned(),
        scheme: fp8.then(|| Scheme::of_precision("fp8")).flatten(),
        method: Some(method.to_owned()),
    })
}

fn no_weights(draft: &Draft<'_>) -> Option<String> {
    let checkpoint = draft.found.checkpoint()?;
    let dummy = draft
        .cell
        .args
        .get("load_format")
        .is_some_and(|f| f.value == "dummy");
    (checkpoint.info.shape_only && !dummy).then(|| {
        format!(
            "{}: {} has a config and no weights; it loads only with load_format = \"dummy\"",
            draft.cell.id, checkpoint.info.path
        )
    })
}

/// Two precisions that are told apart by nothing. (One checkpoint at two precisions is sound where the arguments differ:
/// quantized while loading, another KV-cache type.)
fn same_folder(draft: &Draft<'_>, before: &[Draft<'_>]) -> Option<String> {
    let path = |draft: &Draft<'_>| Some(draft.found.checkpoint()?.info.path.clone());
    let own = path(draft)?;
    let other = before.iter().find(|other| {
        let same_args =
            draft.cell.args.iter().all(|(name, value)| {
                other.cell.args.get(name).map(|v| &v.value) == Some(&value.value)
            });
        path(other).as_ref() == Some(&own)
            && same_args
            && other.cell.args.len() == draft.cell.args.len()
    })?;
    Some(format!(
        "{} and {} are the same checkpoint with the same arguments: {own}",
        other.cell.id, draft.cell.id
    ))
}
