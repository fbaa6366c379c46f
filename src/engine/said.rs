//! What vLLM says in its log of the stage it is in, and of the kernels and ways that it fell back to. The texts are
//! data (`said.toml`).

use std::sync::LazyLock;

use serde::Deserialize;

use super::causes::{Pattern, fill};
use super::log::{LogLine, parse_line};

static SAID: LazyLock<Said> =
    LazyLock::new(|| toml::from_str(include_str!("said.toml")).expect("a test reads it"));

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    stage: Vec<Stage>,
    fallback: Vec<Fallback>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stage {
    line: Pattern,
    doing: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fallback {
    line: Pattern,
    says: String,
}

/// What an engine that says this is doing: `loading weights, 2 of 4 files`; absent if it does not tell.
pub(super) fn stage(line: &LogLine<'_>) -> Option<String> {
    SAID.stage.iter().find_map(|stage| {
        let found = stage.line.captures(line.message)?;
        Some(fill(&stage.doing, &found, line.message, ""))
    })
}

/// What a log says about slow ways that were taken, in order, without repeats.
pub(super) fn fallbacks(log: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in log.lines().map(parse_line) {
        // What a logger did not say is a quotation, a progress bar or an argument.
        if line.level.is_empty() || line.level == "DEBUG" {
            continue;
        }
        let says = SAID.fallback.iter().find_map(|fallback| {
            let found = fallback.line.captures(line.message)?;
            let short: String = line.message.chars().take(160).collect();
            Some(fill(&fallback.says, &found, &short, ""))
        });
        if let Some(says) = says
            && !found.contains(&says)
        {
            found.push(says);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_explains_a_slow_number_is_said_once() {
        let log = include_str!("../../tests/cases/logs/fallback-kernels");
        let again = log.replace("pid=7", "pid=8").replace("4096", "2048");
        assert_eq!(
            fallbacks(&format!("{log}{again}")),
            [
                "weight-only FP8 through Marlin: this device computes no FP8, activations stay 16 bit",
                "untuned kernels for W8A8 Block FP8 (no configuration for this device and shape)",
                "untuned kernels for MoE (no configuration for this device and shape)",
                "the kernels' autotuner ran out of memory and took default tactics",
            ]
        );
    }

    #[test]
    fn ways_that_vllm_releases_fall_back_are_known() {
        let cases = [
            (
                "Custom allreduce is disabled because it's not supported on more than two PCIe-only GPUs.",
                "no custom all-reduce",
            ),
            (
                "CUDA graph is not supported for deepseek_v2 on ROCm yet, fallback to the eager mode.",
                "no graphs",
            ),
            (
                "Layer 'x' is not supported by AWQMoeMarlin. Falling back to Moe WNA16 kernels.",
                "Moe WNA16",
            ),
            (
                "MXFP4 linear layer is not implemented - falling back to UnquantizedLinearMethod.",
                "UnquantizedLinearMethod",
            ),
            (
                "NVFP4 linear falling back to the slow and unoptimized emulation",
                "not optimized",
            ),
            (
                "Qwen4ForCausalLM has no vLLM implementation, falling back to Transformers implementation.",
                "Transformers' code",
            ),
            (
                "FlashInfer is available, but it is not enabled. Falling back to the PyTorch-native implementation of top-p & top-k sampling.",
                "PyTorch-native",
            ),
        ];
        for (text, says) in cases {
            let log = format!("(EngineCore pid=7) WARNING 07-26 13:57:00 [x.py:80] {text}");
            let found = fallbacks(&log);
            assert!(
                found.len() == 1 && found[0].contains(says),
                "{text}: {found:?}"
            );
        }
        for quiet in ["Model loading took 3.2 GiB", "Using FLASH_ATTN backend."] {
            let log = format!("INFO 07-26 13:57:00 [x.py:80] {quiet}");
            assert_eq!(fallbacks(&log), [""; 0]);
        }
    }

    #[test]
    fn the_stages_of_loading_are_named() {
        let doing = |line| stage(&parse_line(line)).unwrap_or_default();
        let cases = [
            (
                "(Worker pid=9) INFO 11-24 12:44:36 [gpu_model_runner.py:5040] Starting to load model /m...",
                "loading weights",
            ),
            (
                "(Worker pid=9) Loading safetensors checkpoint shards:  50% Completed | 2/4 [00:01<00:01,  1.2it/s]",
                "loading weights, 2 of 4 files",
            ),
            (
                "INFO 11-24 12:44:36 [backends.py:9] Dynamo bytecode transform time: 4.4 s",
                "compiling",
            ),
            (
                "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  40%|####      | 14/35 [00:02<00:03,  6.9it/s]",
                "capturing graphs, 14 of 35",
            ),
            (
                "(EngineCore pid=9) INFO 11-24 12:44:36 [kv.py:1] GPU KV cache size: 43,152 tokens",
                "setting up the KV cache",
            ),
            (
                "(EngineCore pid=9) INFO 11-24 12:44:36 [core.py:69] Initializing a V1 LLM engine (v0.9.2) with config: model='/m'",
                "starting the engine's processes",
            ),
        ];
        for (line, words) in cases {
            assert_eq!(doing(line), words, "{line}");
        }
        assert_eq!(doing("INFO 11-24 12:44:36 [x.py:1] hello"), "");
    }
}
