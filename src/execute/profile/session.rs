//! What an engine start profiles: a session after the measured steps, on the same engine, with a workload of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::ProfileSettings;
use crate::engine::{LoadShape, ProfilerOrder, StepRequest};
use crate::error::PathError;
use crate::execute::describe::PROFILE_WORKLOAD;
use crate::execute::{Machine, Run};
use crate::plan::{Plan, PlannedCell};
use crate::record::{Arm, EngineStart, Role};
use crate::workload::{self, Lengths, RequestsError, Vocabulary, WorkloadSpec};

/// Iterations that are recorded.
const ITERATIONS: u32 = 24;
/// Iterations of pure decode before them, and behind them until the first sequence ends.
const AROUND: u32 = 4;
/// What vLLM works on in one iteration at least, if it is not told: more would only make the delay longer than needed.
const BATCHED_TOKENS: u64 = 2048;
/// Sequences at once, if the engine is not told: vLLM's smallest default.
const SEQUENCES: u64 = 256;
/// An eager iteration of a large model writes about this much; a replayed graph a tenth of it.
const BYTES_AN_ITERATION: u64 = 4 << 20;
/// Writing is slow, and the engine's Python is in its way.
const FLUSH_BASE: Duration = Duration::from_secs(30);
const FLUSH_PER_100_MB: Duration = Duration::from_mins(1);

/// What one engine start profiles.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::execute) struct Session {
    pub(in crate::execute) order: ProfilerOrder,
    spec: WorkloadSpec,
    /// For the trace to be written.
    pub(in crate::execute) flush: Duration,
}

impl Session {
    /// For the start of a cell; absent if no profile is asked for. Makes its folder.
    pub(in crate::execute) fn of(
        run: &Run<'_>,
        machine: &Machine,
        cell: &PlannedCell,
        start: &EngineStart,
    ) -> Result<Option<Self>, PathError> {
        let Some(settings) = &run.plan.settings.run.profile else {
            return Ok(None);
        };
        let dir = folder(run, machine, cell, start);
        set_aside(&dir)?;
        let argument = |name: &str| cell.args.get(name).and_then(|value| value.value.as_u64());
        let spec = spec(
            run.plan,
            settings,
            argument("max_num_seqs").unwrap_or(SEQUENCES),
        );
        let prompts = u64::from(spec.num_prompts) * u64::from(spec.prompt.max());
        let at_once = argument("max_num_batched_tokens")
            .unwrap_or(BATCHED_TOKENS)
            .max(1);
        let prefill = u32::try_from(prompts.div_ceil(at_once)).unwrap_or(u32::MAX);
        let (spec, delay) = fitted(spec, settings, prefill);
        let expected = u64::from(ITERATIONS) * BYTES_AN_ITERATION;
        let hundreds = u32::try_from(expected / 100_000_000 + 1).unwrap_or(u32::MAX);
        Ok(Some(Self {
            order: ProfilerOrder {
                dir,
                delay_iterations: delay,
                max_iterations: ITERATIONS,
            },
            spec,
            flush: cell
                .settings
                .limits
                .profile_flush
                .max(FLUSH_BASE + FLUSH_PER_100_MB * hundreds),
        }))
    }

    /// Its one step.
    pub(in crate::execute) fn step(
        &self,
        plan: &Plan,
        vocabulary: &Vocabulary,
    ) -> Result<StepRequest, RequestsError> {
        // Prompts of their own: what is cached of the steps before must not be found.
        let seed = plan.settings.run.seed ^ 0x0070_726f_6669_6c65;
        let made = workload::requests(&self.spec, seed, vocabulary, 1)?;
        Ok(StepRequest {
            index: plan.settings.run.steps_of_a_start(),
            role: Role::Profiled,
            workload: PROFILE_WORKLOAD.to_owned(),
            batch: made.steps[0].clone(),
            load: LoadShape::default(),
        })
    }
}

/// As many sequences as are decoded at once, with the prompts of the workload.
fn spec(plan: &Plan, settings: &ProfileSettings, at_once: u64) -> WorkloadSpec {
    let workload = &plan.settings.workload;
    let sequences = u64::from(workload.num_prompts) * u64::from(workload.n);
    let prompts = u32::try_from(sequences.min(at_once)).unwrap_or(u32::MAX);
    WorkloadSpec {
        num_prompts: settings.prompts.unwrap_or(prompts).max(1),
        n: 1,
        sibling_correlation: 0.0,
        shared_prefix: 0,
        placement: workload::Placement::Local,
        preset: None,
        ..workload.clone()
    }
}

/// With equal responses that are long enough for what is recorded, as far as the engine was made for so long ones, and
/// the iterations before recording begins.
fn fitted(spec: WorkloadSpec, settings: &ProfileSettings, prefill: u32) -> (WorkloadSpec, u32) {
    let wanted = prefill.saturating_add(ITERATIONS + 3 * AROUND);
    let longest = spec.response.max();
    let tokens = settings
        .output_len
        .unwrap_or(wanted)
        .clamp(1, longest.max(1));
    let delay = (prefill + AROUND).min(tokens.saturating_sub(ITERATIONS + AROUND));
    let response = Lengths::Fixed { tokens };
    (WorkloadSpec { response, ..spec }, delay)
}

/// `benchmark_profiles/<model>_<precision>.<block>`; later attempts and the second baseline have their mark.
fn folder(run: &Run<'_>, machine: &Machine, cell: &PlannedCell, start: &EngineStart) -> PathBuf {
    let arm = match start.arm {
        Arm::Main => "",
        Arm::Calibration => ".again",
    };
    let block = match run.plan.settings.run.blocks {
        1 => String::new(),
        _ => format!(".{}", start.block),
    };
    let name = format!("{}{block}{arm}", cell.settings.id);
    let profiles = &machine.profiles;
    std::path::absolute(profiles)
        .unwrap_or_else(|_| profiles.clone())
        .join(name)
}

/// Makes the folder, empty: what an earlier run left there goes to `previous/`.
fn set_aside(dir: &Path) -> Result<(), PathError> {
    if let Ok(written) = fs::metadata(dir).and_then(|dir| dir.modified()) {
        let when = jiff::Timestamp::try_from(written)
            .unwrap_or_default()
            .strftime("%Y%m%dT%H%M%S%3fZ");
        let previous = dir.with_file_name("previous").join(when.to_string());
        fs::create_dir_all(&previous).map_err(PathError::on("create", &previous))?;
        let target = previous.join(dir.file_name().unwrap_or_default());
        fs::rename(dir, target).map_err(PathError::on("rename", dir))?;
    }
    fs::create_dir_all(dir).map_err(PathError::on("create", dir))
}

/// Whether the folder that the profiler writes its plain trace to first can take it.
pub(in crate::execute) fn room(expected: u64) -> Option<String> {
    let temporary = std::env::temp_dir();
    let free = nix::sys::statvfs::statvfs(&temporary).ok()?;
    let free = free.blocks_available() as u64 * free.fragment_size() as u64;
    (free < expected).then(|| {
        format!(
            "{} has {} MB free and the profiler may need {} MB there: set TMPDIR",
            temporary.display(),
            free / 1_000_000,
            expected / 1_000_000
        )
    })
}

/// What [`room`] is asked for.
pub(in crate::execute) const EXPECTED_BYTES: u64 = ITERATIONS as u64 * BYTES_AN_ITERATION * 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recording_begins_after_the_prompts_and_ends_before_the_sequences() {
        let spec: WorkloadSpec = serde_json::from_value(serde_json::json!({
            "num_prompts": 8, "n": 1, "prompt": {"kind": "fixed", "tokens": 64},
            "response": {"kind": "fixed", "tokens": 256},
            "sampling": {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "logprobs": null},
        }))
        .expect("a specification");
        let settings = ProfileSettings::default();
        let (long, delay) = fitted(spec.clone(), &settings, 10);
        assert_eq!((long.response, delay), (Lengths::Fixed { tokens: 46 }, 14));
        // The engine was not made for longer responses than the workload's.
        let short = WorkloadSpec {
            response: Lengths::Fixed { tokens: 30 },
            ..spec
        };
        let (short, delay) = fitted(short, &settings, 10);
        assert_eq!((short.response, delay), (Lengths::Fixed { tokens: 30 }, 2));
    }
}
