//! The JSON Schema of a configuration, for editors and CI, from the declared settings.

use serde_json::{Map, Value, json};

use super::declared::ALL;
use super::layer;
use super::setting::{Declaration, Kind};
use crate::checkpoint::ShapeScheme;

/// The schema, as text.
pub(crate) fn json_schema() -> String {
    let mut document = table([(
        "schema",
        json!({"const": 1, "description": "The version of the format"}),
    )]);
    for setting in ALL.iter().filter(|setting| setting.is_in_file()) {
        place(&mut document, setting.key, of(setting));
    }
    let layer: Vec<(&str, Value)> = layer::KEYS
        .into_iter()
        .map(|key| {
            (
                key,
                document["properties"]["engine"]["properties"][key].clone(),
            )
        })
        .collect();
    document["properties"]["precision"] = array(&precision(&layer));
    document["properties"]["model"] = array(&model(&layer));
    document["required"] = json!(["schema", "precision", "model"]);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rollbench.toml",
    });
    let mut whole = head;
    if let (Some(whole), Value::Object(document)) = (whole.as_object_mut(), document) {
        whole.extend(document);
    }
    format!("{whole:#}\n")
}

fn table<'a>(properties: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let properties: Map<String, Value> = properties
        .into_iter()
        .map(|(key, schema)| (key.to_owned(), schema))
        .collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn array(items: &Value) -> Value {
    json!({"type": "array", "minItems": 1, "items": items})
}

/// Puts the schema of a dotted key where it belongs; the tables on the way are made.
fn place(table_schema: &mut Value, key: &str, schema: Value) {
    match key.split_once('.') {
        None => table_schema["properties"][key] = schema,
        Some((section, rest)) => {
            let below = &mut table_schema["properties"][section];
            if below.is_null() {
                *below = table([]);
            }
            place(below, rest, schema);
        }
    }
}

/// A setting's schema.
fn of(setting: &Declaration) -> Value {
    let mut one = match setting.kind {
        Kind::Whole(least, greatest) => json!({
            "type": "integer",
            "minimum": super::setting::whole(least),
            "maximum": super::setting::whole(greatest),
        }),
        Kind::Number(_) => json!({"type": "number"}),
        Kind::Share => json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
        Kind::Switch => json!({"type": "boolean"}),
        Kind::Choice(of) | Kind::Either(of) => json!({"enum": words(of)}),
        Kind::Text | Kind::Path => json!({"type": "string"}),
        Kind::Own(own) => (own.schema)(),
    };
    if setting.many && !matches!(setting.kind, Kind::Own(_)) {
        one = json!({"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]});
    }
    one["description"] = setting.help_text().into();
    let default = setting.default_value();
    if !default.is_null() {
        one["default"] = default;
    }
    one
}

fn words(of: &[(&str, &str)]) -> Vec<String> {
    let word = |(word, _): &(&str, &str)| word.trim_start_matches('-').to_owned();
    of.iter().map(word).collect()
}

fn precision(layer: &[(&str, Value)]) -> Value {
    let text = json!({"type": "string"});
    let why = table(["cpu", "cuda", "npu"].map(|platform| (platform, text.clone())));
    let own = [
        ("name", named("Its id in flags and file names")),
        ("label", text.clone()),
        (
            "baseline",
            json!({"type": "boolean", "description": "Whether the others are compared with it"}),
        ),
        ("unsupported", why),
    ];
    let mut schema = table(own.into_iter().chain(layer.iter().cloned()));
    schema["required"] = json!(["name"]);
    schema
}

fn model(layer: &[(&str, Value)]) -> Value {
    let text = json!({"type": "string"});
    let mut checkpoint = table(["path", "revision", "tokenizer"].map(|key| (key, text.clone())));
    checkpoint["required"] = json!(["path"]);
    let mut shape = table([
        ("shapes_of", text.clone()),
        (
            "scheme",
            json!({"enum": ShapeScheme::names().collect::<Vec<_>>()}),
        ),
        ("tokenizer", text.clone()),
    ]);
    shape["required"] = json!(["shapes_of", "scheme"]);
    let checkpoint = json!({"anyOf": [text, checkpoint, shape]});
    let by_precision = |schema: Value| json!({"type": "object", "additionalProperties": schema});
    let own = [
        ("name", named("Its id in flags and file names")),
        ("label", text),
        ("checkpoints", by_precision(checkpoint)),
        ("cells", by_precision(table(layer.iter().cloned()))),
    ];
    let mut schema = table(own.into_iter().chain(layer.iter().cloned()));
    schema["required"] = json!(["name"]);
    schema
}

fn named(description: &str) -> Value {
    json!({"type": "string", "pattern": "^[A-Za-z0-9+][A-Za-z0-9.+-]*$", "description": description})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::BUILT_IN;

    #[test]
    fn the_file_in_the_repository_is_as_new() {
        assert!(
            include_str!("../../configs/rollbench.schema.json") == json_schema(),
            "rollbench schema config > configs/rollbench.schema.json"
        );
    }

    /// What is in the document and not in the schema.
    fn unknown(value: &toml::Value, schema: &Value, path: &str, all: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let known = &schema["properties"][key];
                    let others = &schema["additionalProperties"];
                    match (known, others) {
                        (Value::Null, Value::Bool(false)) => all.push(format!("{path}.{key}")),
                        (Value::Null, others) => {
                            unknown(value, others, &format!("{path}.{key}"), all);
                        }
                        (known, _) => unknown(value, known, &format!("{path}.{key}"), all),
                    }
                }
            }
            toml::Value::Array(items) => {
                for item in items {
                    unknown(item, &schema["items"], path, all);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn the_built_in_matrices_keep_to_it() {
        let schema: Value = serde_json::from_str(&json_schema()).expect("JSON");
        for (name, text) in BUILT_IN {
            let document: toml::Value = toml::from_str(text).expect("TOML");
            let mut all = Vec::new();
            unknown(&document, &schema, name, &mut all);
            assert_eq!(all, Vec::<String>::new());
        }
    }
}
