//! Which environment variables a record keeps: those that change how fast an engine is or what it loads.

use std::collections::BTreeMap;

use crate::record::redact;

/// Variables of these families bear on speed: vLLM and its platforms, collectives, allocators, threads, caches.
const FAMILIES: [&str; 20] = [
    "ASCEND_",
    "ATB_",
    "CUDA_",
    "FLASHINFER_",
    "GLOO_",
    "GOMP_",
    "HCCL_",
    "HF_",
    "KMP_",
    "MKL_",
    "NCCL_",
    "NPU_",
    "NVIDIA_",
    "OMP_",
    "PYTORCH_",
    "RAY_",
    "TORCH",
    "TRITON_",
    "VLLM_",
    "XLA_",
];
/// And these alone.
const NAMES: [&str; 6] = [
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "MALLOC_ARENA_MAX",
    "PYTHONHASHSEED",
    "PYTHONPATH",
    "TASK_QUEUE_ENABLE",
];

/// The variables of `inherited` and `configured` (which wins) that bear on speed, secrets redacted.
pub(crate) fn recorded(
    inherited: impl Iterator<Item = (String, String)>,
    configured: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let inherited = inherited.filter(|(name, _)| bears_on_speed(name));
    let configured = configured
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()));
    inherited
        .chain(configured)
        .map(|(name, value)| {
            let shown = redact::named(&name, &value);
            (name, shown)
        })
        .collect()
}

fn bears_on_speed(name: &str) -> bool {
    NAMES.contains(&name)
        || name.ends_with("_VISIBLE_DEVICES")
        || FAMILIES.iter().any(|family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_bears_on_speed_and_no_secret() {
        let inherited = [
            ("VLLM_USE_V1", "1"),
            ("HF_TOKEN", "hf_secret"),
            ("HOME", "/home/a"),
            ("GPU_VISIBLE_DEVICES", "1"),
        ];
        let inherited = inherited.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let configured = BTreeMap::from([("VLLM_USE_V1".to_owned(), "0".to_owned())]);
        let kept = recorded(inherited.into_iter(), &configured);
        assert_eq!(
            kept.keys().collect::<Vec<_>>(),
            ["GPU_VISIBLE_DEVICES", "HF_TOKEN", "VLLM_USE_V1"]
        );
        assert_eq!(kept["VLLM_USE_V1"], "0");
        assert!(!kept["HF_TOKEN"].contains("secret"));
    }
}
