//! Measures fidelity: each quantized cell samples, the baseline samples and scores everything. Engine starts of their
//! own, after the blocks and never inside them: scoring wants small batches, and nothing here is a measured step.

mod prompts;

use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::Value;

use super::beside::{Beside, beside_blocks};
use super::start::Ending;
use super::{ExecuteError, Execution, Machine, Resume, Run, Tally, describe};
use crate::config::FidelitySettings;
use crate::engine::{Counted, FidelityJob, OfflineEngine, OfflineSession, Session as _};
use crate::error::PathError;
use crate::event::{Event, EventSink};
use crate::plan::PlannedCell;
use crate::record::{
    Columns, EngineFacts, FIDELITY_SCHEMA, Failure, FailureKind, FidelityRecord, Look, Store,
    fidelity_of, set_fidelity_aside, sidecar, write_fidelity,
};
use prompts::Prompts;
pub(crate) use prompts::PromptsError;

/// Tokens that a prompt may have at most.
const LONGEST_PROMPT: u32 = 1024;
/// Scoring takes tokens x vocabulary x 6 bytes that no memory profile has seen: 1,024 x 152k is 0.9 GB.
const SCORING_BATCH: u64 = 1024;

/// Why the measurement of fidelity cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FidelityError {
    #[error(transparent)]
    Prompts(#[from] PromptsError),
    #[error(transparent)]
    Path(#[from] PathError),
}

/// Measures every model of the plan that has a baseline and a cell to compare with it. Results are written part by
/// part: what is complete is kept, and not measured again by a resumed session.
///
/// # Errors
/// If the prompts cannot be used, or a result cannot be written.
pub(crate) async fn fidelity(
    run: Run<'_>,
    store: &Store,
    engine: &OfflineEngine,
) -> Result<Execution, ExecuteError> {
    let mut tally = Tally::default();
    if let Some(machine) = &run.machine {
        tally = models(&run, machine, store.results(), engine).await?;
    }
    run.events.emit(Event::SessionEnded {
        complete: tally.complete,
        failed: tally.failed,
    });
    Ok(Execution { tally, fatal: None })
}

async fn models(
    run: &Run<'_>,
    machine: &Machine,
    results: &Path,
    engine: &OfflineEngine,
) -> Result<Tally, FidelityError> {
    let settings = &run.plan.settings.run.fidelity;
    if run.resume == Resume::No {
        for cell in run.plan.runs() {
            set_fidelity_aside(results, &cell.settings.id)?;
        }
    }
    let starts = starts(run, settings);
    run.events.emit(Event::PlanMade {
        starts,
        skips: 0,
        estimate_s: None,
    });
    let mut work = Work {
        run,
        machine,
        engine,
        settings,
        results,
        prompts: Prompts::make(settings, run.plan.settings.run.seed, run.run_dir.path())?,
        starts,
        begun: 0,
        tally: Tally::default(),
    };
    for repeat in 0..run.plan.settings.run.blocks {
        for model in &run.plan.settings.matrix.selected_models {
            let cells: Vec<&PlannedCell> = run
                .plan
                .runs()
                .filter(|cell| cell.settings.id.model == *model)
                .collect();
            work.model(&cells, repeat).await?;
        }
    }
    Ok(work.tally)
}

/// How many engine starts fidelity takes: each cell one, quantized ones a second if both ways are measured.
fn starts(run: &Run<'_>, settings: &FidelitySettings) -> u32 {
    let cells = u32::try_from(run.plan.runs().count()).unwrap_or(u32::MAX);
    let quantized = run
        .plan
        .runs()
        .filter(|cell| cell.settings.id.precision != run.plan.settings.matrix.baseline)
        .count();
    let again = if settings.both_ways { quantized } else { 0 };
    run.plan.settings.run.blocks * (cells + u32::try_from(again).unwrap_or(u32::MAX))
}

struct Work<'a, 'r> {
    run: &'a Run<'r>,
    machine: &'a Machine,
    engine: &'a OfflineEngine,
    settings: &'a FidelitySettings,
    results: &'a Path,
    prompts: Prompts,
    /// Engine starts, as many as there may be, and those that were begun.
    starts: u32,
    begun: u32,
    tally: Tally,
}

/// Something that an engine does, and whose record gets it.
struct Job<'p> {
    owner: &'p PlannedCell,
    part: Part,
    command: FidelityJob,
    file: String,
}

/// A part of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Sampled,
    Greedy,
    Scored,
    ScoredBaseline,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Sampled => "sampled",
            Self::Greedy => "greedy",
            Self::Scored => "scored",
            Self::ScoredBaseline => "scored_baseline",
        }
    }

    fn of(self, look: &mut Look) -> &mut Option<Columns> {
        match self {
            Self::Sampled => &mut look.sampled,
            Self::Greedy => &mut look.greedy,
            Self::Scored => &mut look.scored,
            Self::ScoredBaseline => &mut look.scored_baseline,
        }
    }
}

impl<'p> Work<'p, '_> {
    /// One repetition of a model: the quantized cells first, since the baseline scores what they sampled.
    async fn model(&mut self, cells: &[&'p PlannedCell], repeat: u32) -> Result<(), FidelityError> {
        let baseline_id = &self.run.plan.settings.matrix.baseline;
        let (baselines, quantized): (Vec<&'p PlannedCell>, Vec<&'p PlannedCell>) = cells
            .iter()
            .copied()
            .partition(|cell| cell.settings.id.precision == *baseline_id);
        let (Some(&baseline), false) = (baselines.first(), quantized.is_empty()) else {
            return Ok(());
        };
        for &cell in &quantized {
            let parts = vec![(cell, Part::Sampled), (cell, Part::Greedy)];
            self.turn(cell, baseline, &parts, repeat).await?;
        }
        let mut parts = vec![
            (baseline, Part::Sampled),
            (baseline, Part::Greedy),
            (baseline, Part::Scored),
        ];
        parts.extend(quantized.iter().map(|&cell| (cell, Part::Scored)));
        self.turn(baseline, baseline, &parts, repeat).await?;
        for &cell in quantized.iter().filter(|_| self.settings.both_ways) {
            self.turn(cell, baseline, &[(cell, Part::ScoredBaseline)], repeat)
                .await?;
        }
        Ok(())
    }

    /// One start of `cell`'s engine that does what is missing of `parts`; none if nothing is, or after an interrupt.
    async fn turn(
        &mut self,
        cell: &'p PlannedCell,
        baseline: &'p PlannedCell,
        parts: &[(&'p PlannedCell, Part)],
        repeat: u32,
    ) -> Result<(), FidelityError> {
        let jobs: Vec<Job<'_>> = parts
            .iter()
            .filter_map(|(owner, part)| self.job(owner, baseline, *part, repeat))
            .collect();
        if jobs.is_empty() || self.tally.interrupted.is_some() {
            return Ok(());
        }
        let events = self.run.events.about(&cell.settings.id);
        self.begun += 1;
        events.emit(Event::StartBegun {
            number: self.begun,
            of: self.starts,
            block: repeat,
        });
        let does = jobs[0].part.name();
        let log = format!("fidelity_{}.{does}.{repeat}.log", cell.settings.id);
        let log = self.machine.logs.join(log);
        let args = arguments(cell, &jobs, &self.prompts);
        let ending = beside_blocks(
            self.run,
            self.machine,
            self.engine,
            &Beside {
                cell,
                args,
                log: &log,
                events: &events,
            },
            async |session, facts| {
                self.all(session, facts, baseline, &jobs, repeat, &events)
                    .await
            },
        )
        .await;
        match ending {
            Ok(Ending::Interrupted(signal)) => self.tally.interrupted = Some(signal),
            Ok(_) => {
                self.tally.complete += 1;
                events.emit(Event::StartEnded { complete: true });
            }
            Err(failure) => {
                self.tally.failed += 1;
                let mut record = self.record(cell);
                record.look(repeat).failure = Some(failure.clone());
                write_fidelity(self.results, &record)?;
                events.emit(Event::CellFailed { failure });
            }
        }
        Ok(())
    }

    /// What is to be done for `part` of `owner`; absent if it is done, or if what it scores is not there.
    fn job(
        &self,
        owner: &'p PlannedCell,
        baseline: &PlannedCell,
        part: Part,
        repeat: u32,
    ) -> Option<Job<'p>> {
        let mut record = self.record(owner);
        let look = record.look(repeat);
        if part.of(look).is_some() {
            return None;
        }
        let file = format!(
            "{}.fidelity.{repeat}.{}.npz",
            owner.settings.id,
            part.name()
        );
        let out = self.results.join(&file);
        let (tokenizer, trust) = tokenizer(baseline);
        let k = self.prompts.record.best;
        let sample = |temperature: f64| FidelityJob::Sample {
            prompts: self.encoded(owner),
            temperature,
            max_tokens: self.prompts.record.output_len,
            k,
            out: out.clone(),
            text: self.settings.score.then(|| self.texts()),
            tokenizer: tokenizer.clone(),
            trust,
        };
        let sampled_by = |cell: &PlannedCell| {
            self.results.join(format!(
                "{}.fidelity.{repeat}.{}.npz",
                cell.settings.id,
                Part::Sampled.name()
            ))
        };
        let command = match part {
            Part::Sampled => sample(1.0),
            Part::Greedy => sample(0.0),
            Part::Scored | Part::ScoredBaseline => {
                let by = if part == Part::Scored {
                    owner
                } else {
                    baseline
                };
                // The baseline samples in the same start before it scores itself.
                let own = by.settings.id == baseline.settings.id && part == Part::Scored;
                if !own && self.record(by).look(repeat).sampled.is_none() {
                    return None;
                }
                FidelityJob::Score {
                    responses: sampled_by(by),
                    k,
                    out: out.clone(),
                }
            }
        };
        Some(Job {
            owner,
            part,
            command,
            file,
        })
    }

    /// Does `jobs` one after the other; each is in its record before the next begins.
    async fn all(
        &self,
        session: &mut OfflineSession,
        facts: EngineFacts,
        baseline: &PlannedCell,
        jobs: &[Job<'_>],
        repeat: u32,
        events: &EventSink,
    ) -> Result<(), Failure> {
        let encoded = self.encoded(baseline);
        if !encoded.exists() {
            let (tokenizer, trust) = tokenizer(baseline);
            let encode = FidelityJob::Encode {
                file: self.prompts.file.clone(),
                count: self.prompts.record.count,
                tokenizer,
                trust,
                longest: LONGEST_PROMPT,
                out: encoded,
            };
            let counted = session.fidelity(&encode, events).await?;
            if counted.left_out > 0 {
                let text = format!(
                    "{} prompts have more than {LONGEST_PROMPT} tokens and are left out",
                    counted.left_out
                );
                events.emit(Event::Note { text });
            }
        }
        for job in jobs {
            let counted = session.fidelity(&job.command, events).await?;
            self.keep(job, counted, &facts, repeat).map_err(|error| {
                session.fail(FailureKind::Results, &format!("{error}: {}", error.source))
            })?;
        }
        Ok(())
    }

    fn keep(
        &self,
        job: &Job<'_>,
        counted: Counted,
        facts: &EngineFacts,
        repeat: u32,
    ) -> Result<(), PathError> {
        let mut record = self.record(job.owner);
        let look = record.look(repeat);
        let solved = match job.command {
            FidelityJob::Sample {
                text: Some(ref text),
                ..
            } => self.solved(text)?,
            _ => Vec::new(),
        };
        *job.part.of(look) = Some(Columns {
            file: sidecar(self.results, &job.file)?,
            responses: counted.responses,
            tokens: counted.tokens,
            seconds: counted.seconds,
            solved,
        });
        look.engines
            .insert(job.part.name().to_owned(), facts.clone());
        look.failure = None;
        write_fidelity(self.results, &record)
    }

    /// By response: whether it ends with the answer. Empty where no answer is known.
    fn solved(&self, texts: &Path) -> Result<Vec<bool>, PathError> {
        let lines = fs::read_to_string(texts).map_err(PathError::on("read", texts))?;
        let text = |line: &str| serde_json::from_str::<String>(line).unwrap_or_default();
        let solved = lines
            .lines()
            .enumerate()
            .map(|(index, line)| self.prompts.solved(index, &text(line)));
        Ok(solved.collect::<Option<_>>().unwrap_or_default())
    }

    fn encoded(&self, cell: &PlannedCell) -> PathBuf {
        self.run
            .run_dir
            .path()
            .join(format!("{}.prompts.npz", cell.settings.id.model))
    }

    fn texts(&self) -> PathBuf {
        self.run.run_dir.path().join("responses.jsonl")
    }

    /// The record of `cell`: what an earlier session left of the same measurement, else a new one.
    fn record(&self, cell: &PlannedCell) -> FidelityRecord {
        let described = describe::cell(self.run.plan, cell, self.run.session, None);
        let same = |old: &FidelityRecord| {
            old.prompts == self.prompts.record
                && old.fingerprint.config == described.fingerprint.config
                && old.fingerprint.checkpoint == described.fingerprint.checkpoint
        };
        fidelity_of(self.results, &cell.settings.id)
            .filter(same)
            .unwrap_or_else(|| FidelityRecord {
                schema: FIDELITY_SCHEMA.to_owned(),
                session: described.session,
                cell: described.cell,
                fingerprint: described.fingerprint,
                prompts: self.prompts.record.clone(),
                thresholds: self.settings.thresholds,
                looks: Vec::new(),
            })
    }
}

/// Whose chat template prompts go through, and whether its code may run.
fn tokenizer(baseline: &PlannedCell) -> (String, bool) {
    let arg = |name: &str| baseline.args.get(name).map(|value| &value.value);
    let path = arg("tokenizer")
        .or_else(|| arg("model"))
        .and_then(Value::as_str);
    let trust = arg("trust_remote_code").and_then(Value::as_bool);
    (path.unwrap_or_default().to_owned(), trust.unwrap_or(false))
}

/// The cell's own engine arguments, but for what text and log-probabilities need.
fn arguments(cell: &PlannedCell, jobs: &[Job<'_>], prompts: &Prompts) -> IndexMap<String, Value> {
    let mut args: IndexMap<String, Value> = cell
        .args
        .iter()
        .map(|(name, value)| (name.clone(), value.value.clone()))
        .collect();
    args.shift_remove("skip_tokenizer_init");
    let number =
        |args: &IndexMap<String, Value>, name: &str| args.get(name).and_then(Value::as_u64);
    let longest = u64::from(LONGEST_PROMPT) + u64::from(prompts.record.output_len);
    args.insert("max_model_len".to_owned(), longest.into());
    let best = u64::from(prompts.record.best).max(number(&args, "max_logprobs").unwrap_or(0));
    args.insert("max_logprobs".to_owned(), best.into());
    args.insert("logprobs_mode".to_owned(), "raw_logprobs".into());
    if jobs
        .iter()
        .any(|job| matches!(job.command, FidelityJob::Score { .. }))
    {
        let least =
            |name: &str, most: u64| number(&args, name).map_or(most, |value| value.min(most));
        let (batch, seqs) = (
            least("max_num_batched_tokens", SCORING_BATCH),
            least("max_num_seqs", 256),
        );
        args.insert("max_num_batched_tokens".to_owned(), batch.into());
        args.insert("max_num_seqs".to_owned(), seqs.into());
    }
    args
}
