//! The digest of everything configured that changes what is measured.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::config::{CellSettings, Settings, Sourced};
use crate::record::hex;
use crate::units::Mode;

/// SHA-256 over canonical JSON (keys sorted) of engine arguments, environment, workload, seed, fan-out, mode, how online
/// steps are sent, steps and warm-up. Where the checkpoint lies does not matter: it has a fingerprint of its own. How many blocks are run does
/// not matter either: each is measured alike.
pub(crate) fn of(
    settings: &Settings,
    cell: &CellSettings,
    args: &IndexMap<String, Sourced<Value>>,
) -> String {
    let args: Map<String, Value> = args
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "model" | "tokenizer"))
        .map(|(name, value)| (name.clone(), value.value.clone()))
        .collect();
    let env: Map<String, Value> = cell
        .env
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.value.clone())))
        .collect();
    let run = &settings.run;
    let mut what = json!({
        "version": 1,
        "args": args,
        "env": env,
        // A specification holds numbers and texts only: it is always JSON.
        "workload": serde_json::to_value(&settings.workload).unwrap_or_default(),
        "seed": run.seed,
        "fan_out": run.fan_out,
        "mode": run.mode,
        "steps": run.steps,
        "warmup": run.warmup,
    });
    if run.mode == Mode::Online {
        let online = run.online.values().into_iter();
        what["online"] = online
            .map(|(path, value)| (path.to_owned(), value))
            .collect();
        if run.points() > 1 {
            what["warmup_at"] = "each point".into();
        }
    }
    hex(&Sha256::digest(canonical(what).to_string()))
}

/// The same value with all keys sorted.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            let sorted = entries
                .into_iter()
                .map(|(key, value)| (key, canonical(value)));
            Value::Object(sorted.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let a = canonical(json!({"b": {"y": 1, "x": [{"q": 1, "p": 2}]}, "a": 0}));
        assert_eq!(a.to_string(), r#"{"a":0,"b":{"x":[{"p":2,"q":1}],"y":1}}"#);
    }
}
