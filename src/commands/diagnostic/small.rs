//! The small part of a run that a diagnostic tries: one cell, one step of a few tokens. What the user said about the
//! engine stays; how much is measured shrinks.

use serde_json::Value;

use crate::config::declared::{
    BLOCKS, BURSTINESS, CALIBRATE, DURATION, INPUT_LEN, MAX_BLOCKS, MAX_CONCURRENCY, N,
    NUM_PROMPTS, OUTPUT_LEN, PRESET, PROFILE, PROMPT, RAMP, REPLICAS, REQUEST_RATE, RESPONSE,
    SHARED_PREFIX, SIBLING_CORRELATION, STEPS, UNTIL, WARMUP,
};
use crate::config::{Origin, ProfileSettings, Setting, Settings, Sourced};
use crate::units::{Mode, ModelId};
use crate::workload::WorkloadSpec;

const SMALL: Origin = Origin::Derived("a diagnostic tries one small step");

/// What of `settings` is tried with `model`: one step at the baseline precision. Sizes that a flag gave stay as they
/// are.
pub(super) fn shrink(mut settings: Settings, model: &ModelId) -> Settings {
    let baseline = settings.matrix.baseline.clone();
    settings
        .cells
        .retain(|cell| cell.id.model == *model && cell.id.precision == baseline);
    settings.matrix.selected_models = vec![model.clone()];
    settings.matrix.selected_precisions = vec![baseline];
    few_steps(&mut settings);
    few_tokens(&mut settings);
    all_at_once(&mut settings);
    settings
}

fn few_steps(settings: &mut Settings) {
    settings.run.steps = 1;
    settings.run.warmup = 0;
    settings.run.blocks = 1;
    // It costs little here, and a missing trace is found before it is missed.
    if !settings.values.contains_key(PROFILE.declaration.key) {
        settings.run.profile = Some(ProfileSettings::default());
    }
    let inference = &mut settings.run.inference;
    inference.calibrate = false;
    (inference.until, inference.first_stage, inference.max_blocks) = (None, None, None);
    say(settings, &STEPS, 1);
    say(settings, &WARMUP, 0);
    say(settings, &BLOCKS, 1);
    say(settings, &CALIBRATE, false);
    forget(settings, &UNTIL);
    forget(settings, &MAX_BLOCKS);
}

/// Arrivals at a rate, and points of a sweep, would only take their time.
fn all_at_once(settings: &mut Settings) {
    if settings.run.mode == Mode::Offline {
        return;
    }
    let online = &mut settings.run.online;
    (online.rates, online.ramp, online.duration) = (vec![None], None, None);
    online.concurrencies.truncate(1);
    let limit = online.concurrencies.first().copied().flatten();
    say(settings, &REQUEST_RATE, "inf");
    say(settings, &MAX_CONCURRENCY, limit);
    forget(settings, &RAMP);
    forget(settings, &BURSTINESS);
    forget(settings, &DURATION);
}

fn few_tokens(settings: &mut Settings) {
    let workload = &settings.workload;
    let size = |setting: &Setting<u32>, few: u32| {
        let said = settings.values.get(setting.declaration.key);
        match said {
            Some(said) if matches!(said.origin, Origin::Flag(_)) => settings.get(setting),
            _ => few,
        }
    };
    let sizes = [
        (
            &NUM_PROMPTS,
            size(&NUM_PROMPTS, workload.num_prompts.min(4)),
        ),
        (&N, size(&N, 1)),
        (&INPUT_LEN, size(&INPUT_LEN, workload.prompt.max().min(64))),
        (
            &OUTPUT_LEN,
            size(&OUTPUT_LEN, workload.response.max().min(32)),
        ),
    ];
    let [prompts, n, prompt, response] = sizes.map(|(_, size)| size);
    let workload = &mut settings.workload;
    *workload = WorkloadSpec {
        sampling: workload.sampling.clone(),
        ..WorkloadSpec::fixed(prompts, n, prompt, response)
    };
    if std::mem::take(&mut settings.uncounted) {
        // Else vLLM would take the model's own length, which can be more than memory holds.
        let longest = prompt.saturating_add(response);
        for cell in &mut settings.cells {
            let len = cell.args.entry("max_model_len".to_owned());
            len.or_insert_with(|| Sourced::new(longest.into(), SMALL));
        }
    }
    for (setting, size) in sizes {
        say(settings, setting, size);
    }
    for setting in [&PROMPT, &RESPONSE] {
        forget(settings, setting);
    }
    forget(settings, &PRESET);
    forget(settings, &SIBLING_CORRELATION);
    forget(settings, &SHARED_PREFIX);
    forget(settings, &REPLICAS);
}

fn say<T>(settings: &mut Settings, setting: &Setting<T>, value: impl Into<Value>) {
    let key = setting.declaration.key.to_owned();
    let value = value.into();
    let origin = match settings.values.get(&key) {
        // What is small already is the user's own word.
        Some(said) if said.value == value => return,
        _ => SMALL,
    };
    settings.values.insert(key, Sourced::new(value, origin));
}

fn forget<T>(settings: &mut Settings, setting: &Setting<T>) {
    settings.values.shift_remove(setting.declaration.key);
}
