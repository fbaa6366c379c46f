//! `rollbench load`: the streaming client alone, against any running OpenAI-compatible server.

mod failures;
mod options;
mod record;
mod requests;
mod show;

pub(crate) use options::LoadOptions;

use super::common;
use crate::config::LoadPoint;
use crate::error::{CommandError, Exit};
use crate::load::{Control, Driven, Limit, Load, Pacing, Target, drive};
use crate::output::{self, note};
use crate::process::Interrupt;
use crate::record::{Role, StartStatus, StepStatus};
use record::Recorder;
use requests::Source;
use show::MeasuredPoint;

/// Loads the server and reports.
pub(crate) fn run(options: &LoadOptions) -> Result<Exit, CommandError> {
    common::runtime()?.block_on(measure(options))
}

async fn measure(options: &LoadOptions) -> Result<Exit, CommandError> {
    let interrupt = Interrupt::install().map_err(anyhow::Error::from)?;
    let target = Target::parse(&options.url, options.online.api)?;
    let control = Control::new(&target.base, options.api_key.clone())?;
    let model = model(options, &control).await?;
    let version = control.version().await;
    note(show::headline(options, &target, &model, version.as_deref()));
    let mut source = Source::new(options, &target, &model)?;
    probe(options, &target, &control, &source).await?;
    let mut recorder = Recorder::open(options, &target, &model, version)?;
    let mut points = Vec::new();
    let measured = tokio::select! {
        biased;
        signal = interrupt.first() => Err(signal),
        measured = all_points(options, &target, &control, &mut source, &mut recorder, &mut points) => Ok(measured),
    };
    let status = match &measured {
        Ok(Ok(())) => StartStatus::Complete,
        Ok(Err(_)) => StartStatus::Failed,
        Err(_) => StartStatus::Interrupted,
    };
    let shown = if options.json {
        show::json(options, &target, &model, &points)?
    } else {
        show::text(options, &points)
    };
    // First what was measured: a disk that takes no record must not cost the numbers as well.
    output::data(&shown).map_err(anyhow::Error::from)?;
    let results = recorder.close(status)?;
    note(format!("record: {}", results.display()));
    match measured {
        Err(signal) => Ok(Exit::Signal(signal)),
        Ok(Err(failure)) => Err(failure),
        Ok(Ok(())) if points.iter().any(MeasuredPoint::failed) => Ok(Exit::Partial),
        Ok(Ok(())) => Ok(Exit::Done),
    }
}

/// The model's name at the server: as given, if the server has it.
async fn model(options: &LoadOptions, control: &Control) -> Result<String, CommandError> {
    let models = control.models().await?;
    let names: Vec<&str> = models.iter().map(|m| m.id.as_str()).collect();
    match &options.model {
        // A server that lists none may have one all the same.
        Some(name) if names.is_empty() || names.contains(&name.as_str()) => Ok(name.clone()),
        Some(name) => Err(
            CommandError::usage(format!("the server has no model `{name}`"))
                .hint(format!("it has: {}", names.join(", "))),
        ),
        None => names.first().map(|name| (*name).to_owned()).ok_or_else(|| {
            CommandError::environment("the server lists no model").hint("name one with --model")
        }),
    }
}

/// One request before anything else: what is wrong with all of them is said once, and in words.
async fn probe(
    options: &LoadOptions,
    target: &Target,
    control: &Control,
    source: &Source,
) -> Result<(), CommandError> {
    let load = Load {
        target: target.clone(),
        pacing: Pacing::AllAtOnce,
        limit: Limit::Count(1),
        max_concurrency: None,
        timeouts: options.timeouts,
        seed: 0,
    };
    let probe = vec![source.probe()];
    let driven = drive(load, probe.into_iter(), control, |_| {}).await?;
    match driven.outcome.sequences.error.into_iter().flatten().next() {
        None => Ok(()),
        Some(error) => Err(failures::refused(target, options, &error)),
    }
}

async fn all_points(
    options: &LoadOptions,
    target: &Target,
    control: &Control,
    source: &mut Source,
    recorder: &mut Recorder,
    points: &mut Vec<MeasuredPoint>,
) -> Result<(), CommandError> {
    for number in 0..options.warmup {
        let plan = &options.points[0];
        note(format!(
            "warm-up {} of {}: {}",
            number + 1,
            options.warmup,
            plan
        ));
        let driven = one(options, plan, target, control, source).await?;
        recorder.step(Role::Warmup, plan, driven, None)?;
    }
    for (number, plan) in options.points.iter().enumerate() {
        for step in 0..options.steps {
            let place = show::place(number, options.points.len(), step, options.steps);
            note(format!("{place}{plan}"));
            let driven = one(options, plan, target, control, source).await?;
            let slo = options.online.goodput.as_ref();
            let (step, metrics) = recorder.step(Role::Measured, plan, driven, slo)?;
            let failed = step.status == StepStatus::Failed;
            points.push(MeasuredPoint {
                plan: *plan,
                step,
                metrics,
            });
            if failed && number + 1 < options.points.len() {
                note("too many requests failed: the remaining points are left out");
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn one(
    options: &LoadOptions,
    plan: &LoadPoint,
    target: &Target,
    control: &Control,
    source: &mut Source,
) -> Result<Driven, CommandError> {
    let load = Load {
        target: target.clone(),
        pacing: plan.pacing,
        limit: options.limit,
        max_concurrency: plan.point.concurrency,
        timeouts: options.timeouts,
        seed: options.seed,
    };
    // Otherwise the prompts are other ones in each step, so that the cache holds none of them.
    control.reset_prefix_cache().await;
    let requests = source.step(options.limit)?;
    Ok(drive(load, requests, control, |_| {}).await?)
}
