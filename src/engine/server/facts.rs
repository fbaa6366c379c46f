//! What the launcher and the server tell of themselves.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

use crate::record::Difference;

/// The launcher's file, as far as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct ServerFacts {
    pub(super) platform: String,
    pub(super) versions: BTreeMap<String, String>,
    pub(super) import_s: f64,
    /// Absent until vLLM has resolved its configuration.
    #[serde(default)]
    pub(super) effective: IndexMap<String, Value>,
    #[serde(default)]
    pub(super) difference: IndexMap<String, Difference>,
}

impl ServerFacts {
    /// Absent until vLLM is imported.
    pub(super) fn read(scratch: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(scratch.join("facts.json")).ok()?).ok()
    }
}

/// The capacity of the KV cache in tokens, of all engines together: `vllm:cache_config_info` on `/metrics`.
pub(super) fn kv_tokens(metrics: &str) -> Option<u64> {
    metrics
        .lines()
        .filter(|line| line.starts_with("vllm:cache_config_info{"))
        .map(|line| {
            let number = |name: &str| {
                let (_, rest) = line.split_once(&format!("{name}=\""))?;
                rest.split('"').next()?.parse::<u64>().ok()
            };
            Some(
                number("num_gpu_blocks")?
                    * number(",block_size").or_else(|| number("{block_size"))?,
            )
        })
        .reduce(|all, one| Some(all? + one?))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capacity_is_read_from_labels() {
        let line = |blocks: &str| {
            format!(
                "vllm:cache_config_info{{block_size=\"128\",hash_block_size=\"16\",num_gpu_blocks=\"{blocks}\"}} 1.0\n"
            )
        };
        assert_eq!(kv_tokens(&(line("10") + &line("20"))), Some(30 * 128));
        assert_eq!(kv_tokens(&line("None")), None);
        assert_eq!(kv_tokens("vllm:other 1\n"), None);
    }
}
