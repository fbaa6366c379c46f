//! `--shapes`: known architectures at every scheme, in place of the models and precisions of the configuration.

use std::fmt::Write as _;

use indexmap::IndexMap;
use serde_json::Value;

use super::declared::SHAPES;
use super::diagnostic::{Diagnostics, listed, nearest};
use super::document::{Document, Made};
use super::{LoadRequest, Origin, Sourced};
use crate::checkpoint::{Known, Location, PRECISIONS, ShapeScheme, is_path, known_names};
use crate::device::Platform;
use crate::units::is_id;

/// What is measured where no `--quants` says it.
const USUAL: [&str; 4] = ["bf16", "w8a16", "w8a8", "fp8"];

/// Writes the matrix behind the document.
pub(super) fn append(request: &LoadRequest, document: &mut Document, found: &mut Diagnostics) {
    let names = request.flags.texts(&SHAPES.declaration);
    if names.is_empty() {
        return;
    }
    let from = document.text.len() + 1;
    let mut text = format!("\n{PRECISIONS}");
    for name in names {
        if let Some((id, label, of)) = model(request, name, found) {
            let _ = write!(text, "\n[[model]]\nname = {id:?}\nlabel = {label:?}\n");
            for scheme in ShapeScheme::names() {
                let _ = writeln!(
                    text,
                    "checkpoints.{scheme} = {{ shapes_of = {of:?}, scheme = {scheme:?} }}"
                );
            }
        }
    }
    document.text += &text;
    document.made = Some(Made {
        from,
        flag: "--shapes",
        precisions: &USUAL,
    });
}

/// Id, label, and what the shapes are of.
fn model(
    request: &LoadRequest,
    name: &str,
    found: &mut Diagnostics,
) -> Option<(String, String, String)> {
    if let Some(known) = Known::of(name) {
        return Some((name.to_owned(), known.label, name.to_owned()));
    }
    if !is_path(name) {
        found
            .plain(format!("unknown shape `{name}` in --shapes"))
            .help(near(name, known_names()))
            .help("a folder with a config.json is named with a slash: ./NAME");
        return None;
    }
    let folder = request.cwd.join(name);
    let last = folder.components().next_back()?.as_os_str().to_str()?;
    let id = last.replace('_', "-");
    if !is_id(&id) {
        found.plain(format!("--shapes: `{last}` cannot be the id of a model"));
        return None;
    }
    Some((id, last.to_owned(), folder.display().to_string()))
}

/// What vLLM needs to be told of a checkpoint without weights, where the user said nothing.
pub(super) fn derive(
    args: &mut IndexMap<String, Sourced<Value>>,
    location: &str,
    platform: Platform,
) {
    let Location::Shape { of, scheme } = Location::parse(location) else {
        return;
    };
    let mut say = |name: &str, value: Value, how| {
        args.entry(name.to_owned())
            .or_insert_with(|| Sourced::new(value, Origin::Derived(how)));
    };
    let how = "shape-only: speed, not text";
    say("load_format", "dummy".into(), how);
    say("skip_tokenizer_init", true.into(), how);
    if platform == Platform::Cpu {
        return;
    }
    if platform == Platform::Npu && scheme != ShapeScheme::Bf16 {
        say("quantization", "ascend".into(), "a ModelSlim description");
    }
    for (name, value) in Known::of(of).map(|known| known.args).unwrap_or_default() {
        say(&name, value, "of the known shape");
    }
}

/// The name that was meant, else all.
pub(super) fn near<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known are {}", listed(known)),
    }
}
