//! YAML: a document's maps as dotted keys, each value with its line.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use super::{Entry, Read};

/// Reads a document into dotted keys. A list is one value, `[a, b]`; a key with nothing below it is `null`.
pub(super) fn read(text: &str) -> Read {
    let mut read = Read::default();
    match MarkedYaml::load_from_str(text) {
        Ok(documents) => {
            for document in &documents {
                put(&mut read, "", document, document.span.start.line());
            }
        }
        Err(error) => read.not_understood.push(format!(
            "line {}: no YAML: {}",
            error.marker().line(),
            error.info()
        )),
    }
    read
}

/// Puts what is below `path`.
fn put(read: &mut Read, path: &str, node: &MarkedYaml<'_>, line: usize) {
    match &node.data {
        YamlData::Mapping(pairs) if !pairs.is_empty() => {
            for (key, value) in pairs {
                let line = key.span.start.line();
                match flow(key) {
                    Some(key) if path.is_empty() => put(read, &key, value, line),
                    Some(key) => put(read, &format!("{path}.{key}"), value, line),
                    None => read
                        .not_understood
                        .push(format!("line {line}: {path}: a key that is no text")),
                }
            }
        }
        YamlData::Value(Scalar::Null) if path.is_empty() => {}
        _ => match flow(node).filter(|_| !path.is_empty()) {
            Some(value) => read.entries.push(Entry {
                key: path.to_owned(),
                value,
                line,
                ..Entry::default()
            }),
            None if path.is_empty() => read.not_understood.push(format!("line {line}: no map")),
            None => read.not_understood.push(format!("line {line}: {path}")),
        },
    }
}

/// A value on one line, as an override would have it.
fn flow(node: &MarkedYaml<'_>) -> Option<String> {
    Some(match &node.data {
        YamlData::Representation(text, ..) => text.to_string(),
        YamlData::Value(scalar) => match scalar {
            Scalar::Null => "null".to_owned(),
            Scalar::Boolean(value) => value.to_string(),
            Scalar::Integer(value) => value.to_string(),
            Scalar::FloatingPoint(value) => format!("{value:?}"),
            Scalar::String(value) => value.to_string(),
        },
        YamlData::Sequence(items) => {
            let items: Option<Vec<String>> = items.iter().map(flow).collect();
            format!("[{}]", items?.join(", "))
        }
        YamlData::Mapping(pairs) => {
            let pairs: Option<Vec<String>> = pairs
                .iter()
                .map(|(key, value)| Some(format!("{}: {}", flow(key)?, flow(value)?)))
                .collect();
            format!("{{{}}}", pairs?.join(", "))
        }
        YamlData::Tagged(_, inner) => flow(inner)?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nested_maps_become_dotted_keys() {
        let text = "data:\n  train_batch_size: 1024 # of prompts\nactor_rollout_ref:\n  rollout:\n    name: \"vllm\"\n    \
                    'n': 5\n    engine_kwargs:\n      vllm: {}\n  model:\n    path: /m/a#b\ntrainer:\n  logger:\n  - console\n  nnodes: 2\n  \
                    base: &x 5\n  same: *x\n  none:\n  list: [{a: 1}, b]\n";
        let found: Vec<String> = read(text)
            .entries
            .iter()
            .map(|e| format!("{} = {} ({})", e.key, e.value, e.line))
            .collect();
        insta::assert_snapshot!(found.join("\n"), @r"
data.train_batch_size = 1024 (2)
actor_rollout_ref.rollout.name = vllm (5)
actor_rollout_ref.rollout.n = 5 (6)
actor_rollout_ref.rollout.engine_kwargs.vllm = {} (8)
actor_rollout_ref.model.path = /m/a#b (10)
trainer.logger = [console] (12)
trainer.nnodes = 2 (14)
trainer.base = 5 (15)
trainer.same = 5 (16)
trainer.none = null (17)
trainer.list = [{a: 1}, b] (18)
");
    }

    #[test]
    fn what_is_none_is_named() {
        insta::assert_snapshot!(read("a: [1\nb: 2\n").not_understood.join("\n"), @"line 2: no YAML: illegal placement of ':' indicator");
        insta::assert_snapshot!(read("just words\n").not_understood.join("\n"), @"line 1: no map");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z:#'\"{}& \n-]{0,120}") {
            let _ = read(&text);
        }
    }
}
