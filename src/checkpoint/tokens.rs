//! The token ids that random prompts may hold: below the vocabulary's size, and none that a tokenizer added by hand
//! (end of text, chat turns, image placeholders, tool calls), because those change what a model does.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::format::field;
use crate::record::read_regular;
use crate::workload::Vocabulary;

/// Of `tokenizer.json`, what is needed; the rest is skipped while reading.
#[derive(Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
}

/// The vocabulary of a checkpoint's folder; absent if its config does not tell the size.
pub(crate) fn vocabulary(folder: &Path, config: &Value) -> Option<Vocabulary> {
    let size: u32 = field(config, "vocab_size")?.as_u64()?.try_into().ok()?;
    let mut special = BTreeSet::new();
    let generation = read_json(&folder.join("generation_config.json"));
    for source in [Some(config), generation.as_ref()].into_iter().flatten() {
        for name in [
            "bos_token_id",
            "eos_token_id",
            "pad_token_id",
            "unk_token_id",
        ] {
            match field(source, name) {
                Some(Value::Array(ids)) => special.extend(ids.iter().filter_map(id)),
                Some(one) => special.extend(id(one)),
                None => {}
            }
        }
    }
    if let Ok(bytes) = read_regular(&folder.join("tokenizer.json"))
        && let Ok(tokenizer) = serde_json::from_slice::<TokenizerFile>(&bytes)
    {
        special.extend(tokenizer.added_tokens.iter().map(|t| t.id));
    }
    let decoder = read_json(&folder.join("tokenizer_config.json"));
    if let Some(Value::Object(added)) = decoder.as_ref().and_then(|d| d.get("added_tokens_decoder"))
    {
        special.extend(added.keys().filter_map(|key| key.parse::<u32>().ok()));
    }
    Some(Vocabulary {
        size,
        special: special.into_iter().filter(|id| *id < size).collect(),
    })
}

/// What all of them may hold: the same prompts for every precision of a model, also where a conversion padded the
/// vocabulary. Absent if there is none.
pub(crate) fn common_vocabulary<'a>(
    all: impl IntoIterator<Item = &'a Vocabulary>,
) -> Option<Vocabulary> {
    all.into_iter().cloned().reduce(|a, b| {
        let size = a.size.min(b.size);
        let special: BTreeSet<u32> = a.special.into_iter().chain(b.special).collect();
        Vocabulary {
            size,
            special: special.into_iter().filter(|id| *id < size).collect(),
        }
    })
}

fn id(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

fn read_json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&read_regular(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn special_tokens_come_from_every_file_that_names_them() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let write = |name: &str, value: Value| {
            std::fs::write(dir.path().join(name), value.to_string()).expect("written");
        };
        write("generation_config.json", json!({"eos_token_id": [2, 7]}));
        write(
            "tokenizer.json",
            json!({"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 90, "special": true}, {"id": 100}]}),
        );
        write(
            "tokenizer_config.json",
            json!({"added_tokens_decoder": {"91": {}}}),
        );
        let config = json!({"vocab_size": 100, "bos_token_id": 1, "pad_token_id": null});
        let read = vocabulary(dir.path(), &config).expect("told");
        assert_eq!(read.size, 100);
        assert_eq!(read.special, [1, 2, 7, 90, 91]);
    }

    #[test]
    fn what_is_common_is_the_smaller_vocabulary_without_any_special_token() {
        let a = Vocabulary {
            size: 100,
            special: vec![1, 99],
        };
        let b = Vocabulary {
            size: 96,
            special: vec![2],
        };
        let common = common_vocabulary([&a, &b]).expect("two");
        assert_eq!((common.size, common.special), (96, vec![1, 2]));
        assert_eq!(common_vocabulary([]), None);
    }
}
