//! `rollbench plan` (and `run --dry-run`): what would be run, with the origin of every value. Starts nothing.

use super::common;
use crate::config::LoadRequest;
use crate::error::{CommandError, Exit};
use crate::output;
use crate::plan::{self, Plan};
use crate::record::Skip;

/// Shows the plan on stdout, as text or JSON. The exit code is 3 if no cell would run.
pub(crate) fn run(request: &LoadRequest, json: bool) -> Result<Exit, CommandError> {
    let settings = common::settings(request)?;
    let plan = common::plan(settings, request)?;
    let shown = if json {
        format!("{:#}\n", plan::to_json(&plan))
    } else {
        plan::to_text(&plan)
    };
    output::data(&shown).map_err(anyhow::Error::from)?;
    nothing_runs(&plan).map_or(Ok(Exit::Done), Err)
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
