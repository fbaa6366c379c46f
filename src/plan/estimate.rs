//! How long a run will take, roughly: from earlier records where there are any, else from what such engines usually
//! take.

use std::path::Path;

use serde::Serialize;

use super::PlannedCell;
use crate::config::{FanOut, LoadPoint, Settings};
use crate::device::Platform;
use crate::load::Pacing;
use crate::record::{CellRecord, EngineStart, read_regular, record_name, results_dir};
use crate::units::Seconds;

/// An estimate, and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Estimate {
    /// In total.
    pub total_s: f64,
    /// What it rests on.
    pub basis: Basis,
}

/// What an estimate rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Basis {
    /// Earlier records of all cells.
    Records,
    /// Earlier records of some, usual times for the others.
    Mixed,
    /// What such engines usually take.
    Assumed,
}

/// Estimates the cells that run; absent if none does.
pub(super) fn estimate(settings: &Settings, cells: &[PlannedCell]) -> Option<Estimate> {
    let results = results_dir(&settings.out.value);
    let (mut total, mut known, mut count) = (0.0, 0, 0);
    for cell in cells.iter().filter(|cell| cell.skip.is_none()) {
        count += 1;
        let seconds = match recorded(settings, cell, &results) {
            Some(seconds) => {
                known += 1;
                seconds
            }
            None => assumed(settings),
        };
        total += seconds;
        if settings.run.inference.calibrate
            && cell.settings.id.precision == settings.matrix.baseline
        {
            total += seconds;
        }
    }
    let basis = match known {
        0 => Basis::Assumed,
        n if n == count => Basis::Records,
        _ => Basis::Mixed,
    };
    (count > 0).then(|| Estimate {
        total_s: total * f64::from(settings.run.blocks),
        basis,
    })
}

/// The steps of one engine start, warm-up included, if one at full speed takes `step_s`. No step is over before its
/// last request is sent.
fn steps_s(settings: &Settings, step_s: f64) -> f64 {
    let run = &settings.run;
    let requests = match run.fan_out {
        FanOut::Requests => settings.workload.samples() as f64,
        FanOut::N => f64::from(settings.workload.num_prompts),
    };
    let at = |point: &LoadPoint| match (run.online.duration, point.pacing) {
        (Some(duration), _) => duration.as_secs_f64(),
        (None, Pacing::AllAtOnce) => step_s,
        (None, Pacing::Rate { per_s, .. }) => step_s.max(requests / per_s),
        (
            None,
            Pacing::Ramp {
                from_per_s,
                to_per_s,
                ..
            },
        ) => step_s.max(requests / f64::midpoint(from_per_s, to_per_s)),
    };
    let points: Vec<f64> = run.online.points().iter().map(at).collect();
    f64::from(run.warmup + run.steps) * points.iter().sum::<f64>()
}

/// One engine start, by what the same cell took before.
fn recorded(settings: &Settings, cell: &PlannedCell, results: &Path) -> Option<f64> {
    let name = record_name(&cell.settings.id, settings.run.mode);
    let bytes = read_regular(&results.join(name)).ok()?;
    let record: CellRecord = serde_json::from_slice(&bytes).ok()?;
    let start = record
        .starts
        .iter()
        .rev()
        .find(|start| start.is_complete())?;
    let overhead_s = start.engine.as_ref()?.load_s
        + start
            .stop
            .as_ref()
            .map_or(0.0, |stop| stop.ms as f64 / 1000.0);
    let token_s = seconds_per_token(start)?;
    Some(overhead_s + steps_s(settings, token_s * tokens(settings)))
}

fn seconds_per_token(start: &EngineStart) -> Option<f64> {
    let seconds: f64 = start
        .steps
        .iter()
        .map(|step| Seconds::from_nanos(step.makespan_ns).0)
        .sum();
    let tokens: u64 = start
        .steps
        .iter()
        .flat_map(|step| &step.sequences.output_tokens)
        .map(|tokens| u64::from(*tokens))
        .sum();
    (tokens > 0).then(|| seconds / tokens as f64)
}

/// One engine start, by what is usual. Seconds to load a small model, and output tokens per second of a batch.
fn assumed(settings: &Settings) -> f64 {
    let (load_s, tokens_per_s) = match settings.platform {
        Platform::Cpu => (70.0, 150.0),
        Platform::Cuda => (90.0, 5000.0),
        Platform::Npu => (150.0, 2500.0),
    };
    load_s + steps_s(settings, tokens(settings) / tokens_per_s)
}

/// Output tokens of a step.
fn tokens(settings: &Settings) -> f64 {
    let workload = &settings.workload;
    let replicas = f64::from(workload.placement.replicas());
    workload.samples() as f64 / replicas * workload.response.mean()
}

impl Estimate {
    /// `about 5 min, assuming what such engines usually take`.
    pub(crate) fn words(&self) -> String {
        let minutes = self.total_s / 60.0;
        let time = match minutes {
            m if m < 1.5 => format!("{:.0} s", (self.total_s / 10.0).ceil() * 10.0),
            m if m < 90.0 => format!("{m:.0} min"),
            m => format!("{:.1} h", m / 60.0),
        };
        let basis = match self.basis {
            Basis::Records => "from the earlier records of these cells",
            Basis::Mixed => "from earlier records where there are any",
            Basis::Assumed => "assuming what such engines usually take",
        };
        format!("about {time}, {basis}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_read_in_fitting_units() {
        let words = |total_s| {
            Estimate {
                total_s,
                basis: Basis::Records,
            }
            .words()
        };
        assert_eq!(
            words(43.0),
            "about 50 s, from the earlier records of these cells"
        );
        assert!(words(290.0).starts_with("about 5 min"));
        assert!(words(9000.0).starts_with("about 2.5 h"));
    }
}
