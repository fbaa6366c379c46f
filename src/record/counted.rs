//! Which engine starts and steps of a record make up its numbers.

use super::{Arm, CellRecord, EngineStart, Role, Step, StepStatus};

/// The engine starts whose steps make up the cell's numbers: the complete ones of `arm`.
pub(crate) fn counted_starts(record: &CellRecord, arm: Arm) -> Vec<&EngineStart> {
    record
        .starts
        .iter()
        .filter(|start| start.arm == arm && start.is_complete())
        .collect()
}

/// The measured steps of a start that count: the valid ones; if it has none, those that were measured all the same,
/// to be shown with the reason beside them.
pub(crate) fn counted_steps(start: &EngineStart) -> Vec<&Step> {
    let measured =
        |status| move |step: &&Step| step.role == Role::Measured && step.status == status;
    let valid: Vec<_> = start
        .steps
        .iter()
        .filter(measured(StepStatus::Ok))
        .collect();
    if valid.is_empty() {
        let invalid = start.steps.iter().filter(measured(StepStatus::Invalid));
        invalid.filter(|step| step.makespan_ns > 0).collect()
    } else {
        valid
    }
}
