//! What does not stop a run but should be known before it.

use super::make::{Draft, Found};
use crate::checkpoint::{NumberKind, Scheme};
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
    for (index, draft) in drafts.iter().enumerate() {
        notes.extend(wrong_format(draft));
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

/// A precision's name and its checkpoint's files disagree.
fn wrong_format(draft: &Draft<'_>) -> Option<String> {
    let checkpoint = draft.found.checkpoint()?;
    let format = checkpoint.format.as_ref()?;
    let (is, id) = (format.scheme?, &draft.cell.id);
    let expected = Scheme::of_precision(id.precision.as_str())?;
    // A float checkpoint may be quantized while it is loaded; only ModelSlim's method cannot do that.
    let on_the_fly = is.kind == NumberKind::Float
        && is.weights >= 16
        && draft
            .cell
            .args
            .get("quantization")
            .is_some_and(|q| !q.value.is_null() && q.value != "ascend");
    (!is.agrees_with(expected) && !on_the_fly).then(|| {
        format!(
            "{id}: the checkpoint is {format}, whatever the precision is called ({})",
            checkpoint.info.path
        )
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
