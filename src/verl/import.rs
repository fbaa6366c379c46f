//! From verl's settings to a configuration of rollbench, each value with its origin.

use std::fmt::Write as _;

use super::{Entry, Read, script, yaml};
use crate::workload::PRESETS;

/// A configuration made of a verl run, and what was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// A configuration that rollbench reads.
    pub toml: String,
    /// What bears on the rollout and was not understood, one line each.
    pub not_understood: Vec<String>,
}

/// A file that is no verl run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// No setting at all that verl's rollout has.
    #[error(
        "{0} has no setting of verl's rollout (actor_rollout_ref.rollout.*, data.*, trainer.*)"
    )]
    Nothing(String),
    /// Another engine.
    #[error("line {line}: the rollout engine is {name}, and rollbench runs vLLM")]
    Engine {
        /// Where.
        line: usize,
        /// Which.
        name: String,
    },
    /// A value that must be a number and is none.
    #[error("line {line}: {key}={value} is not a whole number of 1 at least")]
    Number {
        /// Where.
        line: usize,
        /// What.
        key: String,
        /// As written.
        value: String,
    },
    /// The devices do not divide.
    #[error("{devices} devices cannot hold replicas of {each} (tensor x pipeline x data parallel)")]
    Replicas {
        /// In all.
        devices: u64,
        /// For one replica.
        each: u64,
    },
}

const ROLLOUT: &str = "actor_rollout_ref.rollout.";

/// Settings of the rollout that become engine arguments under this name, and verl's default.
const ARGUMENTS: [(&str, &str, Option<&str>); 14] = [
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
    // 1024 in versions before 2026.
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
    ("logprobs_mode", "logprobs_mode", Some("processed_logprobs")),
    ("scheduling_policy", "scheduling_policy", None),
    ("max_model_len", "max_model_len", None),
    ("seed", "seed", None),
];

/// Settings of the rollout that are read below by name, or that change nothing of what is measured.
const KNOWN: [&str; 41] = [
    "name",
    "mode",
    "n",
    "temperature",
    "top_k",
    "top_p",
    "prompt_length",
    "response_length",
    "do_sample",
    "calculate_log_probs",
    "quantization",
    "load_format",
    "ignore_eos",
    "free_cache_engine",
    "layered_summon",
    "disable_log_stats",
    "skip_tokenizer_init",
    "over_sample_rate",
    "multi_stage_wake_up",
    "nnodes",
    "n_gpus_per_node",
    "log_prob_",
    "val_kwargs",
    "agent",
    "checkpoint_engine",
    "trace",
    "skip",
    "profiler",
    "prometheus",
    "_target_",
    "update_weights_bucket_megabytes",
    "cudagraph_capture_sizes",
    "limit_images",
    "enable_sleep_mode",
    "engine_kwargs.vllm",
    "engine_kwargs.sglang",
    "engine_kwargs.trtllm",
    "mtp.enable",
    "use_fire_sampling",
    "sampling_kwargs",
    "expert_parallel_size",
];

/// Reads `text`, the content of `file`, and writes a configuration.
pub fn import(file: &str, text: &str) -> Result<Imported, ImportError> {
    let is_yaml = [".yaml", ".yml"]
        .iter()
        .any(|end| file.to_ascii_lowercase().ends_with(end));
    let read = if is_yaml {
        yaml::read(text)
    } else {
        script::read(text)
    };
    let settings = Settings {
        entries: &read.entries,
        unknown: &read.unknown,
    };
    if !read
        .entries
        .iter()
        .any(|e| e.key.starts_with("actor_rollout_ref.") || e.key.starts_with("data."))
    {
        return Err(ImportError::Nothing(file.to_owned()));
    }
    if let Some(name) = settings.get("actor_rollout_ref.rollout.name")
        && name.value != "vllm"
    {
        return Err(ImportError::Engine {
            line: name.line,
            name: name.value.clone(),
        });
    }
    Ok(Imported {
        toml: settings.toml(file)?,
        not_understood: not_understood(&read),
    })
}

/// Settings of the rollout that nothing here reads, after what could not be read at all.
fn not_understood(read: &Read) -> Vec<String> {
    let mut lines = read.not_understood.clone();
    for entry in &read.entries {
        let Some(name) = entry.key.strip_prefix(ROLLOUT) else {
            continue;
        };
        let known = KNOWN.iter().any(|k| name.starts_with(k))
            || ARGUMENTS.iter().any(|(verl, _, _)| *verl == name);
        if !known {
            lines.push(format!(
                "line {}: {}={}",
                entry.line, entry.key, entry.value
            ));
        }
    }
    lines
}

struct Settings<'a> {
    entries: &'a [Entry],
    unknown: &'a [(String, usize)],
}

impl Settings<'_> {
    /// The last one wins, as with Hydra; `null` is as if nothing were said.
    fn get(&self, key: &str) -> Option<&Entry> {
        let said = self.entries.iter().rev().find(|e| e.key == key)?;
        (said.value != "null" && said.value != "None").then_some(said)
    }

    fn count(&self, key: &str) -> Result<Option<(u64, String)>, ImportError> {
        let Some(entry) = self.get(key) else {
            return Ok(None);
        };
        match entry.value.parse::<u64>() {
            Ok(number) if number > 0 => Ok(Some((number, origin(entry)))),
            _ => Err(ImportError::Number {
                line: entry.line,
                key: entry.key.clone(),
                value: entry.value.clone(),
            }),
        }
    }

    /// The first of `keys` that is said, else verl's default.
    fn count_or(&self, keys: &[&str], default: u64) -> Result<(u64, String), ImportError> {
        for key in keys {
            if let Some(found) = self.count(key)? {
                return Ok(found);
            }
        }
        let key = keys.last().copied().unwrap_or_default();
        Ok((default, self.by_default(key)))
    }

    fn toml(&self, file: &str) -> Result<String, ImportError> {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "# Made by `rollbench import-verl {file}`. Each value says where it comes from; what verl takes from its\n\
             # defaults is from its main branch of August 2026.\n\
             schema = 1\n"
        );
        self.workload(&mut out)?;
        self.sampling(&mut out);
        self.engine(&mut out);
        self.precisions(&mut out);
        self.model(&mut out);
        Ok(out)
    }

    fn workload(&self, out: &mut String) -> Result<(), ImportError> {
        let prompts = self.count_or(&["data.gen_batch_size", "data.train_batch_size"], 1024)?;
        let n = self.count_or(&["actor_rollout_ref.rollout.n"], 1)?;
        let prompt = self.count_or(
            &[
                "actor_rollout_ref.rollout.prompt_length",
                "data.max_prompt_length",
            ],
            512,
        )?;
        let cap = self.count_or(
            &[
                "actor_rollout_ref.rollout.response_length",
                "data.max_response_length",
            ],
            512,
        )?;
        let _ = writeln!(out, "[workload]");
        put(out, "num_prompts", &prompts.0.to_string(), &prompts.1);
        put(out, "n", &n.0.to_string(), &n.1);
        put(
            out,
            "input_len",
            &prompt.0.to_string(),
            &format!("{}: the limit, not the mean", prompt.1),
        );
        put(
            out,
            "output_len",
            &cap.0.to_string(),
            &format!("{}: the limit, not the mean", cap.1),
        );
        let _ = writeln!(
            out,
            "# verl's configuration says how long responses may be, not how long they are. Better than the limit:"
        );
        match self.get("trainer.rollout_data_dir") {
            Some(dir) => {
                let _ = writeln!(
                    out,
                    "#   rollbench run --lengths-from {}/100.jsonl   ({})",
                    dir.value,
                    origin(dir)
                );
            }
            None => {
                let _ = writeln!(
                    out,
                    "#   set trainer.rollout_data_dir in a verl run, then rollbench run --lengths-from DIR/100.jsonl"
                );
            }
        }
        if let Some(preset) = PRESETS
            .iter()
            .find(|p| u64::from(p.cap) == cap.0 && p.sigma > 0.0)
        {
            let _ = writeln!(
                out,
                "#   or the preset with this limit: rollbench run --workload {}",
                preset.name
            );
        }
        self.replicas(out)
    }

    fn replicas(&self, out: &mut String) -> Result<(), ImportError> {
        let nodes = self.count_or(&["trainer.nnodes"], 1)?;
        let per_node = self.count_or(&["trainer.n_gpus_per_node"], 8)?;
        let of = |name: &str, default| self.count_or(&[&format!("{ROLLOUT}{name}")], default);
        let tensor = of("tensor_model_parallel_size", 2)?;
        let pipeline = of("pipeline_model_parallel_size", 1)?;
        let data = of("data_parallel_size", 1)?;
        let devices = nodes.0 * per_node.0;
        let each = tensor.0 * pipeline.0 * data.0;
        if devices < each || !devices.is_multiple_of(each) {
            return Err(ImportError::Replicas { devices, each });
        }
        let how = format!(
            "trainer.nnodes {} x trainer.n_gpus_per_node {} / (tensor {} x pipeline {} x data {} parallel)",
            nodes.0, per_node.0, tensor.0, pipeline.0, data.0
        );
        put(out, "replicas", &(devices / each).to_string(), &how);
        Ok(())
    }

    fn sampling(&self, out: &mut String) {
        let _ = writeln!(out, "\n[workload.sampling]");
        for (name, default) in [("temperature", "1.0"), ("top_p", "1.0"), ("top_k", "-1")] {
            self.said_or(out, &format!("{ROLLOUT}{name}"), name, default);
        }
        // The sampled token's own, which verl asks for where it corrects for the rollout's policy.
        match self.get("actor_rollout_ref.rollout.calculate_log_probs") {
            Some(entry) if is_true(&entry.value) => put(out, "logprobs", "0", &origin(entry)),
            _ => {}
        }
    }

    fn engine(&self, out: &mut String) {
        let _ = writeln!(out, "\n[engine]\npython = \"python3\"\n\n[engine.args]");
        let trust = "actor_rollout_ref.model.trust_remote_code";
        if let Some(entry) = self.get(trust) {
            put(
                out,
                "trust_remote_code",
                &literal(&entry.value),
                &origin(entry),
            );
        }
        for (verl, name, default) in ARGUMENTS {
            let key = format!("{ROLLOUT}{verl}");
            match default {
                Some(default) => self.said_or(out, &key, name, default),
                None => {
                    if let Some(entry) = self.get(&key) {
                        put(out, name, &literal(&entry.value), &origin(entry));
                    }
                }
            }
        }
        let prefix = format!("{ROLLOUT}engine_kwargs.vllm.");
        for entry in self.entries {
            if let Some(name) = entry.key.strip_prefix(&prefix)
                && self.get(&entry.key) == Some(entry)
            {
                put(out, name, &literal(&entry.value), &origin(entry));
            }
        }
    }

    fn precisions(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "\n[[precision]]\nname = \"bf16\"\nlabel = \"BF16\"\nbaseline = true"
        );
        match self.get("actor_rollout_ref.rollout.quantization") {
            Some(entry) => {
                let id: String = entry
                    .value
                    .chars()
                    .filter(char::is_ascii_alphanumeric)
                    .collect();
                let _ = writeln!(out, "\n[[precision]]\nname = {}", literal(&id));
                let _ = writeln!(
                    out,
                    "args = {{ quantization = {} }}  # {}",
                    literal(&entry.value),
                    origin(entry)
                );
            }
            None => {
                let _ = writeln!(
                    out,
                    "\n# The precision to compare with it, and its checkpoint below:\n# [[precision]]\n# name = \"w8a8\""
                );
            }
        }
    }

    fn model(&self, out: &mut String) {
        let path = self.get("actor_rollout_ref.model.path");
        let shown = path.map_or("~/models/deepseek-llm-7b-chat", |p| p.value.as_str());
        let said = path.map_or_else(|| self.by_default("actor_rollout_ref.model.path"), origin);
        let last = shown
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or(shown);
        let id: String = last
            .to_ascii_lowercase()
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+') {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        let id = id.trim_start_matches(['.', '-']);
        let id = if id.is_empty() { "model" } else { id };
        // A name of the hub has one slash and is no path.
        let on_hub = shown.matches('/').count() == 1 && !shown.starts_with(['/', '.', '~', '$']);
        let location = if on_hub {
            format!("hf:{shown}")
        } else {
            shown.replacen("~/", "${HOME}/", 1)
        };
        let _ = writeln!(out, "\n[[model]]");
        put(out, "name", &literal(id), &said);
        let _ = writeln!(out, "label = {}\n\n[model.checkpoints]", literal(last));
        put(out, "bf16", &literal_text(&location), &said);
        if let Some(entry) = self.get("actor_rollout_ref.rollout.quantization") {
            let id: String = entry
                .value
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .collect();
            put(
                out,
                &id,
                &literal_text(&location),
                "the same weights, quantized as they are loaded",
            );
        }
    }

    /// Where a default comes from. What the file says and cannot be followed must not look like what it does not say.
    fn by_default(&self, key: &str) -> String {
        match self
            .unknown
            .iter()
            .rev()
            .find(|(unknown, _)| unknown == key)
        {
            Some((_, line)) => {
                format!("CHECK: {key}, line {line}, cannot be followed; verl's default stands here")
            }
            None => format!("{key}: verl's default"),
        }
    }

    fn said_or(&self, out: &mut String, key: &str, name: &str, default: &str) {
        match self.get(key) {
            Some(entry) => put(out, name, &literal(&entry.value), &origin(entry)),
            None => put(out, name, &literal(default), &self.by_default(key)),
        }
    }
}

fn put(out: &mut String, name: &str, value: &str, origin: &str) {
    let _ = writeln!(out, "{:<44}  # {origin}", format!("{name} = {value}"));
}

fn origin(entry: &Entry) -> String {
    format!("{}, line {}", entry.key, entry.line)
}

fn is_true(value: &str) -> bool {
    matches!(value, "True" | "true")
}

/// A value as TOML: numbers and truth values as they are, the rest as text.
fn literal(value: &str) -> String {
    match value {
        "True" | "true" => "true".to_owned(),
        "False" | "false" => "false".to_owned(),
        number if number.parse::<i64>().is_ok() => number.to_owned(),
        number if number.parse::<f64>().is_ok_and(f64::is_finite) => {
            // TOML wants digits on both sides of the point.
            let float = number.parse::<f64>().unwrap_or_default();
            format!("{float:?}")
        }
        text => literal_text(text),
    }
}

fn literal_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = r#"#!/usr/bin/env bash
set -x
MODEL_PATH=${MODEL_PATH:-"Qwen/Qwen3-8B"}
max_response_length=$((1024 * 8))

python3 -m verl.trainer.main_ppo \
    algorithm.adv_estimator=grpo \
    data.train_batch_size=512 \
    data.max_prompt_length=1024 \
    data.max_response_length=${max_response_length} \
    actor_rollout_ref.model.path=${MODEL_PATH} \
    actor_rollout_ref.rollout.name=vllm \
    actor_rollout_ref.rollout.n=16 \
    actor_rollout_ref.rollout.tensor_model_parallel_size=2 \
    actor_rollout_ref.rollout.gpu_memory_utilization=0.6 \
    actor_rollout_ref.rollout.calculate_log_probs=True \
    actor_rollout_ref.rollout.quantization=fp8 \
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=8 \
    +actor_rollout_ref.rollout.engine_kwargs.vllm.max_num_partial_prefills=4 \
    actor_rollout_ref.rollout.brand_new=7 \
    actor_rollout_ref.rollout.top_p=${TOP_P} \
    trainer.n_gpus_per_node=8 \
    trainer.nnodes=2 $@
"#;

    #[test]
    fn a_run_script_becomes_a_configuration() {
        let imported = import("run_qwen3-8b.sh", SCRIPT).expect("imports");
        insta::assert_snapshot!(imported.toml, @r#"
# Made by `rollbench import-verl run_qwen3-8b.sh`. Each value says where it comes from; what verl takes from its
# defaults is from its main branch of August 2026.
schema = 1

[workload]
num_prompts = 512                             # data.train_batch_size, line 8
n = 16                                        # actor_rollout_ref.rollout.n, line 13
input_len = 1024                              # data.max_prompt_length, line 9: the limit, not the mean
output_len = 8192                             # data.max_response_length, line 10: the limit, not the mean
# verl's configuration says how long responses may be, not how long they are. Better than the limit:
#   set trainer.rollout_data_dir in a verl run, then rollbench run --lengths-from DIR/100.jsonl
#   or the preset with this limit: rollbench run --workload dapo-8k
replicas = 8                                  # trainer.nnodes 2 x trainer.n_gpus_per_node 8 / (tensor 2 x pipeline 1 x data 1 parallel)

[workload.sampling]
temperature = 1.0                             # actor_rollout_ref.rollout.temperature: verl's default
top_p = 1.0                                   # CHECK: actor_rollout_ref.rollout.top_p, line 21, cannot be followed; verl's default stands here
top_k = -1                                    # actor_rollout_ref.rollout.top_k: verl's default
logprobs = 0                                  # actor_rollout_ref.rollout.calculate_log_probs, line 16

[engine]
python = "python3"

[engine.args]
dtype = "bfloat16"                            # actor_rollout_ref.rollout.dtype: verl's default
tensor_parallel_size = 2                      # actor_rollout_ref.rollout.tensor_model_parallel_size, line 14
gpu_memory_utilization = 0.6                  # actor_rollout_ref.rollout.gpu_memory_utilization, line 15
max_num_seqs = 256                            # actor_rollout_ref.rollout.max_num_seqs: verl's default
max_num_batched_tokens = 8192                 # actor_rollout_ref.rollout.max_num_batched_tokens: verl's default
enable_chunked_prefill = true                 # actor_rollout_ref.rollout.enable_chunked_prefill: verl's default
enable_prefix_caching = true                  # actor_rollout_ref.rollout.enable_prefix_caching: verl's default
enforce_eager = false                         # actor_rollout_ref.rollout.enforce_eager: verl's default
logprobs_mode = "processed_logprobs"          # actor_rollout_ref.rollout.logprobs_mode: verl's default
max_num_partial_prefills = 4                  # actor_rollout_ref.rollout.engine_kwargs.vllm.max_num_partial_prefills, line 19

[[precision]]
name = "bf16"
label = "BF16"
baseline = true

[[precision]]
name = "fp8"
args = { quantization = "fp8" }  # actor_rollout_ref.rollout.quantization, line 17

[[model]]
name = "qwen3-8b"                             # actor_rollout_ref.model.path, line 11
label = "Qwen3-8B"

[model.checkpoints]
bf16 = "hf:Qwen/Qwen3-8B"                     # actor_rollout_ref.model.path, line 11
fp8 = "hf:Qwen/Qwen3-8B"                      # the same weights, quantized as they are loaded
"#);
        insta::assert_snapshot!(imported.not_understood.join("\n"), @r"
line 21: actor_rollout_ref.rollout.top_p=${TOP_P}: ${TOP_P} is not set in this file
line 20: actor_rollout_ref.rollout.brand_new=7
");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().expect("temporary folder");
        for (name, text) in [
            ("run.sh", SCRIPT),
            (
                "ppo.yaml",
                "data:\n  train_batch_size: 64\nactor_rollout_ref:\n  model:\n    path: ~/m/My Model\n  rollout:\n    n: 4\n",
            ),
        ] {
            let imported = import(name, text).expect("imports");
            std::fs::write(dir.path().join("rollbench.toml"), &imported.toml).expect("written");
            let request = crate::config::LoadRequest {
                overrides: crate::config::Overrides::default(),
                env: [("HOME".to_owned(), "/root".to_owned())].into(),
                cwd: dir.path().to_owned(),
                platform: crate::device::Platform::Cuda,
            };
            let settings = crate::config::load(&request)
                .unwrap_or_else(|errors| panic!("{}\n{}", errors.render(false), imported.toml));
            assert!(!settings.cells.is_empty());
        }
    }

    #[test]
    fn what_is_no_verl_run_is_refused() {
        let said = |text: &str| import("x.sh", text).expect_err("refused").to_string();
        insta::assert_snapshot!(said("echo hello\n"), @"x.sh has no setting of verl's rollout (actor_rollout_ref.rollout.*, data.*, trainer.*)");
        insta::assert_snapshot!(said("actor_rollout_ref.rollout.name=sglang\n"), @"line 1: the rollout engine is sglang, and rollbench runs vLLM");
        insta::assert_snapshot!(said("actor_rollout_ref.rollout.n=many\n"), @"line 1: actor_rollout_ref.rollout.n=many is not a whole number of 1 at least");
        insta::assert_snapshot!(said("actor_rollout_ref.rollout.tensor_model_parallel_size=16\n"), @"8 devices cannot hold replicas of 16 (tensor x pipeline x data parallel)");
    }
}
