//! One layer of engine settings: `args`, `env`, `unset`, `limits`; the same keys for the engine, a model, a
//! precision and a cell.

use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value;

use super::declared::{self, FLUSH_LIMIT, STALL_LIMIT, START_LIMIT, STOP_LIMIT};
use super::diagnostic::Diagnostics;
use super::document::{At, Document};
use super::setting::Setting;
use super::values::Seconds;
use super::walk::{Table, json};
use super::{Limits, Sourced};

/// The keys of a layer.
pub(crate) const KEYS: [&str; 4] = ["args", "env", "unset", "limits"];

const LIMITS: [&Setting<Seconds>; 4] = [&START_LIMIT, &STALL_LIMIT, &STOP_LIMIT, &FLUSH_LIMIT];

/// Arguments that are not the user's to set, and why.
const OWN: [(&str, &str); 2] = [
    (
        "model",
        "a cell's model is its checkpoint: set it in `checkpoints`",
    ),
    (
        "disable_log_stats",
        "rollbench reads vLLM's counters and keeps them on",
    ),
];

/// A layer as written.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    pub(crate) args: Vec<(String, At<Value>)>,
    pub(crate) env: Vec<(String, At<String>)>,
    pub(crate) unset: Vec<At<String>>,
    limits: [Option<At<f64>>; 4],
}

impl Layer {
    /// Reads the layer's keys of `table`.
    pub(crate) fn read(table: &Table<'_>, found: &mut Diagnostics) -> Self {
        let mut layer = Self::default();
        if let Some(args) = table.table("args", found) {
            for (key, value) in args.entries() {
                if !argument_is_allowed(&key, found) {
                    continue;
                }
                let path = args.path_of(key.value);
                if key.value == "gpu_memory_utilization" {
                    args.number(key.value, declared::share_of_memory, found);
                }
                if let Some(json) = json(value, &path, found) {
                    layer
                        .args
                        .push((key.value.to_owned(), At::new(json, value.span())));
                }
            }
        }
        if let Some(env) = table.table("env", found) {
            for (key, _) in env.entries() {
                if key.value.is_empty() || key.value.contains(['=', '\0']) {
                    let message = format!("{:?} is no name of a variable", key.value);
                    found.at(&key.span, message);
                    continue;
                }
                if let Some(text) = env.text(key.value, found) {
                    layer.env.push((key.value.to_owned(), text));
                }
            }
        }
        layer.unset = table.texts("unset", found).unwrap_or_default();
        if let Some(limits) = table.table("limits", found) {
            let names = LIMITS.map(|limit| limit.declaration.last_key());
            limits.only(&names, found);
            layer.limits = names.map(|name| limits.number(name, declared::seconds, found));
        }
        layer
    }

    /// Lays this layer over what the ones below it said.
    pub(crate) fn apply(&self, document: &Document, onto: &mut Merged) {
        for name in &self.unset {
            onto.args.shift_remove(&name.value);
        }
        for (name, value) in &self.args {
            let sourced = Sourced::new(value.value.clone(), document.origin(&value.span));
            onto.args.insert(name.clone(), sourced);
            onto.spans.insert(name.clone(), value.span.clone());
        }
        for (name, value) in &self.env {
            let sourced = Sourced::new(value.value.clone(), document.origin(&value.span));
            onto.env.insert(name.clone(), sourced);
            onto.env_spans.insert(name.clone(), value.span.clone());
        }
        let limits = [
            &mut onto.limits.start,
            &mut onto.limits.stall,
            &mut onto.limits.stop,
            &mut onto.limits.profile_flush,
        ];
        for (limit, said) in limits.into_iter().zip(&self.limits) {
            if let Some(seconds) = said {
                *limit = Duration::from_secs_f64(seconds.value);
            }
        }
    }
}

/// Layers laid over each other.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) args: IndexMap<String, Sourced<Value>>,
    pub(crate) env: IndexMap<String, Sourced<String>>,
    pub(crate) limits: Limits,
    pub(crate) spans: IndexMap<String, std::ops::Range<usize>>,
    pub(crate) env_spans: IndexMap<String, std::ops::Range<usize>>,
}

fn argument_is_allowed(key: &At<&str>, found: &mut Diagnostics) -> bool {
    if let Some((_, why)) = OWN.iter().find(|(own, _)| *own == key.value) {
        found
            .at(
                &key.span,
                format!("`{}` cannot be set in `args`", key.value),
            )
            .label(*why);
        return false;
    }
    let name = key.value;
    let python = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !python {
        let mistake = found.at(
            &key.span,
            format!("`{name}` is no name of an engine argument"),
        );
        let spelled = name.trim_start_matches('-').replace('-', "_");
        mistake.label(format!("by its Python name: `{spelled}`"));
    }
    python
}
