//! From verl's settings to a configuration of rollbench, each value with its origin.

use std::fmt::Write as _;

use super::defaults::Defaults;
use super::rest::{Rest, rest};
use super::settings::Settings;
use super::trace::{self, TraceError};
use super::{Read, State, arguments, model, printed, references, script, workload, yaml};

/// A configuration made of a verl run, and what was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Imported {
    /// A configuration that rollbench reads.
    pub toml: String,
    /// What the configuration needs and the file leaves open, one line each, in the configuration as `CHECK`.
    pub open: Vec<String>,
    /// What bears on the rollout and was not understood, one line each.
    pub not_understood: Vec<String>,
}

/// A file that is no verl run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// `--trace` could not.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// No setting at all that verl's rollout has.
    #[error(
        "{0} has no setting of verl's rollout (actor_rollout_ref.rollout.*, data.*, trainer.*){1}"
    )]
    Nothing(String, String),
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

/// What is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// As the configuration names it.
    pub file: &'a str,
    pub text: &'a str,
    /// Another version's `rollout.yaml`: its name and text.
    pub verl_defaults: Option<(&'a str, &'a str)>,
}

/// Reads a run and writes a configuration. Every setting that is read is written with its origin, listed at the end of the
/// configuration with why it is not needed, or named as not understood.
pub(crate) fn import(source: &Source<'_>) -> Result<Imported, ImportError> {
    let is_yaml = [".yaml", ".yml"]
        .iter()
        .any(|end| source.file.to_ascii_lowercase().ends_with(end));
    let read = if is_yaml {
        yaml::read(source.text)
    } else if let Some(printed) = printed::read(source.text) {
        printed
    } else {
        script::read(source.file, source.text)
    };
    configuration(source, read)
}

/// As [`import`], of a configuration that Hydra composed, with the text of `overrides.yaml` beside it.
pub(crate) fn import_composed(
    source: &Source<'_>,
    overrides: &str,
) -> Result<Imported, ImportError> {
    let mut read = yaml::read(source.text);
    let keys = overrides.lines().filter_map(|line| {
        let item = line.trim().strip_prefix("- ")?.trim_matches(['\'', '"']);
        Some(
            item.split_once('=')?
                .0
                .trim_start_matches(['+', '~'])
                .to_owned(),
        )
    });
    read.overridden = Some(keys.collect());
    configuration(source, read)
}

/// As [`import`], of what the script at `source.file` calls when bash runs it.
pub(crate) fn import_traced(source: &Source<'_>) -> Result<Imported, ImportError> {
    let traced = trace::trace(source.file.as_ref())?;
    let mut read = script::read_ways(source.text, &[traced.calls]);
    read.not_understood.extend(traced.notes);
    configuration(source, read)
}

/// From what was read to the configuration.
fn configuration(source: &Source<'_>, mut read: Read) -> Result<Imported, ImportError> {
    references::follow(&mut read);
    let ours = ["actor_rollout_ref.", "data."];
    let says = |key: &str| ours.iter().any(|begin| key.starts_with(begin));
    if !read.entries.iter().any(|entry| says(&entry.key)) {
        let why = read.not_understood.join("; ");
        let why = if why.is_empty() {
            why
        } else {
            format!(" ({why})")
        };
        return Err(ImportError::Nothing(source.file.to_owned(), why));
    }
    let defaults = source
        .verl_defaults
        .map(|(file, text)| Defaults::with_rollout(file, text))
        .unwrap_or_default();
    let settings = Settings::new(&read, &defaults);
    engine(&settings)?;
    let mut toml = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        toml,
        "# Made by `rollbench import-verl {}`. Each value says where it comes from.\n# verl's defaults are those of {}.\nschema = 1\n",
        source.file,
        defaults.source(),
    );
    workload::write(&settings, &mut toml)?;
    arguments::write(&settings, &mut toml);
    model::write(&settings, &mut toml);
    let Rest {
        not_needed,
        not_understood,
    } = rest(&settings);
    toml.push_str(&not_needed);
    Ok(Imported {
        toml,
        open: settings.questions(),
        not_understood: [read.not_understood.clone(), not_understood].concat(),
    })
}

/// Refuses another engine; one of several that the branches choose is a question.
fn engine(settings: &Settings<'_>) -> Result<(), ImportError> {
    let Some(name) = settings.last("actor_rollout_ref.rollout.name") else {
        return Ok(());
    };
    let is_vllm = |name: &str| matches!(name, "vllm" | "???");
    if name.state == State::Known
        && !is_vllm(&name.value)
        && !name.others.iter().any(|other| is_vllm(other))
    {
        return Err(ImportError::Engine {
            line: name.line,
            name: name.value.clone(),
        });
    }
    if name.state != State::Known || !name.others.is_empty() {
        let _ = settings.origin(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(file: &str, text: &str) -> Result<Imported, ImportError> {
        super::import(&Source {
            file,
            text,
            verl_defaults: None,
        })
    }

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
# Made by `rollbench import-verl run_qwen3-8b.sh`. Each value says where it comes from.
# verl's defaults are those of verl 1dda039 (2026-08-22), its folder verl/.
schema = 1

[workload]
num_prompts = 512                             # data.train_batch_size, line 8
n = 16                                        # actor_rollout_ref.rollout.n, line 13
input_len = 1024                              # data.max_prompt_length, line 9: the limit, not the mean
output_len = 8192                             # data.max_response_length, line 10: the limit, not the mean
# verl's configuration says how long responses may be, not how long they are. Better than the limit:
#   set trainer.rollout_data_dir in a verl run, then rollbench run --lengths-from DIR/100.jsonl
#   or the preset with this limit: rollbench run --workload dapo-8k
replicas = 8                                  # 2 nodes (trainer.nnodes, line 23) x 8 devices (trainer.n_gpus_per_node, line 22) / (tensor 2 x pipeline 1 x data 1 parallel)

[workload.sampling]
temperature = 1.0                             # actor_rollout_ref.rollout.temperature: verl's default, trainer/config/rollout/rollout.yaml:17
# top_p =                                     # CHECK: actor_rollout_ref.rollout.top_p, line 21: $TOP_P: $TOP_P is not set in this file
top_k = -1                                    # actor_rollout_ref.rollout.top_k: verl's default, trainer/config/rollout/rollout.yaml:20
logprobs = 0                                  # actor_rollout_ref.rollout.calculate_log_probs, line 16

[engine]
python = "python3"

[engine.args]
dtype = "bfloat16"                            # actor_rollout_ref.rollout.dtype: verl's default, trainer/config/rollout/rollout.yaml:43
tensor_parallel_size = 2                      # actor_rollout_ref.rollout.tensor_model_parallel_size, line 14
gpu_memory_utilization = 0.6                  # actor_rollout_ref.rollout.gpu_memory_utilization, line 15
max_num_seqs = 256                            # actor_rollout_ref.rollout.max_num_seqs: verl's default, trainer/config/rollout/rollout.yaml:84
max_num_batched_tokens = 8192                 # actor_rollout_ref.rollout.max_num_batched_tokens: verl's default, trainer/config/rollout/rollout.yaml:78
enable_chunked_prefill = true                 # actor_rollout_ref.rollout.enable_chunked_prefill: verl's default, trainer/config/rollout/rollout.yaml:87
enable_prefix_caching = true                  # actor_rollout_ref.rollout.enable_prefix_caching: verl's default, trainer/config/rollout/rollout.yaml:90
enforce_eager = false                         # actor_rollout_ref.rollout.enforce_eager: verl's default, trainer/config/rollout/rollout.yaml:52
enable_sleep_mode = true                      # actor_rollout_ref.rollout.enable_sleep_mode: verl's default, workers/config/rollout.py:268
logprobs_mode = "processed_logprobs"          # actor_rollout_ref.rollout.logprobs_mode: verl's default, trainer/config/rollout/rollout.yaml:93
max_num_partial_prefills = 4                  # actor_rollout_ref.rollout.engine_kwargs.vllm.max_num_partial_prefills, line 19

[[precision]]
name = "bf16"
label = "BF16"
baseline = true

# verl makes blocks of 128 x 128 and leaves the routers' gates and lm_head alone; vLLM alone has a scale a tensor
[[precision]]
name = "fp8"
args = { quantization = "fp8" }  # actor_rollout_ref.rollout.quantization, line 17

[[model]]
name = "qwen3-8b"                             # actor_rollout_ref.model.path, line 11
label = "Qwen3-8B"

[model.checkpoints]
bf16 = "hf:Qwen/Qwen3-8B"                     # actor_rollout_ref.model.path, line 11
fp8 = "hf:Qwen/Qwen3-8B"                      # the same weights, quantized as they are loaded

# Read, and not needed for a measurement:
# training, not the rollout:
#   algorithm.adv_estimator, line 7
# vLLM is what rollbench runs:
#   actor_rollout_ref.rollout.name, line 12
# computed by the trainer's model after the rollout:
#   actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu, line 18
"#);
        insta::assert_snapshot!([imported.open.clone(), imported.not_understood.clone()].concat().join("\n"), @r"
line 21: actor_rollout_ref.rollout.top_p=$TOP_P: $TOP_P is not set in this file
line 20: actor_rollout_ref.rollout.brand_new=7
");
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (name, text) in [
            ("run.sh", SCRIPT),
            (
                "ppo.yaml",
                "data:\n  train_batch_size: 64\nactor_rollout_ref:\n  model:\n    path: ~/m/My Model\n  rollout:\n    n: 4\n",
            ),
        ] {
            let imported = import(name, text).expect("imports");
            planned(&imported.toml).unwrap_or_else(|error| panic!("{error}\n{}", imported.toml));
        }
    }

    /// Whether `plan` reads the configuration and finds cells in it.
    fn planned(toml: &str) -> Result<(), String> {
        let dir = tempfile::tempdir().expect("temporary folder");
        std::fs::write(dir.path().join("rollbench.toml"), toml).expect("written");
        let request = crate::config::LoadRequest {
            flags: crate::config::Given::default(),
            lengths: None,
            env: [("HOME".to_owned(), "/root".to_owned())].into(),
            cwd: dir.path().to_owned(),
            platform: crate::device::Platform::Cuda,
            elsewhere: false,
        };
        let settings = crate::config::load(&request).map_err(|errors| errors.render(false))?;
        if settings.cells.is_empty() {
            Err("no cells".to_owned())
        } else {
            Ok(())
        }
    }

    /// The settings of a long run script in the manner of verl's examples, one of every family.
    const LONG: &str = r#"
model_path=/models/Qwen3-30B-A3B
max_response_length=$((1024 * 8))
if [ "$DEVICE" = npu ]; then
    EXTRA="trainer.device=npu"
fi
ROLLOUT=(
    actor_rollout_ref.rollout.name=vllm
    actor_rollout_ref.rollout.mode=async
    actor_rollout_ref.rollout.n=8
    actor_rollout_ref.rollout.do_sample=True
    actor_rollout_ref.rollout.ignore_eos=False
    actor_rollout_ref.rollout.expert_parallel_size=4
    actor_rollout_ref.rollout.data_parallel_size=2
    actor_rollout_ref.rollout.free_cache_engine=True
    actor_rollout_ref.rollout.enable_sleep_mode=True
    actor_rollout_ref.rollout.max_num_seqs=512
    actor_rollout_ref.rollout.cudagraph_capture_sizes=[1,2,4,8]
    actor_rollout_ref.rollout.disable_log_stats=False
    actor_rollout_ref.rollout.calculate_log_probs=False
    actor_rollout_ref.rollout.quantization_config_file=torchao.json
    actor_rollout_ref.rollout.load_format=safetensors
    actor_rollout_ref.rollout.layered_summon=True
    actor_rollout_ref.rollout.over_sample_rate=0.1
    actor_rollout_ref.rollout.multi_turn.enable=True
    actor_rollout_ref.rollout.multi_turn.max_assistant_turns=4
    actor_rollout_ref.rollout.mtp.num_speculative_tokens=2
    actor_rollout_ref.rollout.agent.num_workers=8
    actor_rollout_ref.rollout.nnodes=0
    actor_rollout_ref.rollout.n_gpus_per_node=8
    actor_rollout_ref.rollout.max_model_len=null
    actor_rollout_ref.rollout.val_kwargs.temperature=1.0
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=8
    actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes=4096
    +actor_rollout_ref.rollout.engine_kwargs.vllm.max_num_seqs=128
    +actor_rollout_ref.rollout.engine_kwargs.vllm.compilation_config.cudagraph_mode=FULL_DECODE_ONLY
    +actor_rollout_ref.rollout.engine_kwargs.vllm.speculative_config={method:mtp}
    +actor_rollout_ref.rollout.engine_kwargs.sglang.attention_backend=fa3
)
python3 -m verl.trainer.main_ppo --config-name=ppo_megatron_trainer \
    algorithm.adv_estimator=grpo \
    algorithm.filter_groups.enable=True \
    data.train_files="$HOME/data.parquet" \
    data.train_batch_size=512 \
    +data.gen_batch_size=1536 \
    data.max_prompt_length=2048 \
    data.max_response_length=${max_response_length} \
    actor_rollout_ref.model.path=${model_path} \
    actor_rollout_ref.model.use_remove_padding=True \
    actor_rollout_ref.model.trust_remote_code=True \
    actor_rollout_ref.model.lora_rank=32 \
    actor_rollout_ref.actor.optim.lr=1e-6 \
    actor_rollout_ref.ref.megatron.param_offload=True \
    reward_model.reward_manager=dapo \
    "${ROLLOUT[@]}" $EXTRA \
    actor_rollout_ref.rollout.n=16 \
    async_training.staleness_threshold=0.5 \
    trainer.logger='["console","wandb"]' \
    trainer.n_gpus_per_node=8 \
    trainer.nnodes=4 $@
"#;

    #[test]
    fn a_long_script_has_every_setting_somewhere() {
        let imported = import("run.sh", LONG).expect("imports");
        let (_, end) = imported
            .toml
            .split_once("[engine.args]")
            .expect("arguments");
        insta::assert_snapshot!(end, @r#"
trust_remote_code = true                      # actor_rollout_ref.model.trust_remote_code, line 50
dtype = "bfloat16"                            # actor_rollout_ref.rollout.dtype: verl's default, trainer/config/rollout/rollout.yaml:43
tensor_parallel_size = 2                      # actor_rollout_ref.rollout.tensor_model_parallel_size: verl's default, trainer/config/rollout/rollout.yaml:64
data_parallel_size = 2                        # actor_rollout_ref.rollout.data_parallel_size, line 14
gpu_memory_utilization = 0.5                  # actor_rollout_ref.rollout.gpu_memory_utilization: verl's default, trainer/config/rollout/rollout.yaml:46
max_num_batched_tokens = 8192                 # actor_rollout_ref.rollout.max_num_batched_tokens: verl's default, trainer/config/rollout/rollout.yaml:78
enable_chunked_prefill = true                 # actor_rollout_ref.rollout.enable_chunked_prefill: verl's default, trainer/config/rollout/rollout.yaml:87
enable_prefix_caching = true                  # actor_rollout_ref.rollout.enable_prefix_caching: verl's default, trainer/config/rollout/rollout.yaml:90
enforce_eager = false                         # actor_rollout_ref.rollout.enforce_eager: verl's default, trainer/config/rollout/rollout.yaml:52
enable_sleep_mode = true                      # actor_rollout_ref.rollout.enable_sleep_mode, line 16
logprobs_mode = "processed_logprobs"          # actor_rollout_ref.rollout.logprobs_mode: verl's default, trainer/config/rollout/rollout.yaml:93
compilation_config.cudagraph_capture_sizes = [1, 2, 4, 8]  # actor_rollout_ref.rollout.cudagraph_capture_sizes, line 18
enable_expert_parallel = true                 # actor_rollout_ref.rollout.expert_parallel_size, line 13
max_num_seqs = 128                            # actor_rollout_ref.rollout.engine_kwargs.vllm.max_num_seqs, line 35
compilation_config.cudagraph_mode = "FULL_DECODE_ONLY"  # actor_rollout_ref.rollout.engine_kwargs.vllm.compilation_config.cudagraph_mode, line 36
speculative_config.method = "mtp"             # actor_rollout_ref.rollout.engine_kwargs.vllm.speculative_config.method, line 37

[[precision]]
name = "bf16"
label = "BF16"
baseline = true

# The precision to compare with it, and its checkpoint below:
# [[precision]]
# name = "w8a8"

[[model]]
name = "qwen3-30b-a3b"                        # actor_rollout_ref.model.path, line 48
label = "Qwen3-30B-A3B"

[model.checkpoints]
bf16 = "/models/Qwen3-30B-A3B"                # actor_rollout_ref.model.path, line 48

# Read, and not needed for a measurement:
# training, not the rollout:
#   algorithm.adv_estimator, line 41
#   algorithm.filter_groups.enable, line 42
#   actor_rollout_ref.model.use_remove_padding, line 49
#   actor_rollout_ref.actor.optim.lr, line 52
#   actor_rollout_ref.ref.megatron.param_offload, line 53
#   reward_model.reward_manager, line 54
#   trainer.logger, line 58
#   trainer.device, line 5
# which prompts are trained on: rollbench makes prompts of the lengths above:
#   data.train_files, line 43
# data.gen_batch_size, line 45, decides:
#   data.train_batch_size, line 44
# vLLM is what rollbench runs:
#   actor_rollout_ref.rollout.name, line 8
# a step is one closed batch either way:
#   actor_rollout_ref.rollout.mode, line 9
# said again on line 56:
#   actor_rollout_ref.rollout.n, line 10
# only verl's HF rollout reads it:
#   actor_rollout_ref.rollout.do_sample, line 11
# the workload fixes every length, so the engine never stops earlier:
#   actor_rollout_ref.rollout.ignore_eos, line 12
# memory is given back between steps, not within one:
#   actor_rollout_ref.rollout.free_cache_engine, line 15
# actor_rollout_ref.rollout.engine_kwargs.vllm.max_num_seqs, line 35, decides:
#   actor_rollout_ref.rollout.max_num_seqs, line 17
# rollbench counts by the engine's statistics: they are always on:
#   actor_rollout_ref.rollout.disable_log_stats, line 19
# how the trainer sends its weights: rollbench loads them from the checkpoint:
#   actor_rollout_ref.rollout.load_format, line 22
#   actor_rollout_ref.rollout.layered_summon, line 23
#   actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes, line 34
# what it belongs to is off:
#   actor_rollout_ref.rollout.mtp.num_speculative_tokens, line 27
# who sends the requests; each engine gets the same share:
#   actor_rollout_ref.rollout.agent.num_workers, line 28
# it is off:
#   actor_rollout_ref.rollout.nnodes, line 29
# the rollout runs on the trainer's devices:
#   actor_rollout_ref.rollout.n_gpus_per_node, line 30
# null, as if it were not said:
#   actor_rollout_ref.rollout.max_model_len, line 31
# of validation steps:
#   actor_rollout_ref.rollout.val_kwargs.temperature, line 32
# computed by the trainer's model after the rollout:
#   actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu, line 33
# of another engine:
#   actor_rollout_ref.rollout.engine_kwargs.sglang.attention_backend, line 38
"#);
        insta::assert_snapshot!([imported.open.clone(), imported.not_understood.clone()].concat().join("\n"), @r"
line 55: $EXTRA
line 51: actor_rollout_ref.model.lora_rank=32
line 21: actor_rollout_ref.rollout.quantization_config_file=torchao.json
line 24: actor_rollout_ref.rollout.over_sample_rate=0.1
line 25: actor_rollout_ref.rollout.multi_turn.enable=True
line 26: actor_rollout_ref.rollout.multi_turn.max_assistant_turns=4
line 57: async_training.staleness_threshold=0.5
");
        all_somewhere(&imported, &script::read("run.sh", LONG)).expect("all");
    }

    /// Each setting is in the configuration, with its line, or among what was not understood.
    fn all_somewhere(imported: &Imported, read: &super::super::Read) -> Result<(), String> {
        for entry in &read.entries {
            let origin = format!("{}, line {}", entry.key, entry.line);
            let written = imported.toml.match_indices(&origin).any(|(at, _)| {
                // Not the beginning of a longer number.
                !imported.toml[at + origin.len()..].starts_with(|c: char| c.is_ascii_digit())
            });
            let named = format!("line {}: {}", entry.line, entry.key);
            if !written
                && !imported
                    .not_understood
                    .iter()
                    .chain(&imported.open)
                    .any(|line| line.starts_with(&named))
            {
                return Err(format!("{origin} vanished:\n{}", imported.toml));
            }
        }
        Ok(())
    }

    const KEYS: [&str; 37] = [
        "actor_rollout_ref.rollout.n",
        "actor_rollout_ref.rollout.name",
        "actor_rollout_ref.rollout.nnodes",
        "actor_rollout_ref.rollout.n_gpus_per_node",
        "actor_rollout_ref.rollout.prompt_length",
        "actor_rollout_ref.rollout.response_length",
        "actor_rollout_ref.rollout.temperature",
        "actor_rollout_ref.rollout.calculate_log_probs",
        "actor_rollout_ref.rollout.quantization",
        "actor_rollout_ref.rollout.expert_parallel_size",
        "actor_rollout_ref.rollout.multi_turn.enable",
        "actor_rollout_ref.rollout.multi_turn.format",
        "actor_rollout_ref.rollout.mtp",
        "actor_rollout_ref.rollout.skip_rollout",
        "actor_rollout_ref.rollout.engine_kwargs.vllm",
        "actor_rollout_ref.rollout.engine_kwargs.vllm.max_num_seqs",
        "actor_rollout_ref.rollout.max_num_seqs",
        "actor_rollout_ref.rollout.tensor_model_parallel_size",
        "actor_rollout_ref.rollout.something_new",
        "actor_rollout_ref.model.path",
        "actor_rollout_ref.rollout.engine_kwargs.vllm.quantization",
        "actor_rollout_ref.rollout.engine_kwargs.vllm.load_format",
        "actor_rollout_ref.rollout.engine_kwargs.vllm.hf_overrides.quantization_config.quant_method",
        "actor_rollout_ref.rollout.engine_kwargs.vllm.enable_expert_parallel",
        "actor_rollout_ref.actor.fsdp_config.qat.enable",
        "actor_rollout_ref.actor.fsdp_config.qat.mode",
        "rollout.n_gpus_per_node",
        "actor_rollout_ref.model.lora_rank",
        "actor_rollout_ref.model.something_new",
        "actor_rollout_ref.actor.optim.lr",
        "data.train_batch_size",
        "data.gen_batch_size",
        "data.max_prompt_length",
        "trainer.nnodes",
        "trainer.n_gpus_per_node",
        "trainer.rollout_data_dir",
        "hydra.run.dir",
    ];

    proptest::proptest! {
        #[test]
        fn no_setting_vanishes(
            said in proptest::collection::vec(
                (0..KEYS.len(), proptest::sample::select(&["1", "0", "2", "vllm", "null", "True", "False", "fp8", "{}", "[1,2]", "{a:1}", "{quantization:gptq,b:{c:1}}", "$X", "$HOME/m", "$R/m\"", "x y'"][..])),
                1..40,
            ),
        ) {
            let lines: Vec<String> = said.iter().map(|(key, value)| format!("{}={value}", KEYS[*key])).collect();
            let text = lines.join("
    ");
            // A number that is none, or another engine, refuses the file.
            if let Ok(imported) = import("overrides.txt", &text) {
                let found = all_somewhere(&imported, &script::read("overrides.txt", &text));
                proptest::prop_assert!(found.is_ok(), "{}", found.unwrap_err());
                let planned = planned(&imported.toml);
                proptest::prop_assert!(planned.is_ok(), "{}\n{}", planned.unwrap_err(), imported.toml);
            }
        }
    }

    /// The cases with their right values; `true` where a person is asked.
    #[test]
    fn cases_get_what_verl_would_get() {
        let check = |key: &str, values: &str| {
            format!("# CHECK: actor_rollout_ref.rollout.{key}, line 7: {values} by the branch")
        };
        for (case, lines, asks) in [
            (
                "settings-in-a-string",
                vec![
                    "num_prompts = 64 ".to_owned(),
                    "output_len = 8192 ".to_owned(),
                    "\nn = 4 ".to_owned(),
                ],
                false,
            ),
            (
                "home-in-a-path",
                vec!["bf16 = \"${HOME}/models/Qwen3-8B\"".to_owned()],
                false,
            ),
            (
                "conditional-variables",
                vec![
                    check("gpu_memory_utilization", "0.6 or 0.9"),
                    check("max_num_seqs", "384 or 1024"),
                ],
                true,
            ),
            (
                "empty-default",
                vec!["tensor_parallel_size = 2 ".to_owned()],
                false,
            ),
            (
                "assignment-in-an-echo",
                vec!["output_len = 512 ".to_owned()],
                false,
            ),
            (
                "expert-parallel-twice",
                vec!["enable_expert_parallel = true ".to_owned()],
                false,
            ),
            (
                "quantized-by-engine-kwargs",
                vec![
                    "args = { quantization = \"bitsandbytes\" }".to_owned(),
                    "bf16 = \"/models/coder-3b\"".to_owned(),
                    "bitsandbytes = \"/models/coder-3b\"".to_owned(),
                ],
                false,
            ),
            (
                "rollout-on-its-own-devices",
                vec!["replicas = 1 ".to_owned()],
                false,
            ),
            (
                "unknown-batch",
                vec!["# num_prompts = ".to_owned(), "# replicas = ".to_owned()],
                true,
            ),
            (
                "two-commands",
                vec!["num_prompts = 512 ".to_owned(), "\nn = 8 ".to_owned()],
                true,
            ),
        ] {
            let file = format!("{}/tests/cases/verl/{case}.sh", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(file).expect("a case");
            let imported = import("run.sh", &text).expect("imports");
            planned(&imported.toml).unwrap_or_else(|error| panic!("{case}: {error}"));
            for line in lines {
                assert_eq!(
                    imported.toml.matches(&line).count(),
                    1,
                    "{case}: {line}\n{}",
                    imported.toml
                );
            }
            let asked = !(imported.open.is_empty() && imported.not_understood.is_empty());
            assert_eq!(
                asked, asks,
                "{case}: {:?} {:?}",
                imported.open, imported.not_understood
            );
        }
    }

    #[test]
    fn what_streams_has_no_closed_batch() {
        let script = "python3 -m verl.experimental.fully_async_policy.fully_async_main data.train_batch_size=0 data.gen_batch_size=1 \
                      actor_rollout_ref.rollout.n=16 rollout.nnodes=2 rollout.n_gpus_per_node=8";
        let imported = import("run.sh", script).expect("imports");
        assert!(
            !imported.toml.contains("\nnum_prompts"),
            "{}",
            imported.toml
        );
        assert!(
            imported.toml.contains("\nreplicas = 8 "),
            "{}",
            imported.toml
        );
        insta::assert_snapshot!(imported.open.join("\n"), @"line 1: data.gen_batch_size=1: fully asynchronous training streams and has no closed batch: give --num-prompts");
    }

    #[test]
    fn a_composed_configuration_tells_only_what_somebody_chose() {
        let config = "data:\n  train_batch_size: 64\n  max_prompt_length: 100\nactor_rollout_ref:\n  model:\n    path: /m/a\n  rollout:\n    name: vllm\n    \
                      prompt_length: ${oc.select:data.max_prompt_length,512}\n    n: ${mine:5}\n    brand_new: 1\n    newer: 2\n    max_num_seqs: 99\n";
        let source = Source {
            file: "config.yaml",
            text: config,
            verl_defaults: None,
        };
        let imported = import_composed(
            &source,
            "- data.train_batch_size=64\n- +actor_rollout_ref.rollout.newer=2\n",
        )
        .expect("imports");
        assert!(
            imported.toml.contains("input_len = 100 "),
            "{}",
            imported.toml
        );
        assert!(
            imported.toml.contains("max_num_seqs = 99 "),
            "{}",
            imported.toml
        );
        insta::assert_snapshot!([imported.open, imported.not_understood].concat().join("\n"), @r"
line 10: actor_rollout_ref.rollout.n=${mine:5}: ${mine:5} leads nowhere in this file
line 12: actor_rollout_ref.rollout.newer=2
");
    }

    #[test]
    fn another_versions_defaults_are_taken() {
        let source = Source {
            file: "run.sh",
            text: "data.train_batch_size=64\n",
            verl_defaults: Some((
                "old.yaml",
                "calculate_log_probs: False\nmax_num_seqs: 1024\ntensor_model_parallel_size: 2\nn: 1\n",
            )),
        };
        let imported = super::import(&source).expect("imports");
        assert!(imported.toml.contains("# no logprobs: actor_rollout_ref.rollout.calculate_log_probs: verl's default, old.yaml:1"), "{}", imported.toml);
        assert!(
            imported.toml.contains("max_num_seqs = 1024 "),
            "{}",
            imported.toml
        );
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
