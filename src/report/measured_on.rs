//! What a summary was measured on: checkpoints, hosts, workloads, sessions.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use indexmap::IndexSet;

use super::document::{Table, words};
use super::figures::{NONE, or_none};
use super::model::{CellRow, Environment, SessionRow, Summary, WorkloadRow};
use crate::units::Bytes;
use crate::workload::WorkloadSpec;

/// What the weights of each cell really are, and what computes with them.
pub(super) fn checkpoints(summary: &Summary) -> Option<Table> {
    let mut rows: IndexSet<Vec<String>> = IndexSet::new();
    for cell in &summary.cells {
        let Some(checkpoint) = &cell.checkpoint else {
            continue;
        };
        let row = vec![
            cell.model_label.clone(),
            cell.precision_label.clone(),
            checkpoint
                .format
                .clone()
                .unwrap_or_else(|| "unknown".to_owned()),
            if cell.kernels.is_empty() {
                NONE.to_owned()
            } else {
                cell.kernels.join(", ")
            },
            or_none(checkpoint.bytes, |bytes| Bytes(bytes).to_string()),
        ];
        rows.insert(row);
    }
    (!rows.is_empty()).then(|| Table {
        labels: 4,
        header: words(&[
            "Model",
            "Precision",
            "Weights really are",
            "Kernels",
            "Size",
        ]),
        rows: rows.into_iter().collect(),
    })
}

/// Hosts with their engines, workloads, what engines changed of what was asked, sessions: a line each.
pub(super) fn measured_on(summary: &Summary) -> Vec<String> {
    let all: BTreeSet<String> = summary
        .cells
        .iter()
        .filter(|c| !c.steps.is_empty())
        .map(CellRow::id)
        .collect();
    let mut lines: Vec<String> = summary
        .environments
        .iter()
        .map(|e| environment(e, summary.environments.len() > 1))
        .collect();
    lines.extend(summary.workloads.iter().map(|w| workload(w, all.len())));
    for cell in summary
        .cells
        .iter()
        .filter(|c| !c.config_difference.is_empty())
    {
        for (name, difference) in &cell.config_difference {
            let line = format!(
                "{}: {name} was asked as {} and is {}",
                cell.name(),
                difference.requested,
                difference.effective
            );
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines.extend(summary.sessions.iter().map(session));
    lines
}

fn environment(e: &Environment, one_of_several: bool) -> String {
    let devices = match e.devices.as_slice() {
        // Without an engine's word it is not known what it would have run on.
        [] if e.platform.is_none() => "no engine came up".to_owned(),
        [] if e.platform.as_deref() == Some("") => {
            "the client alone (what the server runs on is not known)".to_owned()
        }
        [] => "no accelerator".to_owned(),
        devices => counted(devices),
    };
    let mut line = format!(
        "{}: {devices}; {} ({} CPUs, {}), Linux {}",
        e.host,
        e.cpu,
        e.cpus,
        Bytes(e.memory_bytes),
        e.kernel
    );
    if let Some(platform) = e.platform.as_ref().filter(|platform| !platform.is_empty()) {
        let versions: Vec<String> = e.versions.iter().map(|(n, v)| format!("{n} {v}")).collect();
        let _ = write!(line, "; {} on {platform}", versions.join(", "));
    }
    if one_of_several {
        let _ = write!(line, ": {}", e.cells.join(", "));
    }
    line
}

/// `2 x NAME, OTHER`.
fn counted(names: &[String]) -> String {
    let mut distinct: Vec<(&String, usize)> = Vec::new();
    for name in names {
        match distinct.iter_mut().find(|(known, _)| *known == name) {
            Some((_, number)) => *number += 1,
            None => distinct.push((name, 1)),
        }
    }
    let shown = distinct.into_iter().map(|(name, number)| match number {
        1 => name.clone(),
        _ => format!("{number} x {name}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn workload(w: &WorkloadRow, cells: usize) -> String {
    let what = match serde_json::from_value::<WorkloadSpec>(w.spec.clone()) {
        Ok(spec) => format!(
            "{} prompts x {} samples, up to {} tokens in, {} out",
            spec.num_prompts,
            spec.n,
            spec.prompt.max(),
            spec.response.max()
        ),
        Err(_) => w.spec.to_string(),
    };
    let digest: String = w.sha256.chars().take(12).collect();
    let mut line = format!("workload {}: {what}, seed {}", w.name, w.seed);
    if !digest.is_empty() {
        let _ = write!(line, ", sha256 {digest}");
    }
    if w.cells.len() < cells {
        let _ = write!(line, ": {}", w.cells.join(", "));
    }
    line
}

fn session(s: &SessionRow) -> String {
    let steps = match (s.plan.points, s.plan.warmup_at_each_point) {
        (1, _) => format!(
            "({} warm-up + {} measured steps)",
            s.plan.warmup, s.plan.steps
        ),
        (points, false) => format!(
            "({} warm-up + {points} points x {} measured steps)",
            s.plan.warmup, s.plan.steps
        ),
        (points, true) => format!(
            "{points} points x ({} warm-up + {} measured steps)",
            s.plan.warmup, s.plan.steps
        ),
    };
    let mut line = format!(
        "session {}: {}, rollbench {}, {}; {} x {steps} a cell",
        s.id,
        s.started.strftime("%Y-%m-%d %H:%M:%S UTC"),
        s.rollbench,
        s.matrix.source,
        s.plan.blocks,
    );
    if let Some(earlier) = &s.resumes {
        let _ = write!(line, "; goes on with {earlier}");
    }
    line
}
