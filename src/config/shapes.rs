//! Settings that are tables or lists of a form of their own: how TOML writes them, and their schema.

use serde_json::{Value, json};

use super::diagnostic::{Diagnostics, listed};
use super::document::At;
use super::pacing::parse_ramp;
use super::setting::Own;
use super::walk::{Table, wrong_type};
use crate::workload::Lengths;

/// More tokens than this are a typo, not a workload.
pub(super) const MAX_TOKENS: i128 = 10_000_000;

/// Names of what the matrix declares; [`super::raw`] reads them, since each has its own place.
pub(super) const SELECTION: Own = Own {
    read: |_, _, _| None,
    words: "a list of texts",
    schema: || json!({"type": "array", "items": {"type": "string"}}),
};

/// Arguments of a layer; [`super::layer`] reads them.
pub(super) const LAYER_TABLE: Own = Own {
    read: |_, _, _| None,
    words: "a table of any TOML values",
    schema: || json!({"type": "object"}),
};

/// Variables of a layer; [`super::layer`] reads them.
pub(super) const TEXT_TABLE: Own = Own {
    read: |_, _, _| None,
    words: "a table of texts",
    schema: || json!({"type": "object", "additionalProperties": {"type": "string"}}),
};

/// Objectives of a request, in milliseconds.
pub(super) const GOODPUT_TABLE: Own = Own {
    read: goodput,
    words: "`{ ttft_ms = 500, tpot_ms = 50, e2el_ms = 9000 }`, or some of these",
    schema: || {
        let ms = json!({"type": "number", "exclusiveMinimum": 0});
        json!({
            "type": "object",
            "properties": {"ttft_ms": ms, "tpot_ms": ms, "e2el_ms": ms},
            "additionalProperties": false,
        })
    },
};

/// A rate that grows: `FROM:TO` or `FROM:TO:exponential`.
pub(super) const RAMP_TEXT: Own = Own {
    read: |online, key, found| {
        let said = online.text(key, found)?;
        let ramp = parse_ramp(&said.value, &mut Diagnostics::default());
        if ramp.is_none() {
            found
                .at(&said.span, format!("`{}` is no ramp", online.path_of(key)))
                .label("write \"FROM:TO\" or \"FROM:TO:exponential\", in requests per second");
        }
        ramp.map(|_| At::new(said.value.into(), said.span))
    },
    words: "`\"1:20\"` or `\"1:20:exponential\"`",
    schema: || json!({"type": "string", "pattern": "^[^:]+:[^:]+(:linear|:exponential)?$"}),
};

/// A distribution: `{ kind = "lognormal", mean = 1060, sigma = 0.7, cap = 4096 }`.
pub(super) const LENGTHS_TABLE: Own = Own {
    read: lengths,
    words: "`{ kind = \"lognormal\", mean = 1060, sigma = 0.7, cap = 4096 }`; kinds: `fixed`, `uniform`, `lognormal`, `bimodal`, `empirical`",
    schema: || {
        let kind = |(kind, fields): &(&str, &[&str])| {
            let mut properties = serde_json::Map::new();
            properties.insert("kind".to_owned(), json!({"const": kind}));
            for field in *fields {
                let schema = match *field {
                    "lengths" => {
                        json!({"type": "array", "items": {"type": "integer", "minimum": 1}})
                    }
                    "tokens" | "min" | "max" | "cap" => {
                        json!({"type": "integer", "minimum": 1, "maximum": MAX_TOKENS})
                    }
                    _ => json!({"type": "number"}),
                };
                properties.insert((*field).to_owned(), schema);
            }
            let required: Vec<&str> = [&["kind"], *fields].concat();
            json!({
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            })
        };
        json!({"oneOf": KINDS.iter().map(kind).collect::<Vec<_>>()})
    },
};

/// The distributions and what each is described by.
const KINDS: [(&str, &[&str]); 5] = [
    ("fixed", &["tokens"]),
    ("uniform", &["min", "max"]),
    ("lognormal", &["mean", "sigma", "cap"]),
    ("bimodal", &["short", "long", "long_share", "sigma", "cap"]),
    ("empirical", &["lengths"]),
];

fn goodput(online: &Table<'_>, key: &str, found: &mut Diagnostics) -> Option<At<Value>> {
    const NAMES: [&str; 3] = ["ttft_ms", "tpot_ms", "e2el_ms"];
    let table = online.table(key, found)?;
    table.only(&NAMES, found);
    let fits = |ms: f64| {
        let sound = ms > 0.0 && ms.is_finite();
        sound.then_some(()).ok_or("milliseconds above 0")
    };
    let parts = NAMES.into_iter().filter_map(|name| {
        Some((
            name.to_owned(),
            table.number(name, fits, found)?.value.into(),
        ))
    });
    Some(At::new(Value::Object(parts.collect()), table.span.clone()))
}

fn lengths(workload: &Table<'_>, key: &str, found: &mut Diagnostics) -> Option<At<Value>> {
    let short = match key {
        "prompt" => "input_len",
        _ => "output_len",
    };
    if let (Some((first, _)), Some((second, _))) = (workload.get(short), workload.get(key)) {
        found
            .at(
                &second.span,
                format!("both `{short}` and `{key}` say how long"),
            )
            .related(first.span, "the other one");
    }
    let table = workload.table(key, found)?;
    let kinds = KINDS.map(|(kind, _)| kind);
    let Some((kind_key, _)) = table.get("kind") else {
        found
            .at(&table.span, format!("`{}` has no `kind`", table.path))
            .help(format!("the kinds are {}", listed(kinds)));
        return None;
    };
    let kind = table.choice("kind", &kinds, found)?;
    let fields = KINDS.iter().find(|(name, _)| *name == kind)?.1;
    table.only(&[&["kind"], fields].concat(), found);
    let missing: Vec<&str> = fields
        .iter()
        .copied()
        .filter(|f| table.get(f).is_none())
        .collect();
    if !missing.is_empty() {
        found.at(
            &kind_key.span,
            format!("a {kind} distribution also needs {}", listed(missing)),
        );
        return None;
    }
    let lengths = distribution(kind, &table, found)?;
    if let Err(error) = lengths.check() {
        found.at(&table.span, error.to_string());
        return None;
    }
    let value = serde_json::to_value(&lengths).ok()?;
    Some(At::new(value, table.span))
}

fn distribution(kind: &str, table: &Table<'_>, found: &mut Diagnostics) -> Option<Lengths> {
    let mut tokens = |key| {
        let tokens = table.integer(key, 1..=MAX_TOKENS, found)?.value;
        u32::try_from(tokens).ok()
    };
    Some(match kind {
        "fixed" => Lengths::Fixed {
            tokens: tokens("tokens")?,
        },
        "uniform" => Lengths::Uniform {
            min: tokens("min")?,
            max: tokens("max")?,
        },
        "lognormal" => Lengths::Lognormal {
            cap: tokens("cap")?,
            mean: number(table, "mean", found)?,
            sigma: number(table, "sigma", found)?,
        },
        "bimodal" => Lengths::Bimodal {
            cap: tokens("cap")?,
            short: number(table, "short", found)?,
            long: number(table, "long", found)?,
            long_share: number(table, "long_share", found)?,
            sigma: number(table, "sigma", found)?,
        },
        _ => Lengths::Empirical {
            lengths: observed(table, found)?,
            source: None,
        },
    })
}

fn number(table: &Table<'_>, key: &str, found: &mut Diagnostics) -> Option<f64> {
    let finite = |n: f64| {
        if n.is_finite() {
            Ok(())
        } else {
            Err("a number")
        }
    };
    Some(table.number(key, finite, found)?.value)
}

/// `lengths = [120, 80, 990]`, in any order.
fn observed(table: &Table<'_>, found: &mut Diagnostics) -> Option<Vec<u32>> {
    let (_, value) = table.get("lengths")?;
    let wanted = "a list of lengths, each a whole number of 1 at least";
    let Some(items) = value.get_ref().as_array() else {
        wrong_type(value, &table.path_of("lengths"), wanted, found);
        return None;
    };
    let mut lengths = Vec::with_capacity(items.len());
    for item in items {
        let length = item
            .get_ref()
            .as_integer()
            .and_then(|i| i.as_str().parse::<u32>().ok());
        let Some(length) = length.filter(|l| *l >= 1) else {
            wrong_type(item, &table.path_of("lengths"), wanted, found);
            return None;
        };
        lengths.push(length);
    }
    lengths.sort_unstable();
    Some(lengths)
}
