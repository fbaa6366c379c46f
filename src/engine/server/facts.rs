//! What the launcher and the server tell of themselves.

use std::path::Path;

use crate::engine::started::Told;

/// The launcher's file, as far as it is written: absent until vLLM is imported, without `effective` until vLLM has
/// resolved its configuration, and always without `kv_tokens`.
pub(super) fn read(scratch: &Path) -> Option<Told> {
    serde_json::from_slice(&std::fs::read(scratch.join("facts.json")).ok()?).ok()
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
