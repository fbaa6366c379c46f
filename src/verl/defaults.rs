//! verl's defaults, in one place: `import-verl` and `--like-verl` both read this table.

use serde_json::Value;

use super::{ROLLOUT, arguments, yaml};

/// Where the table was read.
pub(super) const SOURCE: &str = "verl 1dda039 (2026-08-22), its folder verl/";

/// One of verl's own values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Default {
    pub(super) value: String,
    /// `trainer/config/rollout/rollout.yaml:17`.
    pub(super) place: String,
}

/// Key, value, file, line.
const TABLE: [(&str, &str, &str, u32); 25] = [
    (
        "data.max_prompt_length",
        "512",
        "trainer/config/data/legacy_data.yaml",
        35,
    ),
    (
        "data.max_response_length",
        "512",
        "trainer/config/data/legacy_data.yaml",
        39,
    ),
    (
        "data.train_batch_size",
        "1024",
        "trainer/config/data/legacy_data.yaml",
        42,
    ),
    (
        "trainer.nnodes",
        "1",
        "trainer/config/ppo_trainer.yaml",
        164,
    ),
    (
        "trainer.n_gpus_per_node",
        "8",
        "trainer/config/ppo_trainer.yaml",
        167,
    ),
    (
        "rollout.nnodes",
        "1",
        "experimental/one_step_off_policy/config/one_step_off_ppo_trainer.yaml",
        12,
    ),
    (
        "rollout.n_gpus_per_node",
        "8",
        "experimental/one_step_off_policy/config/one_step_off_ppo_trainer.yaml",
        14,
    ),
    (
        "actor_rollout_ref.model.path",
        "~/models/deepseek-llm-7b-chat",
        "trainer/config/model/hf_model.yaml",
        10,
    ),
    (
        "actor_rollout_ref.rollout.temperature",
        "1.0",
        "trainer/config/rollout/rollout.yaml",
        17,
    ),
    (
        "actor_rollout_ref.rollout.top_k",
        "-1",
        "trainer/config/rollout/rollout.yaml",
        20,
    ),
    (
        "actor_rollout_ref.rollout.top_p",
        "1.0",
        "trainer/config/rollout/rollout.yaml",
        23,
    ),
    (
        "actor_rollout_ref.rollout.dtype",
        "bfloat16",
        "trainer/config/rollout/rollout.yaml",
        43,
    ),
    (
        "actor_rollout_ref.rollout.gpu_memory_utilization",
        "0.5",
        "trainer/config/rollout/rollout.yaml",
        46,
    ),
    (
        "actor_rollout_ref.rollout.enforce_eager",
        "false",
        "trainer/config/rollout/rollout.yaml",
        52,
    ),
    (
        "actor_rollout_ref.rollout.tensor_model_parallel_size",
        "2",
        "trainer/config/rollout/rollout.yaml",
        64,
    ),
    (
        "actor_rollout_ref.rollout.data_parallel_size",
        "1",
        "trainer/config/rollout/rollout.yaml",
        67,
    ),
    (
        "actor_rollout_ref.rollout.pipeline_model_parallel_size",
        "1",
        "trainer/config/rollout/rollout.yaml",
        75,
    ),
    (
        "actor_rollout_ref.rollout.max_num_batched_tokens",
        "8192",
        "trainer/config/rollout/rollout.yaml",
        78,
    ),
    (
        "actor_rollout_ref.rollout.max_num_seqs",
        "256",
        "trainer/config/rollout/rollout.yaml",
        84,
    ),
    (
        "actor_rollout_ref.rollout.enable_chunked_prefill",
        "true",
        "trainer/config/rollout/rollout.yaml",
        87,
    ),
    (
        "actor_rollout_ref.rollout.enable_prefix_caching",
        "true",
        "trainer/config/rollout/rollout.yaml",
        90,
    ),
    (
        "actor_rollout_ref.rollout.logprobs_mode",
        "processed_logprobs",
        "trainer/config/rollout/rollout.yaml",
        93,
    ),
    (
        "actor_rollout_ref.rollout.n",
        "1",
        "trainer/config/rollout/rollout.yaml",
        127,
    ),
    (
        "actor_rollout_ref.rollout.calculate_log_probs",
        "true",
        "trainer/config/rollout/rollout.yaml",
        233,
    ),
    (
        "actor_rollout_ref.rollout.enable_sleep_mode",
        "true",
        "workers/config/rollout.py",
        268,
    ),
];

/// The table, or with the `rollout.yaml` of another version over it.
#[derive(Debug, Default, Clone)]
pub(super) struct Defaults {
    other: Option<Other>,
}

#[derive(Debug, Clone)]
struct Other {
    file: String,
    read: super::Read,
}

impl Defaults {
    /// With `text`, the `rollout.yaml` of another version, in `file`.
    pub(super) fn with_rollout(file: &str, text: &str) -> Self {
        let mut read = yaml::read(text);
        for entry in &mut read.entries {
            entry.key.insert_str(0, ROLLOUT);
        }
        Self {
            other: Some(Other {
                file: file.to_owned(),
                read,
            }),
        }
    }

    /// What the top of the configuration says of where they come from.
    pub(super) fn source(&self) -> String {
        match &self.other {
            None => SOURCE.to_owned(),
            Some(other) => format!("{}, and for the rest {SOURCE}", other.file),
        }
    }

    /// Absent where verl has none, where it is null, and where it refers to another setting.
    pub(super) fn get(&self, key: &str) -> Option<Default> {
        let of_rollout = |other: &&Other| key.starts_with(ROLLOUT) && !other.has_no_line(key);
        if let Some(other) = self.other.as_ref().filter(of_rollout) {
            let entry = other.read.entries.iter().find(|entry| entry.key == key)?;
            let is_plain = !entry.is_null() && !entry.value.contains("${");
            return is_plain.then(|| Default {
                value: entry.value.clone(),
                place: format!("{}:{}", other.file, entry.line),
            });
        }
        let (_, value, file, line) = TABLE.iter().find(|(name, ..)| *name == key)?;
        Some(Default {
            value: (*value).to_owned(),
            place: format!("{file}:{line}"),
        })
    }
}

impl Other {
    /// A setting that no version keeps in its `rollout.yaml`.
    fn has_no_line(&self, key: &str) -> bool {
        key.ends_with(".enable_sleep_mode")
            && !self.read.entries.iter().any(|entry| entry.key == key)
    }
}

/// What verl hands to vLLM where nobody says anything else, under vLLM's names.
pub(crate) fn engine_defaults() -> impl Iterator<Item = (&'static str, Value)> {
    let defaults = Defaults::default();
    arguments::names().filter_map(move |(verl, name)| {
        let default = defaults.get(&format!("{ROLLOUT}{verl}"))?;
        let value = match default.value.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            text => text
                .parse::<serde_json::Number>()
                .map_or_else(|_| text.into(), Value::Number),
        };
        Some((name, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_stands_over_the_table() {
        let text = "temperature: 0.7\nn: ${oc.select:x,1}\ncalculate_log_probs: False\n";
        let defaults = Defaults::with_rollout("old.yaml", text);
        let of = |key: &str| {
            let found = defaults.get(&format!("{ROLLOUT}{key}"));
            found.map_or("none".to_owned(), |d| format!("{} ({})", d.value, d.place))
        };
        assert_eq!(of("temperature"), "0.7 (old.yaml:1)");
        assert_eq!(of("calculate_log_probs"), "false (old.yaml:3)");
        assert_eq!(of("n"), "none");
        assert_eq!(of("max_num_seqs"), "none");
        assert_eq!(
            defaults.get("trainer.nnodes").map(|d| d.place),
            Some("trainer/config/ppo_trainer.yaml:164".to_owned())
        );
    }
}
