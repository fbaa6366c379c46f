//! `rollbench plan` (and `run --dry-run`): what would be run, with the origin of every value. Starts nothing.

use crate::checkpoint::HubCache;
use crate::config::{self, LoadRequest};
use crate::error::{CommandError, Exit};
use crate::output;
use crate::plan::{self, Plan};
use crate::record::Skip;
use crate::setup;

/// Asks the installed vLLM about a plan and answers in lines of text.
pub type Probe<'a> = &'a dyn Fn(&Plan) -> Result<String, CommandError>;

/// What to plan and how to show it.
pub struct PlanArgs<'a> {
    /// Flags, environment, current directory, accelerator.
    pub request: LoadRequest,
    /// JSON instead of text.
    pub json: bool,
    /// What `--probe` does; absent without it.
    pub probe: Option<Probe<'a>>,
}

/// Shows the plan on stdout. The exit code is 3 if no cell would run.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the arguments of a command are its own"
)]
pub fn run(args: PlanArgs<'_>) -> Result<Exit, CommandError> {
    let settings = config::load(&args.request)?;
    let hub = HubCache::from_env(&args.request.env);
    let managed = |name: &str| setup::checkpoint_dir(name).map_err(|error| error.to_string());
    let plan = plan::make(settings, &hub, &managed)?;
    let mut shown = if args.json {
        format!("{:#}\n", plan::to_json(&plan))
    } else {
        plan::to_text(&plan)
    };
    if let Some(probe) = args.probe {
        let answer = probe(&plan)?;
        if args.json {
            output::note(answer);
        } else {
            shown.push('\n');
            shown.push_str(&answer);
        }
    }
    output::data(&shown).map_err(anyhow::Error::from)?;
    match nothing_runs(&plan) {
        Some(failure) => Err(failure),
        None => Ok(Exit::Done),
    }
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
