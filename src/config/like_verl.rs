//! `--like-verl`: engine arguments and sampling as verl passes them, and what that changed.

use indexmap::IndexMap;
use serde_json::Value;

use super::declared::{FAN_OUT, LOGPROBS, TEMPERATURE, TOP_K, TOP_P};
use super::values::Values;
use super::{Origin, Settings, Sourced};
use crate::device::Platform;
use crate::verl::engine_defaults;

const FLAG: Origin = Origin::Flag("--like-verl");

/// Left as they are: memory share and parallelism, which are the recipe's. Memory that can be given back to the trainer is
/// allocated another way; vLLM has that on devices only.
fn is_left(name: &str, platform: Platform) -> bool {
    let of_recipe = [
        "gpu_memory_utilization",
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "data_parallel_size",
    ];
    of_recipe.contains(&name) || (name == "enable_sleep_mode" && platform == Platform::Cpu)
}

/// Says verl's sampling, which is the default one with the log-probability of the sampled token, and its fan-out,
/// unless a flag says another.
pub(super) fn say(values: &mut Values) {
    if !values.is_flag(&FAN_OUT) {
        values.set(&FAN_OUT, "requests", FLAG);
    }
    values.set(&TEMPERATURE, 1.0, FLAG);
    values.set(&TOP_P, 1.0, FLAG);
    values.set(&TOP_K, -1, FLAG);
    values.set(&LOGPROBS, 0, FLAG);
}

/// Sets the engine arguments.
pub(super) fn apply(args: &mut IndexMap<String, Sourced<Value>>, platform: Platform) {
    for (name, value) in engine_defaults().filter(|(name, _)| !is_left(name, platform)) {
        args.insert(name.to_owned(), Sourced::new(value, FLAG));
    }
}

/// What a run like verl has that the run's own settings have not, a line each.
pub(super) fn differences(own: &Settings, like: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |name: &str, now: &Value, before: Option<&Sourced<Value>>| {
        let was = match before {
            Some(before) if before.value == *now => return,
            Some(before) => format!("{} ({})", before.value, before.origin),
            None => "vLLM's default".to_owned(),
        };
        let line = format!("as verl has it: {name} = {now}, instead of {was}");
        if !lines.contains(&line) {
            lines.push(line);
        }
    };
    for cell in &like.cells {
        let before = own.cells.iter().find(|c| c.id == cell.id);
        for (name, value) in cell.args.iter().filter(|(_, value)| value.origin == FLAG) {
            say(name, &value.value, before.and_then(|c| c.args.get(name)));
        }
    }
    for (name, value) in like.values.iter().filter(|(_, value)| value.origin == FLAG) {
        say(name, &value.value, own.values.get(name));
    }
    lines
}
