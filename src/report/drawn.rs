//! What pictures need of a record beyond its numbers.

use super::model::{Part, Ran};
use crate::record::{CellRecord, EngineStart, Role, StartStatus, Step, counted_steps};

/// Places of a completion curve: 2 %, 4 % ... 100 % of the sequences.
pub(super) const PLACES: usize = 50;

/// When each of [`PLACES`] shares of the sequences had ended, in seconds, a list a counted step. A step whose engine does
/// not tell all ends has none.
pub(super) fn completion(starts: &[&EngineStart]) -> Vec<Vec<f64>> {
    let steps = starts.iter().flat_map(|start| counted_steps(start));
    steps.filter_map(completion_of).collect()
}

fn completion_of(step: &Step) -> Option<Vec<f64>> {
    let rows = 0..step.sequences.len();
    let answered = rows.filter(|row| !step.sequences.has_failed(*row));
    let ends = answered.map(|row| step.sequences.finish_ns.get(row).copied().flatten());
    let mut ends: Vec<u64> = ends.collect::<Option<_>>()?;
    ends.sort_unstable();
    let places = 1..=PLACES;
    places
        .map(|place| {
            let ended = (place * ends.len()).div_ceil(PLACES);
            Some(*ends.get(ended.checked_sub(1)?)? as f64 / 1e9)
        })
        .collect()
}

/// What every engine start did when.
pub(super) fn ran(record: &CellRecord) -> Vec<Ran> {
    record.starts.iter().map(ran_of).collect()
}

fn ran_of(start: &EngineStart) -> Ran {
    let mut parts = Vec::new();
    let mut at_ns = start.clock.mono_ns;
    let mut add = |part, begin_ns: u64, length_ns: u64| {
        parts.push((part, begin_ns, length_ns));
        begin_ns + length_ns
    };
    if let Some(gate) = &start.gate.before {
        at_ns = add(Part::Gate, at_ns, gate.waited_ns);
    }
    if let Some(engine) = &start.engine {
        // Not negative, and no more than a year.
        let load = std::time::Duration::try_from_secs_f64(engine.load_s).unwrap_or_default();
        let load_ns = u64::try_from(load.as_nanos()).unwrap_or(0);
        at_ns = add(Part::Load, at_ns, load_ns);
    }
    for step in &start.steps {
        let part = match step.role {
            Role::Warmup => Part::Warmup,
            Role::Measured => Part::Measured,
            Role::Profiled => Part::Profiled,
        };
        at_ns = at_ns.max(add(part, step.begin_mono_ns, step.makespan_ns));
    }
    if let Some(stop) = &start.stop {
        at_ns = add(Part::Stop, at_ns, stop.ms.saturating_mul(1_000_000));
    }
    if let Some(gate) = &start.gate.after {
        add(Part::Gate, at_ns, gate.waited_ns);
    }
    Ran {
        session: start.session.clone(),
        boot: start.clock.boot_id.clone(),
        begin_ns: start.clock.mono_ns,
        block: start.block,
        failed: start.status == StartStatus::Failed,
        parts,
    }
}
