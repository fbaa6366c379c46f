//! Results of other programs: a row for each load, compared with the baseline's at the same load.

use super::model::ImportedRow;
use super::unlike::not_compared;
use crate::record::{Conditions, Foreign, ForeignResult, Tool};

/// The precision that others are compared with.
const BASELINE: &str = "bf16";

/// Results of one cell at one load.
struct Group {
    model: String,
    precision: String,
    tool: Tool,
    conditions: Conditions,
    load: String,
    files: Vec<String>,
    results: Vec<ForeignResult>,
}

impl Group {
    /// Tokens per second: of output, where both tell it; the loads are equal.
    fn speed(&self) -> Option<f64> {
        let elapsed_s: f64 = self.results.iter().map(|r| r.elapsed_s).sum();
        let tokens: u64 = self.results.iter().map(|r| r.total_tokens).sum();
        (tokens > 0 && self.failed() == 0).then(|| tokens as f64 / elapsed_s)
    }

    fn failed(&self) -> u64 {
        self.results.iter().filter_map(|r| r.failed).sum()
    }
}

/// Results by cell, program and load; several runs of one load together.
pub(super) fn rows(mut foreign: Vec<Foreign>) -> Vec<ImportedRow> {
    foreign.sort_by(|a, b| {
        (&a.model, &a.precision, a.tool, a.run, &a.file).cmp(&(
            &b.model,
            &b.precision,
            b.tool,
            b.run,
            &b.file,
        ))
    });
    let mut groups: Vec<Group> = Vec::new();
    for file in foreign {
        for result in file.results {
            let same = |group: &&mut Group| {
                (&group.model, &group.precision) == (&file.model, &file.precision)
                    && group.conditions == result.conditions
            };
            if let Some(group) = groups.iter_mut().find(same) {
                if !group.files.contains(&file.file) {
                    group.files.push(file.file.clone());
                }
                group.results.push(result);
                continue;
            }
            groups.push(Group {
                model: file.model.clone(),
                precision: file.precision.clone(),
                tool: file.tool,
                conditions: result.conditions.clone(),
                load: result.load.clone(),
                files: vec![file.file.clone()],
                results: vec![result],
            });
        }
    }
    groups.iter().map(|group| row(group, &groups)).collect()
}

fn row(group: &Group, all: &[Group]) -> ImportedRow {
    let results = &group.results;
    let elapsed_s: f64 = results.iter().map(|r| r.elapsed_s).sum();
    let requests: u64 = results.iter().map(|r| r.requests).sum();
    let total: u64 = results.iter().map(|r| r.total_tokens).sum();
    let output_tokens: Option<u64> = results.iter().map(|r| r.output_tokens).sum();
    let mut cannot_be_known = vec![
        "tail_share",
        "bubble_ratio",
        "preemptions",
        "kv_tokens",
        "load_s",
    ];
    if output_tokens.is_none() {
        cannot_be_known.insert(0, "output_throughput_tok_s");
    }
    let failed = results.iter().map(|r| r.failed).sum::<Option<u64>>();
    let all_failed = requests == 0;
    let mut remarks = Vec::new();
    if let Some(failed) = failed.filter(|failed| *failed > 0) {
        remarks.push(format!("{failed} of {} requests failed", failed + requests));
    }
    if requests > 0 && output_tokens == Some(0) {
        remarks.push(format!("{requests} requests were answered without a token"));
    }
    let (speed_up, not_compared) = compared(group, all);
    let rate = |count: u64| (!all_failed).then(|| count as f64 / elapsed_s);
    ImportedRow {
        model: group.model.clone(),
        precision: group.precision.clone(),
        tool: group.tool,
        load: group.load.clone(),
        files: group.files.clone(),
        runs: results.len(),
        failed_cell: all_failed,
        elapsed_s,
        requests,
        failed,
        output_tokens,
        output_throughput: output_tokens.and_then(rate),
        total_token_throughput: rate(total),
        request_throughput: rate(requests),
        speed_up,
        not_compared,
        remarks,
        latencies_ms: match results.as_slice() {
            [single] => single.latencies_ms.clone(),
            _ => indexmap::IndexMap::new(),
        },
        cannot_be_known,
    }
}

/// The ratio with the baseline at the same load, or why there is none. Such files do not tell engine starts apart, so
/// there is no interval.
fn compared(group: &Group, all: &[Group]) -> (Option<f64>, Option<String>) {
    let is_baseline = |other: &Group| other.precision.eq_ignore_ascii_case(BASELINE);
    let mut baselines = all
        .iter()
        .filter(|other| other.model == group.model && is_baseline(other));
    if is_baseline(group) {
        return (None, None);
    }
    let Some(first) = baselines.clone().next() else {
        return (None, None);
    };
    let same = baselines.find(|other| group.conditions.unlike(&other.conditions).is_empty());
    let Some(baseline) = same else {
        return (
            None,
            not_compared(&group.conditions.unlike(&first.conditions)),
        );
    };
    let ratio = group.speed().zip(baseline.speed());
    (ratio.map(|(here, there)| here / there), None)
}
