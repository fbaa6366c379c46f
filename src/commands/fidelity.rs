//! `rollbench fidelity`: the mismatch of the matrix without its speed, or that of a training run from its own numbers.

use std::path::Path;

use super::{common, run};
use crate::config::LoadRequest;
use crate::error::{CommandError, Exit};
use crate::execute::Resume;
use crate::output;
use crate::report::{Format, render_trainer};
use crate::verl::trainer;

/// Measures the fidelity of the matrix that `request` describes.
pub(crate) fn run(
    request: &LoadRequest,
    resume: Resume,
    format: Format,
) -> Result<Exit, CommandError> {
    common::block_on(run::fidelity_alone(request, resume, format))
}

/// Shows the mismatch in a training run's log-probabilities.
pub(crate) fn trainer(file: &Path, format: Format) -> Result<Exit, CommandError> {
    let mismatch = trainer::read(file).map_err(|error| {
        CommandError::new(Exit::Usage, error).hint(
            "JSON Lines, one response a line: rollout_log_probs and old_log_probs, one entry a token; input and response_mask if there are",
        )
    })?;
    let Some(numbers) = mismatch.numbers(0) else {
        return Err(CommandError::usage("there is no token in it"));
    };
    let shown = render_trainer(&numbers, format).map_err(anyhow::Error::from)?;
    output::data(shown.as_bytes())?;
    Ok(Exit::Done)
}
