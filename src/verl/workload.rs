//! The batch of a step, how it is spread over engines, and how it is sampled.

use std::fmt::Write as _;

use super::settings::{Settings, is_true};
use super::toml::{literal, put};
use super::{ImportError, ROLLOUT};
use crate::workload::PRESETS;

/// Writes `[workload]` and `[workload.sampling]`.
pub(super) fn write(settings: &Settings<'_>, out: &mut String) -> Result<(), ImportError> {
    let prompts = settings.count_or(&["data.gen_batch_size", "data.train_batch_size"], 1024)?;
    let n = settings.count_or(&["actor_rollout_ref.rollout.n"], 1)?;
    let prompt = settings.count_or(
        &[
            "actor_rollout_ref.rollout.prompt_length",
            "data.max_prompt_length",
        ],
        512,
    )?;
    let cap = settings.count_or(
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
    match settings.get("trainer.rollout_data_dir") {
        Some(dir) => {
            let _ = writeln!(
                out,
                "#   rollbench run --lengths-from {}/100.jsonl   ({})",
                dir.value,
                settings.origin(dir)
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
    replicas(settings, out)?;
    sampling(settings, out);
    Ok(())
}

/// Engines that share a step: all devices over those of one. A rollout apart from the trainer has nodes of its own.
fn replicas(settings: &Settings<'_>, out: &mut String) -> Result<(), ImportError> {
    let rollout = |name: &str| format!("{ROLLOUT}{name}");
    let own = settings
        .get(&rollout("nnodes"))
        .is_some_and(|nodes| nodes.value != "0");
    let (nodes, per_node) = if own {
        (
            settings.count_or(&[&rollout("nnodes")], 1)?,
            settings.count_or(&[&rollout("n_gpus_per_node"), "trainer.n_gpus_per_node"], 8)?,
        )
    } else {
        (
            settings.count_or(&["trainer.nnodes"], 1)?,
            settings.count_or(&["trainer.n_gpus_per_node"], 8)?,
        )
    };
    let of = |name: &str, default| settings.count_or(&[&rollout(name)], default);
    let tensor = of("tensor_model_parallel_size", 2)?;
    let pipeline = of("pipeline_model_parallel_size", 1)?;
    let data = of("data_parallel_size", 1)?;
    let each = tensor.0.saturating_mul(pipeline.0).saturating_mul(data.0);
    let devices = nodes.0.saturating_mul(per_node.0);
    if devices < each || !devices.is_multiple_of(each) {
        return Err(ImportError::Replicas { devices, each });
    }
    let how = format!(
        "{} nodes ({}) x {} devices ({}) / (tensor {} x pipeline {} x data {} parallel)",
        nodes.0, nodes.1, per_node.0, per_node.1, tensor.0, pipeline.0, data.0
    );
    put(out, "replicas", &(devices / each).to_string(), &how);
    Ok(())
}

fn sampling(settings: &Settings<'_>, out: &mut String) {
    let _ = writeln!(out, "\n[workload.sampling]");
    for (name, default) in [("temperature", "1.0"), ("top_p", "1.0"), ("top_k", "-1")] {
        let key = format!("{ROLLOUT}{name}");
        match settings.get(&key) {
            Some(entry) => put(out, name, &literal(&entry.value), &settings.origin(entry)),
            None => put(out, name, default, &settings.by_default(&key)),
        }
    }
    // The sampled token's own, which verl asks for where it corrects for the rollout's policy.
    match settings.get("actor_rollout_ref.rollout.calculate_log_probs") {
        Some(entry) if is_true(&entry.value) => put(out, "logprobs", "0", &settings.origin(entry)),
        _ => {}
    }
}
