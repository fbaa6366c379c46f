//! verl's settings that become arguments of the engine.

use std::fmt::Write as _;

use super::ROLLOUT;
use super::model;
use super::settings::{Setting, Settings};
use super::toml::{dotted, put_setting};

/// What verl hands to vLLM as it is.
pub(super) const ENGINE_KWARGS: &str = "actor_rollout_ref.rollout.engine_kwargs.vllm.";

/// Settings of the rollout that become engine arguments under this name.
const ARGUMENTS: [(&str, &str); 16] = [
    ("dtype", "dtype"),
    ("tensor_model_parallel_size", "tensor_parallel_size"),
    ("pipeline_model_parallel_size", "pipeline_parallel_size"),
    ("data_parallel_size", "data_parallel_size"),
    ("gpu_memory_utilization", "gpu_memory_utilization"),
    ("max_num_seqs", "max_num_seqs"),
    ("max_num_batched_tokens", "max_num_batched_tokens"),
    ("enable_chunked_prefill", "enable_chunked_prefill"),
    ("enable_prefix_caching", "enable_prefix_caching"),
    ("enforce_eager", "enforce_eager"),
    ("enable_sleep_mode", "enable_sleep_mode"),
    ("logprobs_mode", "logprobs_mode"),
    ("scheduling_policy", "scheduling_policy"),
    ("max_model_len", "max_model_len"),
    (
        "cudagraph_capture_sizes",
        "compilation_config.cudagraph_capture_sizes",
    ),
    ("seed", "seed"),
];

/// A setting of the rollout and what vLLM calls it.
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    ARGUMENTS.into_iter()
}

/// What vLLM calls a setting of the rollout; absent if it is none of its arguments.
pub(super) fn engine_name(setting: &str) -> Option<&'static str> {
    let known = ARGUMENTS.iter().find(|(verl, _)| *verl == setting);
    known.map(|(_, name)| *name)
}

/// Arguments under their names, each once.
#[derive(Default)]
pub(super) struct Arguments(Vec<(String, Setting)>);

impl Arguments {
    /// A later one stands in place of an earlier one with the same name, or with a name within or around it.
    pub(super) fn put(&mut self, name: String, mut setting: Setting) {
        let within = |one: &str, other: &str| {
            one.strip_prefix(other)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        self.0.retain(|(known, earlier)| {
            let same = *known == name || within(known, &name) || within(&name, known);
            if same && earlier.said {
                let _ = write!(
                    setting.origin,
                    "; in place of {known} from {}",
                    earlier.origin
                );
            }
            !same
        });
        self.0.push((name, setting));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (String, &Setting)> {
        self.0.iter().map(|(name, setting)| (dotted(name), setting))
    }
}

/// Writes `[engine.args]`. What stands in `engine_kwargs.vllm` comes last in verl, so it wins.
pub(super) fn write(settings: &Settings<'_>, out: &mut String) {
    let mut arguments = Arguments::default();
    if let Some(trusted) = settings.value(&["actor_rollout_ref.model.trust_remote_code"]) {
        arguments.put("trust_remote_code".to_owned(), trusted);
    }
    for (verl, name) in ARGUMENTS {
        // One is vLLM's own default for these.
        let says_nothing = matches!(verl, "pipeline_model_parallel_size" | "data_parallel_size");
        let decided = settings
            .last(&format!("{ENGINE_KWARGS}{name}"))
            .is_some_and(|entry| !entry.is_null());
        let setting = (!decided)
            .then(|| settings.value(&[&format!("{ROLLOUT}{verl}")]))
            .flatten();
        if let Some(setting) = setting.filter(|setting| setting.said || !says_nothing) {
            arguments.put(name.to_owned(), setting);
        }
    }
    // vLLM has a switch: experts are spread over all of tensor x data parallel, and verl asks for that product.
    if let Some(entry) = settings.last("actor_rollout_ref.rollout.expert_parallel_size")
        && (entry.value != "1" || !entry.others.is_empty())
    {
        let Setting {
            value,
            origin,
            said,
        } = settings.said(entry);
        let value = value.map(|size| (size != "1").to_string());
        arguments.put(
            "enable_expert_parallel".to_owned(),
            Setting {
                value,
                origin,
                said,
            },
        );
    }
    // A map in braces that could not be read is left, to be named as not understood.
    let own = settings.below(ENGINE_KWARGS).into_iter();
    for entry in own.filter(|e| !e.value.starts_with('{') && !model::is_of_precision(settings, e)) {
        let name = entry.key[ENGINE_KWARGS.len()..].to_owned();
        arguments.put(name, settings.said(entry));
    }
    // Writing to a String cannot fail.
    let _ = writeln!(out, "\n[engine]\npython = \"python3\"\n\n[engine.args]");
    for (name, setting) in arguments.iter() {
        put_setting(out, &name, setting);
    }
}
