//! Two result sets, cell by cell: another day, another vLLM, another machine.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::blocks::{self, SpeedUp};
use super::cell_metrics::{BlockLog, CellMetrics, step_rows};
use super::interval::Estimate;
use super::iterations::{decode_iterations_ns, digests};
use super::judged::{Compared, JudgedBy, LatencyRatio, Performance, Terms, compared};
use super::mismatch::Measured;
use super::pace::Pace;
use super::validity::cell_reasons;
use super::verdict::{Judgement, judge};
use crate::profile;
use crate::record::{Arm, CellRecord, CellStatus, Conditions, Point, Unlike, counted_starts};
use crate::units::{CellId, Mode};

/// A cell in one of its two modes, at one point of a sweep.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Key {
    /// Model and precision.
    #[serde(flatten)]
    pub cell: CellId,
    /// Offline or online.
    pub mode: Mode,
    /// Online: how the requests were sent; absent for all at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<Point>,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.cell.model, self.cell.precision)?;
        match (self.mode, self.point) {
            (Mode::Offline, _) => Ok(()),
            (Mode::Online, None) => f.write_str(" (online)"),
            (Mode::Online, Some(point)) => write!(f, " (online, {point})"),
        }
    }
}

/// Two result sets compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct SetComparison {
    /// Cells that both sets have, in the order of the base set's matrix.
    pub rows: Vec<Row>,
    /// Cells that only the base set has.
    pub only_base: Vec<Key>,
    /// Cells that only the new set has.
    pub only_new: Vec<Key>,
    /// What differs in how the cells that both sets measured were measured.
    pub differences: Vec<ManifestDifference>,
    /// The smallest effect of interest, 0.02 for 2 %.
    pub smallest_effect: f64,
    /// The slowdown that is one too much, 0.05 for 5 %; absent if none was given.
    pub fail_above: Option<f64>,
    /// The mismatch of each cell that either set has measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fidelity: Vec<FidelityComparison>,
    /// The excess of `k3_kl` that is one too much; absent if none was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_kl: Option<f64>,
}

/// The excess of one cell's `k3_kl` over its floor, in both sets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct FidelityComparison {
    #[serde(flatten)]
    pub cell: CellId,
    pub base: Option<Measured>,
    pub new: Option<Measured>,
    /// What the limit says of the new set; absent without one.
    pub gate: Option<Decision>,
}

/// One cell in both sets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// Which.
    #[serde(flatten)]
    pub key: Key,
    /// Output throughput in the base set, tok/s; absent if not measured.
    pub base_tok_s: Option<f64>,
    /// Output throughput in the new set, tok/s; absent if not measured.
    pub new_tok_s: Option<f64>,
    /// New over base: above 1 means that the new set is faster. Absent if one of the two was not measured, and where
    /// they were measured under different conditions, unless a ratio was asked for all the same.
    pub speed_up: Option<Estimate>,
    /// What may be said; absent without a ratio, where `reasons` are, and where conditions differ.
    pub judgement: Option<Judgement>,
    /// Throughput, unless a schedule decided the makespans.
    pub judged_by: JudgedBy,
    /// Where one side keeps up with the offered rate and the other does not: what the ratio is at least or at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<Estimate>,
    /// Where both keep up: the ratios of their latencies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub latency: Vec<LatencyRatio>,
    /// How the two sides kept pace; absent without a rate.
    #[serde(skip)]
    pub paces: [Option<Pace>; 2],
    /// Why the ratio does not hold, or why there is none.
    pub reasons: Vec<String>,
    /// The conditions that the two do not share.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unlike: Vec<Unlike>,
    /// Which categories of a decode step moved; absent unless both were profiled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<String>,
    /// What the threshold says of it; absent without one, and where the base set did not measure the cell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<Decision>,
    /// Whether it is slower by more than the threshold.
    pub exceeds: bool,
    /// The command lines of the two sessions.
    #[serde(skip)]
    pub argv: [Vec<String>; 2],
}

/// What a threshold says of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Decision {
    /// Not slower by more than the threshold.
    Passed,
    /// Slower by more, and its interval excludes 1.
    Exceeded,
    /// Not measured alike, not valid, or without an interval: nothing can be said.
    Undecided,
}

/// Something that is not the same in the two sets' manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ManifestDifference {
    /// What, such as `vllm` or `engine.args.max_num_seqs`.
    pub what: String,
    /// In the base set; `-` if it is not there.
    pub base: String,
    /// In the new set; `-` if it is not there.
    pub new: String,
    /// The cells that it concerns; empty if all that are compared.
    pub cells: Vec<Key>,
}

/// The sets have no cell in common.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the two sets have no cell in common: {base} has {}; {new} has {}", list(.base_cells), list(.new_cells))]
pub(crate) struct NothingInCommon {
    /// How the base set is called.
    pub base: String,
    /// How the new set is called.
    pub new: String,
    /// The base set's cells.
    pub base_cells: Vec<Key>,
    /// The new set's cells.
    pub new_cells: Vec<Key>,
}

fn list(keys: &[Key]) -> String {
    if keys.is_empty() {
        return "none".to_owned();
    }
    keys.iter()
        .map(Key::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// How sets are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    /// The smallest effect of interest, 0.02 for 2 %.
    pub smallest_effect: f64,
    /// The slowdown that is one too much, 0.05 for 5 %; absent if none.
    pub fail_above: Option<f64>,
    /// Give ratios over a difference in conditions too; nothing is claimed of them.
    pub although_different: bool,
}

/// Compares two sets of records.
///
/// The engine starts of the two sets are independent of each other, so intervals are Welch's; they hold together at
/// 95 % over all cells that are compared. A cell exceeds the threshold if its measured slowdown does and its interval
/// excludes 1: noise alone fails no build. Without an interval, and where a number does not hold, the threshold
/// decides nothing.
pub(crate) fn compare(
    base: &[CellRecord],
    new: &[CellRecord],
    rules: Rules,
) -> Result<SetComparison, NothingInCommon> {
    let (there, here) = (by_key(base), by_key(new));
    let mut common: Vec<Key> = there
        .keys()
        .filter(|k| here.contains_key(*k))
        .cloned()
        .collect();
    common.sort_by_key(|k| there[k].declared());
    if common.is_empty() {
        return Err(NothingInCommon {
            base: "BASE".to_owned(),
            new: "NEW".to_owned(),
            base_cells: there.into_keys().collect(),
            new_cells: here.into_keys().collect(),
        });
    }
    let measured = |record: &CellRecord| !counted_starts(record, Arm::Main).is_empty();
    let both: Vec<Key> = common
        .iter()
        .filter(|k| measured(&there[k]) && measured(&here[k]))
        .cloned()
        .collect();
    let comparisons = both
        .iter()
        .filter(|k| unlike(&there[k], &here[k]).is_empty())
        .count();
    let rows = common
        .iter()
        .map(|k| row(k, &there[k], &here[k], comparisons, rules))
        .collect();
    Ok(SetComparison {
        rows,
        only_base: there
            .keys()
            .filter(|k| !here.contains_key(k))
            .cloned()
            .collect(),
        only_new: here
            .keys()
            .filter(|k| !there.contains_key(k))
            .cloned()
            .collect(),
        differences: differences(&both, &there, &here),
        smallest_effect: rules.smallest_effect,
        fail_above: rules.fail_above,
        fidelity: Vec::new(),
        max_kl: None,
    })
}

impl SetComparison {
    /// Whether a cell is slower by more than the threshold.
    pub(crate) fn exceeded(&self) -> bool {
        let too_far = |row: &FidelityComparison| row.gate == Some(Decision::Exceeded);
        self.rows.iter().any(|row| row.exceeds) || self.fidelity.iter().any(too_far)
    }

    /// Whether a cell that the base set measured is not measured in the new one.
    pub(crate) fn lost(&self) -> bool {
        self.rows
            .iter()
            .any(|row| row.base_tok_s.is_some() && row.new_tok_s.is_none())
    }

    /// Whether there is a threshold that was not applied to a cell of the base set, or to none at all: a gate that
    /// looked at nothing has not passed.
    pub(crate) fn undecided(&self) -> bool {
        let mut gates = self.rows.iter().filter_map(|row| row.gate).peekable();
        let passed = |row: &FidelityComparison| row.gate == Some(Decision::Passed);
        if self.max_kl.is_some() && (self.fidelity.is_empty() || !self.fidelity.iter().all(passed))
        {
            return true;
        }
        self.fail_above.is_some()
            && (!self.only_base.is_empty()
                || gates.peek().is_none()
                || gates.any(|gate| gate == Decision::Undecided))
    }
}

/// Every cell at every point: what was measured at two of them is compared apart.
fn by_key(records: &[CellRecord]) -> BTreeMap<Key, Cow<'_, CellRecord>> {
    let parts = records.iter().flat_map(|record| {
        record.by_point().map(move |(point, part)| {
            let key = Key {
                cell: record.cell.id.clone(),
                mode: record.cell.mode,
                point: point.filter(|point| !point.is_all_at_once()),
            };
            (key, part)
        })
    });
    parts.collect()
}

/// The two sets share no block, whatever their sessions are called.
fn between_sessions(base: &[BlockLog], new: &[BlockLog], comparisons: usize) -> Option<SpeedUp> {
    Some(SpeedUp {
        estimate: blocks::between_sessions(base, new, comparisons)?,
        differences: Vec::new(),
        blocks: Vec::new(),
    })
}

fn unlike(base: &CellRecord, new: &CellRecord) -> Vec<Unlike> {
    let conditions = |record| Conditions::of(record, Arm::Main).between_sets();
    conditions(new).unlike(&conditions(base))
}

fn row(key: &Key, base: &CellRecord, new: &CellRecord, comparisons: usize, rules: Rules) -> Row {
    let mut why = Vec::new();
    let mut measured = true;
    for (side, record) in [("the base set", base), ("the new set", new)] {
        let starts = counted_starts(record, Arm::Main);
        if starts.is_empty() {
            measured = false;
            why.push(format!("{} in {side}", not_measured(record)));
        }
        why.extend(
            cell_reasons(record, &starts)
                .into_iter()
                .map(|r| format!("{side}: {r}")),
        );
    }
    let unlike = if measured {
        unlike(base, new)
    } else {
        Vec::new()
    };
    let sound = why.is_empty() && unlike.is_empty();
    let sides = [base, new].map(|record| Performance::of(record, Arm::Main));
    let terms = Terms {
        comparisons,
        smallest_effect: rules.smallest_effect,
        sound,
    };
    let mut found = compared(&sides[0], &sides[1], terms, between_sessions);
    if !unlike.is_empty() {
        // A schedule that is not shared explains nothing: there is the plain ratio, or none.
        found = Compared {
            judged_by: JudgedBy::Throughput,
            speed_up: between_sessions(&sides[0].blocks, &sides[1].blocks, comparisons)
                .filter(|_| rules.although_different),
            latency: Vec::new(),
        };
    }
    let by_makespan = found.speed_up.map(|speed_up| speed_up.estimate);
    let (speed_up, bound) = match found.judged_by {
        JudgedBy::AtLeast | JudgedBy::AtMost => (None, by_makespan),
        JudgedBy::Throughput | JudgedBy::Latency => (by_makespan, None),
    };
    let judgement = speed_up
        .filter(|_| sound)
        .map(|e| judge(&e, rules.smallest_effect, None, comparisons));
    let base_tok_s = output_throughput(base);
    let gate = rules.fail_above.filter(|_| base_tok_s.is_some());
    let gate = gate.map(|limit| match (sound, found.judged_by) {
        (false, _) => Decision::Undecided,
        (true, JudgedBy::Latency) => gate_of_all(&found.latency, limit),
        (true, by) => gate_of(by_makespan, by, limit),
    });
    Row {
        key: key.clone(),
        base_tok_s,
        new_tok_s: output_throughput(new),
        speed_up,
        judgement,
        judged_by: found.judged_by,
        bound,
        latency: found.latency,
        paces: sides.map(|side| side.pace),
        reasons: why,
        unlike,
        moved: moved(base, new),
        gate,
        exceeds: gate == Some(Decision::Exceeded),
        argv: [base, new].map(|record| record.session.argv.clone()),
    }
}

/// The account of the two profiles in one line.
fn moved(base: &CellRecord, new: &CellRecord) -> Option<String> {
    let (base_profiles, new_profiles) = (digests(base), digests(new));
    let batch = profile::batch(&base_profiles)?;
    let iterations = |record| decode_iterations_ns(record, batch);
    let measured = profile::Measured::of(&iterations(base), &iterations(new));
    let made = profile::explain(
        &base_profiles,
        &new_profiles,
        measured,
        profile::Rules::built_in(),
    )?;
    let verdict = made.verdict.map_or("not measured", profile::Verdict::name);
    Some(format!("{} ({verdict})", made.sentence))
}

/// What a threshold of `limit` says of a ratio, or of a bound of one; absent where there is none.
fn gate_of(ratio: Option<Estimate>, by: JudgedBy, limit: f64) -> Decision {
    let Some((estimate, interval)) = ratio.and_then(|e| Some((e, e.interval?))) else {
        return Decision::Undecided;
    };
    let allowed = 1.0 / (1.0 + limit);
    match by {
        // It may be much faster than that, or slower.
        JudgedBy::AtLeast if interval.low < allowed => Decision::Undecided,
        JudgedBy::AtLeast => Decision::Passed,
        _ if estimate.ratio < allowed && interval.high < 1.0 => Decision::Exceeded,
        JudgedBy::AtMost => Decision::Undecided,
        _ => Decision::Passed,
    }
}

/// One latency that is too slow is too much; one without an interval decides nothing.
fn gate_of_all(latency: &[LatencyRatio], limit: f64) -> Decision {
    let gates: Vec<Decision> = latency
        .iter()
        .map(|ratio| gate_of(Some(ratio.estimate), JudgedBy::Latency, limit))
        .collect();
    if gates.contains(&Decision::Exceeded) {
        Decision::Exceeded
    } else if gates.is_empty() || gates.contains(&Decision::Undecided) {
        Decision::Undecided
    } else {
        Decision::Passed
    }
}

fn output_throughput(record: &CellRecord) -> Option<f64> {
    CellMetrics::of(record, &step_rows(record)).map(|m| m.output_throughput)
}

fn not_measured(record: &CellRecord) -> String {
    match record.status {
        CellStatus::Skipped => match &record.skip {
            Some(skip) => format!("skipped ({skip})"),
            None => "skipped".to_owned(),
        },
        _ => match record.starts.iter().rev().find_map(|s| s.failure.as_ref()) {
            Some(failure) => format!("failed while {}: {}", failure.phase, failure.message),
            None => "not measured".to_owned(),
        },
    }
}

fn differences(
    common: &[Key],
    base: &BTreeMap<Key, Cow<'_, CellRecord>>,
    new: &BTreeMap<Key, Cow<'_, CellRecord>>,
) -> Vec<ManifestDifference> {
    let mut found: Vec<ManifestDifference> = Vec::new();
    for key in common {
        let (there, here) = (manifest(&base[key]), manifest(&new[key]));
        let names: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
        for what in names {
            let shown = |side: &BTreeMap<String, String>| {
                side.get(what).cloned().unwrap_or_else(|| "-".to_owned())
            };
            let (base, new) = (shown(&there), shown(&here));
            if base == new {
                continue;
            }
            match found
                .iter_mut()
                .find(|d| d.what == *what && d.base == base && d.new == new)
            {
                Some(known) => known.cells.push(key.clone()),
                None => found.push(ManifestDifference {
                    what: what.clone(),
                    base,
                    new,
                    cells: vec![key.clone()],
                }),
            }
        }
    }
    for difference in &mut found {
        if difference.cells.len() == common.len() {
            difference.cells.clear();
        }
    }
    found.sort_by(|a, b| {
        rank(&a.what)
            .cmp(&rank(&b.what))
            .then_with(|| a.what.cmp(&b.what))
    });
    found
}

/// What matters most comes first: versions, machine, checkpoint, workload, settings, environment.
fn rank(what: &str) -> usize {
    [
        "version ",
        "host ",
        "device ",
        "checkpoint ",
        "workload ",
        "engine ",
        "setting ",
        "env ",
    ]
    .iter()
    .position(|prefix| what.starts_with(prefix))
    .unwrap_or(usize::MAX)
}

/// Settings that say nothing of how a step was measured.
const INDIFFERENT: [&str; 7] = [
    "out",
    "model_base",
    "run.blocks",
    "run.steps",
    "run.calibrate",
    "run.smallest_effect",
    "run.gate_timeout_s",
];

/// Everything in a record that says how it was measured, by name.
fn manifest(record: &CellRecord) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut put = |what: String, value: String| {
        found.insert(what, value);
    };
    put(
        "version rollbench".to_owned(),
        record.session.rollbench.clone(),
    );
    if let Some(checkpoint) = &record.cell.checkpoint {
        put("checkpoint path".to_owned(), checkpoint.path.clone());
        put(
            "checkpoint format".to_owned(),
            checkpoint.format.clone().unwrap_or_default(),
        );
        put(
            "checkpoint config".to_owned(),
            checkpoint.sha256_config.clone().unwrap_or_default(),
        );
    }
    for (name, setting) in &record.settings {
        let told_elsewhere = ["engine.args.", "engine.env.", "workload."]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if !told_elsewhere && !INDIFFERENT.contains(&name.as_str()) {
            put(format!("setting {name}"), shown(&setting.value));
        }
    }
    for (name, workload) in &record.workloads {
        put(format!("workload {name} seed"), workload.seed.to_string());
        if let Value::Object(fields) = &workload.spec {
            for (field, value) in fields {
                put(format!("workload {name} {field}"), shown(value));
            }
        }
    }
    // One start stands for all of a set: starts of one session share machine and engine.
    let starts = counted_starts(record, Arm::Main);
    let Some(start) = starts.last() else {
        return found;
    };
    put("host name".to_owned(), start.host.name.clone());
    put("host kernel".to_owned(), start.host.kernel.clone());
    put(
        "host cpu".to_owned(),
        format!("{} x {}", start.host.cpus, start.host.cpu),
    );
    for device in &start.devices {
        let i = device.index;
        put(format!("device {i}"), device.name.clone());
        put(
            format!("device {i} driver"),
            device.driver.clone().unwrap_or_default(),
        );
        if let Some(watts) = device.power_limit_w {
            put(format!("device {i} power limit"), format!("{watts:.0} W"));
        }
    }
    for (name, value) in &start.env {
        put(format!("env {name}"), value.clone());
    }
    if let Some(engine) = &start.engine {
        put("engine platform".to_owned(), engine.platform.clone());
        put("engine kernels".to_owned(), engine.kernels.join(", "));
        put("engine fallbacks".to_owned(), engine.fallbacks.join("; "));
        for (name, version) in &engine.versions {
            put(format!("version {name}"), version.clone());
        }
        for (name, value) in &engine.effective {
            put(format!("engine {name}"), shown(value));
        }
    }
    found
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::builder::{done, failed, skipped};

    const RULES: Rules = Rules {
        smallest_effect: 0.02,
        fail_above: Some(0.05),
        although_different: false,
    };

    fn set(scale: f64) -> Vec<CellRecord> {
        let mut records = vec![
            done(
                "demo",
                "bf16",
                &[&[2.0 * scale], &[2.02 * scale], &[1.99 * scale]],
            ),
            done("demo", "w8a8", &[&[1.5], &[1.52], &[1.49]]),
        ];
        for record in &mut records {
            record.session.id = format!("s{scale}");
        }
        records
    }

    #[test]
    fn a_slower_cell_exceeds_the_threshold_and_the_other_does_not() {
        let found = compare(&set(1.0), &set(1.1), RULES).expect("common cells");
        let shown: Vec<_> = found
            .rows
            .iter()
            .map(|r| (r.exceeds, r.judgement))
            .collect();
        assert_eq!(shown[0], (true, Some(Judgement::Slower)));
        assert!(!shown[1].0);
        assert!(found.exceeded() && !found.lost());
        let other = compare(&set(1.1), &set(1.0), RULES).expect("common cells");
        assert_eq!(other.rows[0].judgement, Some(Judgement::Faster));
        assert!(!other.exceeded());
    }

    #[test]
    fn noise_alone_fails_no_build() {
        let base = vec![done("demo", "bf16", &[&[1.0], &[1.2]])];
        let new = vec![done("demo", "bf16", &[&[1.3], &[1.1]])];
        let found = compare(&base, &new, RULES).expect("common cells");
        assert!(found.rows[0].speed_up.expect("measured").ratio < 1.0 / 1.05);
        assert!(!found.exceeded());
    }

    #[test]
    fn without_an_interval_a_threshold_decides_nothing() {
        for scale in [0.9, 1.2] {
            let found = compare(
                &[done("demo", "bf16", &[&[1.0]])],
                &[done("demo", "bf16", &[&[scale]])],
                RULES,
            )
            .expect("common cells");
            assert_eq!(found.rows[0].gate, Some(Decision::Undecided));
            assert!(!found.exceeded() && found.undecided());
            assert_eq!(found.rows[0].judgement, Some(Judgement::NoInterval));
        }
    }

    #[test]
    fn an_invalid_row_is_undecided_however_slow() {
        let mut new = set(2.0);
        new[0].starts[0].split = true;
        let found = compare(&set(1.0), &new, RULES).expect("common cells");
        assert_eq!(found.rows[0].gate, Some(Decision::Undecided));
        assert_eq!(found.rows[0].judgement, None);
        assert!(!found.exceeded() && found.undecided());
    }

    #[test]
    fn a_threshold_over_nothing_measured_has_not_passed() {
        let none = [failed("demo", "bf16")];
        let found = compare(&none, &none, RULES).expect("common cells");
        assert!(found.undecided() && !found.lost());
    }

    #[test]
    fn other_conditions_give_no_ratio_unless_it_is_asked_for() {
        let base = [done("demo", "bf16", &[&[1.0], &[1.0]])];
        let mut new = done("demo", "bf16", &[&[9.0], &[9.0]]);
        for step in new.starts.iter_mut().flat_map(|start| &mut start.steps) {
            step.duration_s = Some(2.0);
        }
        let new = [new];
        let found = compare(&base, &new, RULES).expect("common cells");
        let row = &found.rows[0];
        assert_eq!((row.speed_up, row.judgement), (None, None));
        assert_eq!(row.unlike[0].here, "for 2 s");
        assert_eq!(row.unlike[0].there, "for 8 requests");
        assert!(!found.exceeded() && !found.lost() && found.undecided());
        let although = Rules {
            although_different: true,
            ..RULES
        };
        let found = compare(&base, &new, although).expect("common cells");
        let row = &found.rows[0];
        assert!(row.speed_up.is_some() && row.judgement.is_none() && !row.unlike.is_empty());
        assert!(!found.exceeded() && found.undecided());
    }

    #[test]
    fn sets_are_compared_point_by_point() {
        let point = |rate| {
            Some(Point {
                rate,
                ..Point::default()
            })
        };
        let sweep = |paced: f64, at_once: f64| {
            let mut record = done("demo", "bf16", &[&[paced, at_once]]);
            record.cell.mode = Mode::Online;
            let steps = &mut record.starts[0].steps;
            (steps[0].point, steps[1].point) = (point(Some(4.0)), point(Some(4.0)));
            steps[2].point = point(None);
            record
        };
        let mut single = done("demo", "bf16", &[&[1.0]]);
        single.cell.mode = Mode::Online;
        let found = compare(&[sweep(2.0, 1.0)], &[sweep(1.0, 2.0)], RULES).expect("common");
        let ratios: Vec<_> = found
            .rows
            .iter()
            .map(|row| (row.key.to_string(), row.speed_up.map(|e| e.ratio)))
            .collect();
        let expected = [
            ("demo bf16 (online)".to_owned(), Some(0.5)),
            ("demo bf16 (online, 4 requests/s)".to_owned(), Some(2.0)),
        ];
        assert_eq!(ratios, expected);
        let found = compare(&[sweep(2.0, 1.0)], &[single], RULES).expect("all at once");
        assert_eq!(found.rows.len(), 1);
        assert_eq!(
            found.only_base[0].to_string(),
            "demo bf16 (online, 4 requests/s)"
        );
    }

    #[test]
    fn failed_cells_and_strangers_are_told() {
        let base = vec![
            done("demo", "bf16", &[&[1.0]]),
            done("demo", "w8a16", &[&[1.0]]),
        ];
        let new = vec![failed("demo", "bf16"), skipped("other", "w8a8")];
        let found = compare(&base, &new, RULES).expect("common cells");
        assert!(found.lost());
        assert!(
            found.rows[0].reasons[0].starts_with("failed while loading"),
            "{:?}",
            found.rows[0].reasons
        );
        assert_eq!(found.only_base[0].to_string(), "demo w8a16");
        assert_eq!(found.only_new[0].to_string(), "other w8a8");
    }

    #[test]
    fn sets_without_a_common_cell_are_an_error_that_lists_both() {
        let error = compare(
            &[done("demo", "bf16", &[&[1.0]])],
            &[done("other", "bf16", &[&[1.0]])],
            RULES,
        )
        .expect_err("nothing in common");
        assert_eq!(
            error.to_string(),
            "the two sets have no cell in common: BASE has demo bf16; NEW has other bf16"
        );
    }

    #[test]
    fn manifests_are_compared_and_equal_differences_told_once() {
        let mut new = set(1.0);
        for record in &mut new {
            for start in &mut record.starts {
                if let Some(engine) = &mut start.engine {
                    engine
                        .versions
                        .insert("vllm".to_owned(), "0.33.0".to_owned());
                }
            }
        }
        new[1].starts.iter_mut().for_each(|s| {
            s.env
                .insert("VLLM_USE_DEEP_GEMM".to_owned(), "1".to_owned());
        });
        let found = compare(&set(1.0), &new, RULES)
            .expect("common cells")
            .differences;
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(
            (found[0].what.as_str(), found[0].cells.len()),
            ("version vllm", 0)
        );
        assert_eq!(
            (found[1].what.as_str(), found[1].cells.len()),
            ("env VLLM_USE_DEEP_GEMM", 1)
        );
    }
}
