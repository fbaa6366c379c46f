//! The batch of a step, how it is spread over engines, and how it is sampled.

use std::fmt::Write as _;

use super::settings::{Setting, Settings, is_true, one_line};
use super::toml::{put, put_setting};
use super::{ImportError, ROLLOUT};
use crate::workload::PRESETS;

/// Writes `[workload]` and `[workload.sampling]`.
pub(super) fn write(settings: &Settings<'_>, out: &mut String) -> Result<(), ImportError> {
    let _ = writeln!(out, "[workload]");
    let prompts = prompts(settings, out)?;
    let n = settings.count(&["actor_rollout_ref.rollout.n"])?;
    put_setting(out, "n", &n);
    let mut prompt = settings.count(&[
        "actor_rollout_ref.rollout.prompt_length",
        "data.max_prompt_length",
    ])?;
    prompt.origin.push_str(": the limit, not the mean");
    put_setting(out, "input_len", &prompt);
    let mut cap = settings.count(&[
        "actor_rollout_ref.rollout.response_length",
        "data.max_response_length",
    ])?;
    cap.origin.push_str(": the limit, not the mean");
    put_setting(out, "output_len", &cap);
    lengths(settings, cap.value, out);
    let requests = prompts
        .zip(n.value)
        .map(|(prompts, n)| prompts.saturating_mul(n));
    replicas(settings, requests, out)?;
    sampling(settings, out);
    Ok(())
}

/// The prompts of a step. A trainer that takes one sequence after the other has no closed batch.
fn prompts(settings: &Settings<'_>, out: &mut String) -> Result<Option<u64>, ImportError> {
    let keys = ["data.gen_batch_size", "data.train_batch_size"];
    let is = |key: &str, value: &str| settings.get(key).filter(|entry| entry.value == value);
    let stream = is(keys[0], "1").or_else(|| is(keys[1], "0"));
    if stream.is_none() && !settings.streams() {
        let prompts = settings.count(&keys)?;
        put_setting(out, "num_prompts", &prompts);
        return Ok(prompts.value);
    }
    for key in keys {
        if let Some(entry) = settings.last(key) {
            let _ = writeln!(
                out,
                "# {}: {}",
                settings.origin(entry),
                one_line(&entry.value)
            );
        }
    }
    let _ = writeln!(
        out,
        "# CHECK: this training streams its sequences and has no closed batch: say how many prompts one step is to\n         # hold, here or with --num-prompts.\n# num_prompts ="
    );
    let place = stream.map_or_else(String::new, |entry| {
        format!("line {}: {}={}: ", entry.line, entry.key, entry.value)
    });
    settings.ask(format!(
        "{place}fully asynchronous training streams and has no closed batch: give --num-prompts"
    ));
    Ok(None)
}

/// Where better lengths than the limits come from.
fn lengths(settings: &Settings<'_>, cap: Option<u64>, out: &mut String) {
    let _ = writeln!(
        out,
        "# verl's configuration says how long responses may be, not how long they are. Better than the limit:"
    );
    let (folder, origin) = match settings.get("trainer.rollout_data_dir") {
        Some(dir) => (
            one_line(&dir.value),
            format!("   ({})", settings.origin(dir)),
        ),
        None => ("DIR".to_owned(), String::new()),
    };
    let set = if origin.is_empty() {
        "set trainer.rollout_data_dir in a verl run, then "
    } else {
        ""
    };
    let _ = writeln!(
        out,
        "#   {set}rollbench run --lengths-from {folder}/100.jsonl{origin}"
    );
    let fits = |preset: &&crate::workload::Preset| {
        cap == Some(u64::from(preset.cap)) && preset.sigma > 0.0
    };
    if let Some(preset) = PRESETS.iter().find(fits) {
        let _ = writeln!(
            out,
            "#   or the preset with this limit: rollbench run --workload {}",
            preset.name
        );
    }
}

/// Engines that share a step: all devices over those of one. A rollout apart from the trainer has devices of its own.
fn replicas(
    settings: &Settings<'_>,
    requests: Option<u64>,
    out: &mut String,
) -> Result<(), ImportError> {
    let rollout = |name: &str| format!("{ROLLOUT}{name}");
    let inner = settings
        .last(&rollout("nnodes"))
        .is_some_and(|nodes| nodes.value != "0");
    let apart = settings.last("rollout.nnodes").is_some()
        || settings.last("rollout.n_gpus_per_node").is_some()
        || settings
            .last("actor_rollout_ref.hybrid_engine")
            .is_some_and(|hybrid| !is_true(&hybrid.value));
    let (nodes, per_node) = if inner {
        (
            settings.count(&[&rollout("nnodes")])?,
            settings.count(&[&rollout("n_gpus_per_node"), "trainer.n_gpus_per_node"])?,
        )
    } else if apart {
        (
            settings.count(&["rollout.nnodes"])?,
            settings.count(&["rollout.n_gpus_per_node"])?,
        )
    } else {
        (
            settings.count(&["trainer.nnodes"])?,
            settings.count(&["trainer.n_gpus_per_node"])?,
        )
    };
    let of = |name: &str| settings.count(&[&rollout(name)]);
    let one = |setting: Setting<u64>| {
        if setting.said {
            setting.value
        } else {
            setting.value.or(Some(1))
        }
    };
    let tensor = of("tensor_model_parallel_size")?.value;
    let pipeline = one(of("pipeline_model_parallel_size")?);
    let data = one(of("data_parallel_size")?);
    let shown = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let how = format!(
        "{} nodes ({}) x {} devices ({}) / (tensor {} x pipeline {} x data {} parallel)",
        shown(nodes.value),
        nodes.origin,
        shown(per_node.value),
        per_node.origin,
        shown(tensor),
        shown(pipeline),
        shown(data)
    );
    let product = |numbers: &[Option<u64>]| {
        let mut product = 1_u64;
        for number in numbers {
            product = product.saturating_mul((*number)?);
        }
        Some(product)
    };
    let value = match (
        product(&[nodes.value, per_node.value]),
        product(&[tensor, pipeline, data]),
    ) {
        (Some(devices), Some(each)) if devices < each || !devices.is_multiple_of(each) => {
            return Err(ImportError::Replicas { devices, each });
        }
        (Some(devices), Some(each)) => Some(devices / each),
        _ => None,
    };
    if let (Some(replicas), Some(requests)) = (value, requests)
        && requests < replicas
    {
        let _ = writeln!(
            out,
            "# CHECK: {replicas} engines = {how}, and {requests} requests for all of them"
        );
        settings.ask(format!(
            "{replicas} engines share {requests} requests: some have none"
        ));
        return Ok(());
    }
    put_setting(
        out,
        "replicas",
        &Setting {
            value,
            origin: how,
            said: true,
        },
    );
    Ok(())
}

fn sampling(settings: &Settings<'_>, out: &mut String) {
    let _ = writeln!(out, "\n[workload.sampling]");
    for name in ["temperature", "top_p", "top_k"] {
        if let Some(mut setting) = settings.value(&[&format!("{ROLLOUT}{name}")]) {
            let is_number = |text: &String| text.parse::<f64>().is_ok_and(f64::is_finite);
            if let Some(text) = setting.value.take_if(|text| !is_number(text)) {
                settings.ask(format!("{}: {text} is no number", setting.origin));
            }
            put_setting(out, name, &setting);
        }
    }
    // The sampled token's own, which verl asks for where it corrects for the rollout's policy.
    if let Some(asked) = settings.value(&["actor_rollout_ref.rollout.calculate_log_probs"]) {
        match &asked.value {
            Some(value) if is_true(value) => put(out, "logprobs", "0", &asked.origin),
            Some(_) => {
                let _ = writeln!(out, "# no logprobs: {}", asked.origin);
            }
            None => put_setting(out, "logprobs", &asked),
        }
    }
}
