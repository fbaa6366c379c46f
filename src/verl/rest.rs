//! What the configuration does not need of a verl run, and why: everything else that was not written is not understood.

use std::fmt::Write as _;

use super::arguments::{ENGINE_KWARGS, engine_name};
use super::settings::{Elsewhere, Settings, one_line};
use super::{Entry, ROLLOUT};

const TRAINING: &str = "training, not the rollout";
const DATA: &str = "which prompts are trained on: rollbench makes prompts of the lengths above";
const LOG_PROBS: &str = "computed by the trainer's model after the rollout";
const WEIGHTS: &str = "how the trainer sends its weights: rollbench loads them from the checkpoint";
const OBSERVING: &str = "what verl observes or replays, not what the engine does";

/// Whole families, by what their keys begin with.
const FAMILIES: [(&str, &str); 27] = [
    ("algorithm.", TRAINING),
    ("critic.", TRAINING),
    ("reward.", TRAINING),
    ("reward_model.", TRAINING),
    ("custom_reward_function.", TRAINING),
    ("distillation.", TRAINING),
    ("actor_rollout_ref.actor.", TRAINING),
    ("actor_rollout_ref.ref.", TRAINING),
    ("actor_rollout_ref.nccl_timeout", TRAINING),
    ("actor_rollout_ref.hybrid_engine", TRAINING),
    ("trainer.", TRAINING),
    ("rollout.total_", TRAINING),
    ("rollout.test_freq", TRAINING),
    ("hydra.", "where Hydra writes"),
    ("global_profiler.", OBSERVING),
    ("ray_init.", "how verl starts its processes"),
    ("ray_kwargs.", "how verl starts its processes"),
    ("transfer_queue.", "how verl moves its data"),
    ("data.", DATA),
    ("actor_rollout_ref.rollout.log_prob_", LOG_PROBS),
    (
        "actor_rollout_ref.rollout.val_kwargs.",
        "of validation steps",
    ),
    ("actor_rollout_ref.rollout.checkpoint_engine.", WEIGHTS),
    ("actor_rollout_ref.rollout.trace.", OBSERVING),
    ("actor_rollout_ref.rollout.skip", OBSERVING),
    ("actor_rollout_ref.rollout.profiler.", OBSERVING),
    ("actor_rollout_ref.rollout.prometheus.", OBSERVING),
    (
        "actor_rollout_ref.rollout.engine_kwargs.sglang",
        "of another engine",
    ),
];

/// Single settings of the rollout and its model.
const SINGLE: [(&str, &str); 24] = [
    ("rollout.name", "vLLM is what rollbench runs"),
    ("rollout.mode", "a step is one closed batch either way"),
    ("rollout.do_sample", "only verl's HF rollout reads it"),
    (
        "rollout.ignore_eos",
        "the workload fixes every length, so the engine never stops earlier",
    ),
    (
        "rollout.free_cache_engine",
        "memory is given back between steps, not within one",
    ),
    ("rollout.layered_summon", WEIGHTS),
    ("rollout.load_format", WEIGHTS),
    ("rollout.update_weights_bucket_megabytes", WEIGHTS),
    (
        "rollout.disable_log_stats",
        "rollbench counts by the engine's statistics: they are always on",
    ),
    (
        "rollout.skip_tokenizer_init",
        "token ids go in and come out, whether or not there is a tokenizer",
    ),
    (
        "rollout.multi_stage_wake_up",
        "memory is given back between steps, not within one",
    ),
    (
        "rollout.limit_images",
        "prompts are token ids, without images",
    ),
    (
        "rollout.use_preprocessed_multimodal_input",
        "prompts are token ids, without images",
    ),
    (
        "rollout.agent.num_workers",
        "who sends the requests; each engine gets the same share",
    ),
    ("rollout.engine_kwargs.trtllm", "of another engine"),
    ("rollout._target_", "a class of verl's"),
    ("model._target_", "a class of verl's"),
    ("model.use_remove_padding", TRAINING),
    ("model.enable_gradient_checkpointing", TRAINING),
    ("model.enable_activation_offload", TRAINING),
    ("model.use_fused_kernels", TRAINING),
    ("model.use_liger", TRAINING),
    (
        "model.use_shm",
        "where verl copies the checkpoint before it loads it",
    ),
    ("model.external_lib", TRAINING),
];

/// Settings that change nothing as long as they have this value, which is verl's default.
const OFF: [(&str, &str); 8] = [
    ("rollout.calculate_log_probs", "false"),
    ("rollout.multi_turn.enable", "false"),
    ("rollout.mtp.enable", "false"),
    ("rollout.over_sample_rate", "0"),
    ("rollout.enable_rollout_routing_replay", "false"),
    ("rollout.nnodes", "0"),
    ("rollout.expert_parallel_size", "1"),
    ("model.lora_rank", "0"),
];

/// Settings that another one stands in for, where that is said.
const STAND_INS: [(&str, &str); 3] = [
    ("data.train_batch_size", "data.gen_batch_size"),
    (
        "data.max_prompt_length",
        "actor_rollout_ref.rollout.prompt_length",
    ),
    (
        "data.max_response_length",
        "actor_rollout_ref.rollout.response_length",
    ),
];

/// What a look at all that was not written shows.
pub(super) struct Rest {
    /// Comment lines for the end of the configuration.
    pub(super) not_needed: String,
    /// `line 12: key=value`.
    pub(super) not_understood: Vec<String>,
}

/// Sorts what `settings` has and the configuration has not.
pub(super) fn rest(settings: &Settings<'_>) -> Rest {
    let mut reasons: Vec<(String, Vec<&Entry>)> = Vec::new();
    let mut not_understood = Vec::new();
    let mut sort = |entry, reason: Option<String>, otherwise: String| match reason {
        None => not_understood.push(otherwise),
        Some(reason) => match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, entries)) => entries.push(entry),
            None => reasons.push((reason, vec![entry])),
        },
    };
    for (entry, end) in settings.left() {
        let reason = match end {
            Elsewhere::SaidAgain(line) => Some(format!("said again on line {line}")),
            Elsewhere::Null => Some("null, as if it were not said".to_owned()),
            Elsewhere::Unread => not_needed(settings, entry),
        };
        sort(entry, reason, one_line(&entry.to_string()));
    }
    let mut lines = if reasons.is_empty() {
        String::new()
    } else {
        "\n# Read, and not needed for a measurement:\n".to_owned()
    };
    for (reason, entries) in &reasons {
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "# {reason}:");
        for entry in entries {
            let _ = writeln!(lines, "#   {}, line {}", entry.key, entry.line);
        }
    }
    Rest {
        not_needed: lines,
        not_understood,
    }
}

/// Why `entry` is not needed; absent if that is not known.
fn not_needed(settings: &Settings<'_>, entry: &Entry) -> Option<String> {
    let key = entry.key.as_str();
    if let Some(decides) = stand_in(settings, key) {
        return Some(format!("{}, line {}, decides", decides.key, decides.line));
    }
    let short = key.strip_prefix("actor_rollout_ref.").unwrap_or(key);
    let below = |family: &str| short.starts_with(family) && short.len() > family.len();
    let (turns, drafts) = ("rollout.multi_turn.", "rollout.mtp.");
    let switch = |family: &str| format!("actor_rollout_ref.{family}enable");
    if OFF
        .iter()
        .any(|(name, off)| *name == short && entry.value.eq_ignore_ascii_case(off))
    {
        return Some("it is off".to_owned());
    }
    if [turns, drafts]
        .into_iter()
        .any(|f| below(f) && !settings.holds(&switch(f)))
    {
        return Some("what it belongs to is off".to_owned());
    }
    if short == "rollout.engine_kwargs.vllm" && entry.value == "{}" {
        return Some("it is empty".to_owned());
    }
    if short == "rollout.n_gpus_per_node"
        && settings
            .get("actor_rollout_ref.rollout.nnodes")
            .is_none_or(|n| n.value == "0")
    {
        return Some("the rollout runs on the trainer's devices".to_owned());
    }
    if short == "rollout.agent.default_agent_loop" && entry.value == "single_turn_agent" {
        return Some("one turn a sequence is what rollbench measures".to_owned());
    }
    let single = SINGLE.iter().find(|(name, _)| *name == short);
    let family = FAMILIES.iter().find(|(begin, _)| key.starts_with(begin));
    single.or(family).map(|(_, why)| (*why).to_owned())
}

/// The setting that is read in place of `key`.
fn stand_in<'a>(settings: &Settings<'a>, key: &str) -> Option<&'a Entry> {
    if let Some((_, other)) = STAND_INS.iter().find(|(name, _)| *name == key) {
        return settings.get(other);
    }
    let name = key.strip_prefix(ROLLOUT)?;
    settings.get(&format!("{ENGINE_KWARGS}{}", engine_name(name)?))
}
