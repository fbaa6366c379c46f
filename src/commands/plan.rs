//! `rollbench plan` (and `run --dry-run`): what would be run, with the origin of every value. Starts nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::common;
use crate::config::LoadRequest;
use crate::engine::{self, Probe};
use crate::error::{CommandError, Exit};
use crate::output;
use crate::plan::{self, Plan};
use crate::record::Skip;
use crate::setup::Paths;

/// Shows the plan on stdout, as text or JSON. With `probe`, the installed vLLM is asked which of the engine arguments it
/// knows. The exit code is 3 if no cell would run.
pub(crate) fn run(request: &LoadRequest, json: bool, probe: bool) -> Result<Exit, CommandError> {
    let settings = common::settings(request)?;
    // Only a probe may start Python.
    let (settings, request) = if probe && settings.uncounted {
        let python = common::existing_python(&settings)?;
        common::counted(settings, request, &python)?
    } else {
        (settings, Cow::Borrowed(request))
    };
    let plan = common::plan(settings, &request)?;
    let answer = probe.then(|| ask(&plan)).transpose()?;
    let shown = if json {
        let mut shown = plan::to_json(&plan);
        if let Some(answer) = &answer {
            shown["probe"] = serde_json::to_value(answer).map_err(anyhow::Error::from)?;
        }
        format!("{shown:#}\n")
    } else {
        let answer = answer
            .as_ref()
            .map(|answer| in_words(&plan, answer))
            .unwrap_or_default();
        format!("{}{answer}", plan::to_text(&plan))
    };
    output::data(&shown)?;
    nothing_runs(&plan).map_or(Ok(Exit::Done), Err)
}

/// Asks the interpreter of `plan`; imports vLLM, unless its answer is known from before.
fn ask(plan: &Plan) -> Result<Probe, CommandError> {
    let python = common::existing_python(&plan.settings)?;
    let cache = Paths::from_env()?.probes();
    let env = BTreeMap::new();
    common::block_on(async {
        engine::probe(&python, &env, &cache).await.map_err(|error| {
            let hint = error.hint();
            let failure = CommandError::new(Exit::Environment, error);
            hint.into_iter().fold(failure, CommandError::hint)
        })
    })
}

/// The installed vLLM, and the engine arguments that it does not know.
fn in_words(plan: &Plan, probe: &Probe) -> String {
    let versions = probe
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"));
    let mut text = format!(
        "\ninstalled   {} on {}\n",
        versions.collect::<Vec<_>>().join(", "),
        probe.platform
    );
    // Releases that take a ModelSlim checkpoint for floats unless they are told.
    let ascend = probe.versions.get("vllm-ascend").and_then(|v| minor(v));
    let deaf = ascend.is_some_and(|minor| minor < 18);
    for cell in plan.runs() {
        let method = cell.checkpoint.as_ref().and_then(|c| c.method.as_deref());
        if deaf && method == Some("ascend") && !cell.args.contains_key("quantization") {
            let _ = writeln!(
                text,
                "  {}: this vllm-ascend takes the ModelSlim checkpoint for floats: set quantization = \"ascend\" in the precision's args",
                cell.settings.id
            );
        }
        for (name, near) in probe.unknown(cell.args.keys().map(String::as_str)) {
            let near = if near.is_empty() {
                String::new()
            } else {
                format!("; near: {}", near.join(", "))
            };
            let _ = writeln!(
                text,
                "  {}: this vLLM does not know the engine argument `{name}`{near}",
                cell.settings.id
            );
        }
    }
    text
}

/// The 13 of `0.13.0rc1`; absent for other generations.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("0.")?.split('.').next()?.parse().ok()
}

/// The failure of a plan in which every cell is skipped; absent if any runs.
pub(crate) fn nothing_runs(plan: &Plan) -> Option<CommandError> {
    if plan.runs().next().is_some() {
        return None;
    }
    let any = |kind: fn(&Skip) -> bool| plan.skips().any(|(_, skip)| kind(skip));
    let mut failure = CommandError::environment("every selected cell is skipped");
    if any(|skip| matches!(skip, Skip::CheckpointMissing { .. })) {
        failure = failure.hint(
            "checkpoints are missing: check MODEL_BASE (or --model-base) and the paths in the configuration",
        );
    }
    if any(|skip| matches!(skip, Skip::NoCheckpoint)) {
        failure = failure.hint("name a checkpoint in the model's `checkpoints`");
    }
    if any(|skip| matches!(skip, Skip::Unsupported { .. })) {
        failure = failure.hint("choose other precisions with --quants");
    }
    Some(failure)
}
