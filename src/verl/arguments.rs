//! verl's settings that become arguments of the engine.

use std::fmt::Write as _;

use super::settings::Settings;
use super::toml::{dotted, literal, put};
use super::{Entry, ROLLOUT};

/// What verl hands to vLLM as it is.
pub(super) const ENGINE_KWARGS: &str = "actor_rollout_ref.rollout.engine_kwargs.vllm.";

/// Settings of the rollout that become engine arguments under this name, and verl's default.
const ARGUMENTS: [(&str, &str, Option<&str>); 16] = [
    ("dtype", "dtype", Some("bfloat16")),
    (
        "tensor_model_parallel_size",
        "tensor_parallel_size",
        Some("2"),
    ),
    (
        "pipeline_model_parallel_size",
        "pipeline_parallel_size",
        None,
    ),
    ("data_parallel_size", "data_parallel_size", None),
    (
        "gpu_memory_utilization",
        "gpu_memory_utilization",
        Some("0.5"),
    ),
    // 1024 in verl 0.6.1, and in its documentation long after (verl's pull request 7646).
    ("max_num_seqs", "max_num_seqs", Some("256")),
    (
        "max_num_batched_tokens",
        "max_num_batched_tokens",
        Some("8192"),
    ),
    (
        "enable_chunked_prefill",
        "enable_chunked_prefill",
        Some("true"),
    ),
    (
        "enable_prefix_caching",
        "enable_prefix_caching",
        Some("true"),
    ),
    ("enforce_eager", "enforce_eager", Some("false")),
    ("enable_sleep_mode", "enable_sleep_mode", None),
    ("logprobs_mode", "logprobs_mode", Some("processed_logprobs")),
    ("scheduling_policy", "scheduling_policy", None),
    ("max_model_len", "max_model_len", None),
    (
        "cudagraph_capture_sizes",
        "compilation_config.cudagraph_capture_sizes",
        None,
    ),
    ("seed", "seed", None),
];

/// What vLLM calls a setting of the rollout; absent if it is none of its arguments.
pub(super) fn engine_name(setting: &str) -> Option<&'static str> {
    let known = ARGUMENTS.iter().find(|(verl, _, _)| *verl == setting);
    known.map(|(_, name, _)| *name)
}

/// Writes `[engine.args]`. What stands in `engine_kwargs.vllm` comes last in verl, so it wins.
pub(super) fn write(settings: &Settings<'_>, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "\n[engine]\npython = \"python3\"\n\n[engine.args]");
    if let Some(entry) = settings.get("actor_rollout_ref.model.trust_remote_code") {
        said(settings, out, "trust_remote_code", entry);
    }
    for (verl, name, default) in ARGUMENTS {
        let key = format!("{ROLLOUT}{verl}");
        if settings.get(&format!("{ENGINE_KWARGS}{name}")).is_some() {
            continue;
        }
        match (settings.get(&key), default) {
            (Some(entry), _) => said(settings, out, name, entry),
            (None, Some(default)) => put(out, name, &literal(default), &settings.by_default(&key)),
            (None, None) => {}
        }
    }
    if let Some(entry) = settings.get("actor_rollout_ref.rollout.expert_parallel_size")
        && entry.value != "1"
    {
        // vLLM has a switch: experts are spread over all of tensor x data parallel, and verl asks for that product.
        put(
            out,
            "enable_expert_parallel",
            "true",
            &settings.origin(entry),
        );
    }
    // A map in Hydra's notation is left, to be named as not understood.
    let plain = |entry: &&Entry| !entry.value.starts_with('{');
    for entry in settings.below(ENGINE_KWARGS).filter(plain) {
        let name = &entry.key[ENGINE_KWARGS.len()..];
        said(settings, out, &dotted(name), entry);
    }
}

fn said(settings: &Settings<'_>, out: &mut String, name: &str, entry: &Entry) {
    put(out, name, &literal(&entry.value), &settings.origin(entry));
}
