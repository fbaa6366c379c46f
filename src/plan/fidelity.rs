//! Why fidelity cannot be measured, before anything is.

use super::PlanError;
use super::make::Draft;
use crate::config::Settings;

/// Every reason; none if it was not asked for.
pub(super) fn refusals(settings: &Settings, drafts: &[Draft<'_>]) -> Vec<PlanError> {
    let mut found = Vec::new();
    if !settings.run.fidelity.measure {
        return found;
    }
    for draft in drafts.iter().filter(|draft| draft.skip.is_none()) {
        let refuse = |reason: String| PlanError::Fidelity {
            cell: draft.cell.id.clone(),
            reason,
        };
        let load_format = draft.cell.args.get("load_format");
        let dummy = load_format.is_some_and(|format| format.value == "dummy");
        let shape_only = draft.found.checkpoint().is_some_and(|c| c.info.shape_only);
        if dummy || shape_only {
            let why = "has no weights of its own: what it says means nothing";
            found.push(refuse(why.to_owned()));
        }
        let baseline = drafts.iter().find(|other| {
            other.cell.id.model == draft.cell.id.model
                && other.cell.id.precision == settings.matrix.baseline
        });
        let Some(baseline) = baseline.filter(|baseline| baseline.skip.is_none()) else {
            let why = format!(
                "has nothing to be compared with: the baseline {} is not selected, or skipped",
                settings.matrix.baseline
            );
            found.push(refuse(why));
            continue;
        };
        let size = |draft: &Draft<'_>| Some(draft.found.checkpoint()?.vocabulary.as_ref()?.size);
        if let (Some(own), Some(other)) = (size(draft), size(baseline))
            && own != other
        {
            let why = format!("has a vocabulary of {own} tokens, its baseline one of {other}");
            found.push(refuse(why));
        }
    }
    found
}
