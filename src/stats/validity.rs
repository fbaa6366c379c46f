//! What makes a measured number one that does not hold. The number is still shown, with the reason beside it.

use std::collections::BTreeMap;

use crate::record::{CellRecord, EngineStart, Role, Step, StepStatus};

/// Why what `starts` of this cell measured is no valid number of the precision that it is called by; empty if it is.
pub(crate) fn cell_reasons(record: &CellRecord, starts: &[&EngineStart]) -> Vec<String> {
    let checkpoint = record.cell.checkpoint.as_ref();
    let mut found = reasons(starts);
    found.extend(checkpoint.and_then(|c| c.mismatch.clone()));
    found
}

/// Why the measured steps of these engine starts do not make a valid number; empty if they do. `starts` are those
/// that enter statistics.
fn reasons(starts: &[&EngineStart]) -> Vec<String> {
    let mut found = Vec::new();
    let mut failed = 0;
    let mut requests = 0;
    let mut invalid: BTreeMap<&str, usize> = BTreeMap::new();
    for step in starts.iter().flat_map(|s| measured(s)) {
        requests += step.submitted.requests;
        failed += step.failed_requests();
        if step.status != StepStatus::Ok {
            for reason in &step.reasons {
                *invalid.entry(reason).or_default() += 1;
            }
            if step.reasons.is_empty() {
                *invalid
                    .entry("marked invalid without a reason")
                    .or_default() += 1;
            }
        }
    }
    if failed > 0 {
        found.push(format!("{failed} of {requests} requests failed"));
    }
    for (reason, steps) in invalid {
        found.push(format!("{reason} (in {steps} of the measured steps)"));
    }
    let differing: Vec<&str> = differing_arguments(starts);
    if !differing.is_empty() {
        found.push(format!(
            "the engine did not run as configured: {}",
            differing.join(", ")
        ));
    }
    let watched = starts.iter().filter(|s| !s.neighbours.is_empty()).count();
    if watched > 0 {
        found.push(format!(
            "other processes used the device in {}",
            of_starts(watched, starts.len())
        ));
    }
    let profiled = starts
        .iter()
        .filter(|s| measured_after_profiling(s))
        .count();
    if profiled > 0 {
        found.push(format!(
            "steps were measured after profiling began in {}",
            of_starts(profiled, starts.len())
        ));
    }
    let interrupted = starts.iter().filter(|s| !s.is_complete()).count();
    if interrupted > 0 {
        found.push(format!(
            "{} did not end as planned",
            of_starts(interrupted, starts.len())
        ));
    }
    let split = starts.iter().filter(|s| s.split).count();
    if split > 0 {
        found.push(format!(
            "cells of {} ran in different sessions",
            blocks(split)
        ));
    }
    found
}

/// The measured steps, but for those that were measured again because something got in the way (a suspended machine).
fn measured(start: &EngineStart) -> impl Iterator<Item = &Step> {
    let repeated = |step: &Step| {
        step.status != StepStatus::Ok
            && start.steps.iter().any(|other| {
                other.status == StepStatus::Ok
                    && (&other.workload, other.index) == (&step.workload, step.index)
            })
    };
    start
        .steps
        .iter()
        .filter(move |s| s.role == Role::Measured && !repeated(s))
}

fn measured_after_profiling(start: &EngineStart) -> bool {
    start
        .steps
        .iter()
        .skip_while(|s| s.role != Role::Profiled)
        .any(|s| s.role == Role::Measured)
}

fn differing_arguments<'a>(starts: &[&'a EngineStart]) -> Vec<&'a str> {
    let mut names: Vec<&str> = starts
        .iter()
        .filter_map(|s| s.engine.as_ref())
        .flat_map(|e| e.difference.keys().map(String::as_str))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn of_starts(some: usize, all: usize) -> String {
    match all {
        1 => "the engine start".to_owned(),
        _ => format!("{some} of {all} engine starts"),
    }
}

fn blocks(count: usize) -> String {
    match count {
        1 => "a block".to_owned(),
        _ => format!("{count} blocks"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::builder::done;
    use crate::record::{CellRecord, Difference, Neighbour, StartStatus};

    fn with(change: impl Fn(&mut CellRecord)) -> Vec<String> {
        let mut record = done("demo", "w8a8", &[&[1.0, 1.0], &[1.0, 1.0]]);
        change(&mut record);
        reasons(&record.starts.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_sound_cell_has_no_reasons() {
        assert!(with(|_| {}).is_empty());
    }

    #[test]
    fn each_rule_has_its_words() {
        let last = |r: &mut CellRecord| r.starts[1].steps.len() - 1;
        insta::assert_debug_snapshot!(with(|r| {
            let i = last(r);
            let columns = &mut r.starts[1].steps[i].sequences;
            columns.error = vec![None; columns.output_tokens.len()];
            columns.error[3] = Some("HTTP 500".to_owned());
        }), @r#"
[
    "1 of 32 requests failed",
]
"#);
        insta::assert_debug_snapshot!(with(|r| {
            let i = last(r);
            r.starts[1].steps[i].status = StepStatus::Invalid;
            r.starts[1].steps[i].reasons = vec!["the machine was suspended".to_owned()];
        }), @r#"
[
    "the machine was suspended (in 1 of the measured steps)",
]
"#);
        insta::assert_debug_snapshot!(with(|r| {
            if let Some(engine) = &mut r.starts[0].engine {
                engine.difference.insert(
                    "max_num_seqs".to_owned(),
                    Difference { requested: 256.into(), effective: 128.into() },
                );
            }
        }), @r#"
[
    "the engine did not run as configured: max_num_seqs",
]
"#);
        insta::assert_debug_snapshot!(with(|r| {
            r.starts[0].neighbours.push(Neighbour {
                device: 0,
                pid: 7,
                command: "python".to_owned(),
                memory_bytes: None,
            });
        }), @r#"
[
    "other processes used the device in 1 of 2 engine starts",
]
"#);
        insta::assert_debug_snapshot!(with(|r| r.starts[1].steps[0].role = Role::Profiled), @r#"
[
    "steps were measured after profiling began in 1 of 2 engine starts",
]
"#);
        insta::assert_debug_snapshot!(with(|r| r.starts[1].status = StartStatus::Interrupted), @r#"
[
    "1 of 2 engine starts did not end as planned",
]
"#);
        insta::assert_debug_snapshot!(with(|r| r.starts[1].split = true), @r#"
[
    "cells of a block ran in different sessions",
]
"#);
    }
}
