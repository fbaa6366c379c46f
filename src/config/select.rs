//! Which models and precisions are selected: flags, else `[select]`, else all.

use toml::de::DeTable;

use super::context::Context;
use super::declared::{MODELS, PRECISIONS};
use super::diagnostic::{Diagnostics, listed, nearest};
use super::document::{At, Name};
use super::source::BUILT_IN;
use super::walk::Table;
use crate::units::{ModelId, PrecisionId};

/// In the order of declaration.
pub(super) fn models(context: &Context<'_>, found: &mut Diagnostics) -> Vec<ModelId> {
    let declared: Vec<&ModelId> = context.raw.models.iter().map(|m| &m.id).collect();
    let names: Vec<&str> = declared.iter().map(|id| id.as_str()).collect();
    let flags = context.values.get(&MODELS);
    check(context, &flags, &names, ("--models", "model"), found);
    let file = context.raw.select_models.as_deref();
    declared
        .into_iter()
        .filter(|id| is_chosen(id.as_str(), &flags, file))
        .cloned()
        .collect()
}

/// In the order of declaration.
pub(super) fn precisions(context: &Context<'_>, found: &mut Diagnostics) -> Vec<PrecisionId> {
    let declared: Vec<&PrecisionId> = context.raw.precisions.iter().map(|p| &p.id).collect();
    let names: Vec<&str> = declared.iter().map(|id| id.as_str()).collect();
    let flags = context.values.get(&PRECISIONS);
    check(context, &flags, &names, ("--quants", "precision"), found);
    let file = context.raw.select_precisions.as_deref();
    declared
        .into_iter()
        .filter(|id| is_chosen(id.as_str(), &flags, file))
        .cloned()
        .collect()
}

/// An unknown name in a flag is a mistake that names the near ones and the built-in matrices that have it.
fn check(
    context: &Context<'_>,
    flags: &[String],
    declared: &[&str],
    (flag, what): (&str, &str),
    found: &mut Diagnostics,
) {
    for name in flags {
        if declared.contains(&name.as_str()) {
            continue;
        }
        let mistake = found.plain(format!("unknown {what} `{name}` in {flag}"));
        if let Some(near) = nearest(name, declared.iter().copied()) {
            mistake.help(format!("did you mean `{near}`?"));
        }
        mistake.help(format!(
            "the {what}s of {} are {}",
            context.document.shown(),
            listed(declared.iter().copied())
        ));
        for (built_in, text) in BUILT_IN {
            if context.document.name != Name::BuiltIn(built_in) && declares(text, what, name) {
                mistake.help(format!(
                    "the built-in matrix `{built_in}` has it: --config {built_in}"
                ));
            }
        }
    }
}

fn is_chosen(name: &str, flags: &[String], file: Option<&[At<String>]>) -> bool {
    match (flags, file) {
        ([], None) => true,
        ([], Some(file)) => file.iter().any(|f| f.value == name),
        (flags, _) => flags.iter().any(|f| f == name),
    }
}

/// Whether a built-in matrix declares `name`.
fn declares(text: &str, what: &str, name: &str) -> bool {
    let (root, _) = DeTable::parse_recoverable(text);
    let mut ignored = Diagnostics::default();
    Table::root(&root)
        .tables(what, &mut ignored)
        .iter()
        .any(|table| {
            table
                .text("name", &mut Diagnostics::default())
                .is_some_and(|declared| declared.value == name)
        })
}
