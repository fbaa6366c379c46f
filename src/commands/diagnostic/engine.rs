//! The two last stages: one engine makes a few tokens, and its record is read back.

use std::path::PathBuf;

use super::report::Finding;
use crate::commands::measure::{On, Place, measure};
use crate::execute::Resume;
use crate::plan::{Plan, PlannedCell};
use crate::process::Interrupt;
use crate::record::{COMPLETE, CellRecord, Failure, Found, read_results, record_name};
use crate::stats::{CellMetrics, step_rows};
use crate::units::{Bytes, Seconds, thousands};

/// How much of an engine's log is shown here; the rest is in its file.
const TAIL: usize = 6;

/// How the engine stage ended.
pub(crate) enum Tried {
    /// It went, or failed as this says.
    Told(Finding),
    /// By this signal.
    Interrupted(i32),
}

/// The one cell and where it is tried.
pub(crate) struct Trial<'a> {
    plan: &'a Plan,
    cell: &'a PlannedCell,
    place: Place,
}

impl<'a> Trial<'a> {
    pub(crate) fn of(plan: &'a Plan, cell: &'a PlannedCell) -> Self {
        let place = Place::of_diagnostic(&plan.settings.out.value);
        Self { plan, cell, place }
    }

    /// Starts the engine, runs the step, stops the engine.
    pub(crate) async fn run(&self, python: PathBuf, interrupt: &Interrupt) -> Tried {
        let measured = measure(
            self.plan,
            On::Own(python),
            &self.place,
            Resume::No,
            interrupt,
        )
        .await;
        let measured = match measured {
            Ok(measured) => measured,
            Err(error) => return Tried::Told(Finding::of_error(&error)),
        };
        if let Some(signal) = measured.tally.interrupted {
            return Tried::Interrupted(signal);
        }
        if let Err(error) = measured.closed {
            return Tried::Told(Finding::of_error(&error));
        }
        Tried::Told(match self.record() {
            Err(why) => Finding::failed(why),
            Ok(record) => went(&record),
        })
    }

    /// Reads the record as `summarize` would, and derives from it what a summary would show.
    pub(crate) fn read_back(&self) -> Finding {
        let record = match self.record() {
            Ok(record) => record,
            Err(why) => return Finding::failed(why),
        };
        let path = self.place.results.join(self.file());
        let Some(metrics) = CellMetrics::of(&record, &step_rows(&record)) else {
            return Finding::failed(format!("{} holds no step that counts", path.display()));
        };
        Finding::ok(format!(
            "{} output tokens at {:.1} tok/s: too few to say anything about speed",
            thousands(metrics.output_tokens),
            metrics.output_throughput
        ))
        .also(path.display().to_string())
    }

    fn file(&self) -> String {
        record_name(&self.cell.settings.id, self.plan.settings.run.mode)
    }

    fn record(&self) -> Result<CellRecord, String> {
        let (found, passed_over) = read_results(&self.place.results, |found| found)
            .map_err(|error| format!("{error}: {}", error.source))?;
        let file = self.file();
        if let Some(damaged) = passed_over.iter().find(|damaged| damaged.file == file) {
            return Err(format!("{file}: {}", damaged.reason));
        }
        let ours = |found| match found {
            Found::Record(record) if record.cell.id == self.cell.settings.id => Some(*record),
            _ => None,
        };
        found
            .into_iter()
            .find_map(ours)
            .ok_or_else(|| format!("there is no {file} in {}", self.place.results.display()))
    }
}

/// The last engine start of the record, as a finding.
fn went(record: &CellRecord) -> Finding {
    let Some(start) = record.starts.last() else {
        return Finding::failed("the record holds no engine start");
    };
    if let Some(failure) = &start.failure {
        return broken(failure);
    }
    let engine = start.engine.clone().unwrap_or_default();
    let kv = engine
        .kv_tokens
        .map(|tokens| format!("KV cache of {} tokens", thousands(tokens)));
    let weights = engine
        .weights_bytes
        .map(|bytes| format!("weights {}", Bytes(bytes)));
    let ready = format!("ready after {}", Seconds(engine.load_s));
    let facts: Vec<String> = [Some(ready), kv, weights].into_iter().flatten().collect();
    let mut finding = Finding::ok(facts.join(", "));
    if !engine.kernels.is_empty() {
        finding = finding.also(format!("kernels: {}", engine.kernels.join(", ")));
    }
    for (name, difference) in &engine.difference {
        finding = finding.also(format!(
            "{name}: asked for {}, vLLM made it {}",
            difference.requested, difference.effective
        ));
    }
    if let Some(profile) = &start.profile {
        finding = match profile.status.as_str() {
            COMPLETE => finding.also(format!(
                "profile: {} in {}",
                profile.files.join(", "),
                profile.dir
            )),
            trouble => finding
                .but(format!("its profile in {}: {trouble}", profile.dir))
                .hint(
                    "docs/profile.md lists what leaves a profile empty; --no-profile leaves it out",
                ),
        };
    }
    match start.stop.as_ref().map_or(0, |stop| stop.leaks.len()) {
        0 => finding,
        n => finding.but(format!(
            "{n} of its processes had to be killed after the stop"
        )),
    }
}

fn broken(failure: &Failure) -> Finding {
    let mut finding = Finding::failed(format!("while {}: {}", failure.phase, failure.message));
    if let Some(diagnosis) = &failure.diagnosis {
        finding = finding.also(diagnosis);
    }
    let hidden = failure.tail.len().saturating_sub(TAIL);
    for line in &failure.tail[hidden..] {
        finding = finding.also(format!("| {line}"));
    }
    if let Some(hint) = &failure.hint {
        finding = finding.hint(hint);
    }
    finding.hint(format!("the engine's whole log: {}", failure.log))
}
