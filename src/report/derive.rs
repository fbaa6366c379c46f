//! From one record to all that a summary needs of it. The raw columns are dropped here, so that a folder of a
//! thousand records fits into little memory.

use super::drawn;
use super::model::{CellRow, Environment, FailureRow, LeakRow, Outcome};
use crate::profile::{self, Digest};
use crate::record::{
    Arm, CellRecord, CellStatus, Conditions, EngineStart, Foreign, Found, Role, Session,
    StartStatus, WorkloadInfo, counted_starts, counted_steps,
};
use crate::stats::judged::Performance;
use crate::stats::tail::{SpeedAt, running_over_time, speed_by_running};
use crate::stats::{self, CellMetrics, Estimate, Resolution, blocks};

/// What is kept of one file.
#[derive(Debug)]
pub enum Derived {
    /// Of a record of rollbench: one for each point of a sweep, one outside a sweep.
    Cells(Vec<DerivedCell>),
    /// A result of another program.
    Foreign(Foreign),
}

/// What is kept of a record.
#[derive(Debug)]
pub struct DerivedCell {
    pub(super) row: CellRow,
    pub(super) session: Session,
    /// Of the main arm.
    pub(super) performance: Performance,
    /// The baseline over itself; absent without a calibration.
    pub(super) calibration: Option<Estimate>,
    pub(super) by_running: Vec<SpeedAt>,
    pub(super) environments: Vec<Environment>,
    pub(super) leaks: Vec<LeakRow>,
    pub(super) workloads: Vec<(String, WorkloadInfo)>,
    /// What it shares with cells that may be compared with it.
    pub(super) conditions: Conditions,
    /// What its profiles tell; empty without any.
    pub(super) profiles: Vec<Digest>,
    /// Iterations without a profiler, in nanoseconds, at the batch of the profiles.
    pub(super) iterations_ns: Vec<f64>,
    /// Mean seconds from the gate to the end of the stop; absent without a complete engine start.
    pub(super) start_s: Option<f64>,
}

impl DerivedCell {
    /// What this cell's session can tell from nothing; absent without a calibration.
    pub(super) fn resolution(&self) -> Option<Resolution> {
        stats::resolution(self.calibration?, self.session.inference.smallest_effect)
    }
}

/// Derives what a summary needs.
pub(crate) fn derive(found: Found) -> Derived {
    match found {
        Found::Record(record) => Derived::Cells(derive_cells(&record)),
        Found::Foreign(foreign) => Derived::Foreign(foreign),
    }
}

fn derive_cells(record: &CellRecord) -> Vec<DerivedCell> {
    let sweep = record.points().len() > 1;
    let starts = counted_starts(record, Arm::Main);
    let whole_s = mean(starts.iter().map(|start| wall_s(start)));
    let parts = record.by_point().enumerate();
    parts
        .map(|(number, (point, part))| {
            let mut cell = derive_cell(&part);
            cell.row.point = point.filter(|point| sweep || !point.is_all_at_once());
            // Of the engine, not of a point: told once.
            cell.start_s = whole_s.filter(|_| number == 0);
            if number == 0 {
                cell.row.ran = drawn::ran(record);
            } else {
                cell.leaks.clear();
            }
            cell
        })
        .collect()
}

fn derive_cell(record: &CellRecord) -> DerivedCell {
    let starts = counted_starts(record, Arm::Main);
    let steps = stats::step_rows(record);
    let metrics = CellMetrics::of(record, &steps);
    let profiles = stats::digests(record);
    let facts = || record.starts.iter().rev().filter_map(|s| s.engine.as_ref());
    let performance = Performance::of(record, Arm::Main);
    let row = CellRow {
        model: record.cell.id.model.clone(),
        precision: record.cell.id.precision.clone(),
        mode: record.cell.mode,
        point: None,
        model_label: record.cell.labels.model.clone(),
        precision_label: record.cell.labels.precision.clone(),
        baseline: record.cell.id.precision == record.session.matrix.baseline,
        session: record.session.id.clone(),
        outcome: outcome(record),
        planned_starts: record.session.plan.blocks,
        skip: record.skip.as_ref().map(ToString::to_string),
        failures: record.starts.iter().filter_map(failure).collect(),
        interrupted_starts: count(record, StartStatus::Interrupted),
        checkpoint: record.cell.checkpoint.clone(),
        kernels: facts()
            .next()
            .map(|f| f.kernels.clone())
            .unwrap_or_default(),
        fallbacks: facts().fold(Vec::new(), |mut all, facts| {
            let new = facts.fallbacks.iter().filter(|told| !all.contains(told));
            all.extend(new.cloned().collect::<Vec<_>>());
            all
        }),
        config_difference: facts()
            .next()
            .map(|f| f.difference.clone())
            .unwrap_or_default(),
        invalid: if metrics.is_some() {
            stats::cell_reasons(record, &starts)
        } else {
            Vec::new()
        },
        warnings: warnings(record, &starts),
        metrics,
        pace: performance.pace,
        running_over_time: running(&starts),
        completion: drawn::completion(&starts),
        ran: Vec::new(),
        fidelity: None,
        comparison: None,
        why: None,
        steps,
    };
    DerivedCell {
        row,
        session: record.session.clone(),
        performance,
        calibration: blocks::calibration(record),
        by_running: speed_by_running(record),
        environments: record
            .starts
            .iter()
            .map(|s| environment(record, s))
            .collect(),
        leaks: record
            .starts
            .iter()
            .flat_map(|s| leaks(record, s))
            .collect(),
        workloads: record
            .workloads
            .iter()
            .map(|(name, workload)| (name.clone(), workload.clone()))
            .collect(),
        conditions: Conditions::of(record, Arm::Main),
        iterations_ns: profile::batch(&profiles)
            .map(|batch| stats::decode_iterations_ns(record, batch))
            .unwrap_or_default(),
        profiles,
        start_s: None,
    }
}

fn count(record: &CellRecord, status: StartStatus) -> usize {
    record.starts.iter().filter(|s| s.status == status).count()
}

fn outcome(record: &CellRecord) -> Outcome {
    if count(record, StartStatus::Running) > 0 {
        return Outcome::Running;
    }
    match record.status {
        CellStatus::Skipped => Outcome::Skipped,
        CellStatus::Planned => Outcome::Planned,
        CellStatus::Done => Outcome::Done,
        CellStatus::Partial => Outcome::Partial,
        CellStatus::Failed
            if count(record, StartStatus::Failed) == 0 && !record.starts.is_empty() =>
        {
            Outcome::Interrupted
        }
        CellStatus::Failed => Outcome::Failed,
    }
}

fn failure(start: &EngineStart) -> Option<FailureRow> {
    let failure = start.failure.as_ref()?;
    Some(FailureRow {
        block: start.block,
        phase: failure.phase,
        kind: failure.kind,
        message: failure.message.clone(),
        diagnosis: failure.diagnosis.clone(),
        hint: failure.hint.clone(),
        exit: failure.exit,
        log: failure.log.clone(),
    })
}

fn leaks(record: &CellRecord, start: &EngineStart) -> Vec<LeakRow> {
    let leaks = start.stop.iter().flat_map(|stop| &stop.leaks);
    leaks
        .map(|leak| LeakRow {
            cell: record.cell.id.to_string(),
            mode: record.cell.mode,
            block: start.block,
            pid: leak.pid,
            name: leak.name.clone(),
            command: leak.command.clone(),
            ended: leak.ended,
        })
        .collect()
}

fn environment(record: &CellRecord, start: &EngineStart) -> Environment {
    let device = |d: &crate::record::DeviceInfo| match &d.driver {
        Some(driver) => format!("{} (driver {driver})", d.name),
        None => d.name.clone(),
    };
    Environment {
        host: start.host.name.clone(),
        kernel: start.host.kernel.clone(),
        cpu: start.host.cpu.clone(),
        cpus: start.host.cpus,
        memory_bytes: start.host.memory_bytes,
        devices: start.devices.iter().map(device).collect(),
        platform: start.engine.as_ref().map(|e| e.platform.clone()),
        versions: start
            .engine
            .as_ref()
            .map(|e| e.versions.clone())
            .unwrap_or_default(),
        env: start.env.clone(),
        cells: vec![record.cell.id.to_string()],
    }
}

/// How the last measured step ran empty.
fn running(starts: &[&EngineStart]) -> Vec<(f64, u32)> {
    let last = starts
        .iter()
        .rev()
        .find_map(|s| counted_steps(s).last().copied());
    let timeline = last.and_then(|step| step.timeline.as_ref());
    timeline
        .map(|t| running_over_time(t, 64))
        .unwrap_or_default()
}

fn warnings(record: &CellRecord, starts: &[&EngineStart]) -> Vec<String> {
    let mut warnings = Vec::new();
    for start in starts {
        let costs: Vec<f64> = counted_steps(start)
            .iter()
            .map(|step| stats::cost_s(step))
            .collect();
        let Some(steadiness) = stats::steadiness(&costs).filter(stats::Steadiness::warn) else {
            continue;
        };
        let place = match starts.len() {
            1 => String::new(),
            _ => format!("block {}: ", start.block),
        };
        let trend = steadiness.slope.map_or_else(String::new, |slope| {
            format!(", {:+.1} % per step", 100.0 * slope)
        });
        warnings.push(format!(
            "{place}the measured steps vary by {:.1} % (standard deviation over mean{trend})",
            100.0 * steadiness.cv
        ));
    }
    if record
        .cell
        .checkpoint
        .as_ref()
        .is_some_and(|c| c.shape_only)
    {
        warnings.push("shape-only: speed, not text".to_owned());
    }
    warnings.extend(text_prompts(record, starts));
    if starts
        .iter()
        .any(|s| s.steps.iter().any(|step| step.duration_s.is_some()))
    {
        warnings.push(
            "requests were sent for a given time: what is compared is output tokens per second"
                .to_owned(),
        );
    }
    let saturated = starts
        .iter()
        .flat_map(|s| &s.steps)
        .filter(|s| s.role == Role::Measured && s.client.as_ref().is_some_and(|c| c.saturated))
        .count();
    if saturated > 0 {
        warnings.push(format!(
            "the client was the bottleneck in {saturated} steps"
        ));
    }
    warnings
}

/// Chat takes text: how long its prompts became is the server's word.
fn text_prompts(record: &CellRecord, starts: &[&EngineStart]) -> Option<String> {
    let api = record.settings.get("online.api")?.value.as_str()?;
    if api != "chat" {
        return None;
    }
    let steps = starts.iter().flat_map(|start| counted_steps(start));
    let lengths: Vec<f64> = steps
        .flat_map(|step| &step.sequences.prompt_tokens)
        .map(|&tokens| f64::from(tokens))
        .collect();
    let counted = mean(lengths.into_iter())?;
    Some(format!(
        "prompts were sent as text (chat): their lengths are approximate, by the server's count {counted:.0} tokens on average"
    ))
}

/// Seconds that a start took, from the gate to the proof that nothing is left.
fn wall_s(start: &EngineStart) -> f64 {
    let gates = [&start.gate.before, &start.gate.after];
    let waited: u64 = gates
        .iter()
        .filter_map(|g| g.as_ref())
        .map(|g| g.waited_ns)
        .sum();
    let stepped: u64 = start.steps.iter().map(|s| s.makespan_ns).sum();
    (waited + stepped) as f64 / 1e9
        + start.engine.as_ref().map_or(0.0, |e| e.load_s)
        + start.stop.as_ref().map_or(0.0, |s| s.ms as f64 / 1e3)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, n), value| (sum + value, n + 1));
    (count > 0).then(|| sum / f64::from(count))
}
