//! Architectures that ship with rollbench, as `configs/shapes/NAME.json`.

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

macro_rules! known {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("../../../configs/shapes/", $name, ".json")))),+]
    };
}

const ALL: [(&str, &str); 8] = known![
    "qwen3-1.7b",
    "qwen3-4b",
    "qwen3-8b",
    "qwen3-32b",
    "qwen3-30b-a3b",
    "pangu-7b",
    "qwen2.5-7b",
    "llama-3.1-8b",
];

/// A known architecture.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    /// What tables show.
    pub label: String,
    /// What the config stands for, where it is not the model's own.
    #[serde(rename = "note")]
    _note: Option<String>,
    /// Engine arguments that it needs on accelerators, where nothing else says them.
    pub args: IndexMap<String, Value>,
    /// Its `config.json`, unquantized.
    pub config: Value,
}

impl Known {
    /// The architecture of this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let (_, text) = ALL.into_iter().find(|(known, _)| *known == name)?;
        serde_json::from_str(text).ok()
    }
}

/// The names of all.
pub(crate) fn known_names() -> impl Iterator<Item = &'static str> + Clone {
    ALL.into_iter().map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_reads() {
        let facts = known_names().map(|name| {
            let known = Known::of(name).expect("reads");
            let of = |key: &str| known.config[key].clone();
            format!(
                "{name}: {} layers of {}, {} heads of {} over {}, {} wide",
                of("num_hidden_layers"),
                of("hidden_size"),
                of("num_attention_heads"),
                of("head_dim"),
                of("num_key_value_heads"),
                known
                    .config
                    .get("moe_intermediate_size")
                    .unwrap_or(&of("intermediate_size")),
            )
        });
        insta::assert_snapshot!(facts.collect::<Vec<_>>().join("\n"), @"
    qwen3-1.7b: 28 layers of 2048, 16 heads of 128 over 8, 6144 wide
    qwen3-4b: 36 layers of 2560, 32 heads of 128 over 8, 9728 wide
    qwen3-8b: 36 layers of 4096, 32 heads of 128 over 8, 12288 wide
    qwen3-32b: 64 layers of 5120, 64 heads of 128 over 8, 25600 wide
    qwen3-30b-a3b: 48 layers of 2048, 32 heads of 128 over 4, 768 wide
    pangu-7b: 34 layers of 4096, 32 heads of 128 over 8, 12800 wide
    qwen2.5-7b: 28 layers of 3584, 28 heads of 128 over 4, 18944 wide
    llama-3.1-8b: 32 layers of 4096, 32 heads of 128 over 8, 14336 wide
    ");
    }
}
