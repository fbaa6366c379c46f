//! One engine start: gate, launch, load, warm-up, measured steps, stop, gate. Whatever happens in between, it ends with
//! a stop that proves nothing is left, and with its record written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::profile::{self, Session as ProfileSession};
use super::quantization::taken_as_float;
use super::requests::{Requests, Steps};
use super::{ExecuteError, Machine, Run, describe, disk, environment};
use crate::checkpoint::{self, HubCache, Location};
use crate::clock;
use crate::config::declared::ALLOW_RAY;
use crate::config::{Start, StepPlace};
use crate::device::{self, Demand, DeviceError};
use crate::engine::{Engine, Launch, ProfilerOrder, Session, StepRequest, Urgency};
use crate::error::{PathError, chain};
use crate::event::{Event, EventSink};
use crate::plan::{PlannedCell, Turn};
use crate::process::leftovers;
use crate::record::{
    Arm, EngineStart, Failure, FailureKind, Gate, GateReading, Phase, Role, Saved, StartStatus,
    StartWriter, StepStatus, Stop, Store, StoreError,
};
use crate::units::Mode;

/// Which engine start it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    /// Counted from 1 over the session.
    pub(crate) number: u32,
    /// Of this many.
    pub(crate) of: u32,
    /// The cell, and in which arm.
    pub(crate) turn: Turn,
    /// Counted from 0.
    pub(crate) block: u32,
    /// Place in the block's order.
    pub(crate) position: u32,
    /// How often it was tried before.
    pub(crate) attempt: u32,
    /// Whether other cells of its block ran in another session.
    pub(crate) split: bool,
}

/// How an engine start ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Complete,
    /// The same, but in a measured step too many requests failed.
    Spoiled,
    Failed,
    Interrupted(i32),
}

/// Why the steps came to an end before their time.
pub(super) enum Break {
    /// The cell's own failure: the matrix goes on.
    Failure(Box<Failure>),
    /// Going on is pointless.
    Fatal(ExecuteError),
}

impl From<Failure> for Break {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

impl From<StoreError> for Break {
    fn from(error: StoreError) -> Self {
        Self::Fatal(error.into())
    }
}

/// Runs one engine start and records it.
pub(crate) async fn run<E: Engine>(
    run: &Run<'_>,
    store: &mut Store,
    engine: &E,
    slot: &Slot,
    requests: &mut Requests,
) -> Result<Ending, ExecuteError> {
    let cell = &run.plan.cells[slot.turn.cell];
    let events = run.events.about(&cell.settings.id);
    events.emit(Event::StartBegun {
        of: slot.of,
        number: slot.number,
        block: slot.block,
    });
    let mode = run.plan.settings.run.mode;
    let mut writer = store.begin(&cell.settings.id, mode, head(run, cell, slot))?;
    let ending = attempt(run, engine, cell, &mut writer, &events, requests).await;
    if let Err(error) = &ending {
        let log = log_path(run, cell, writer.start());
        let failure = fatal(error, &log);
        writer.start_mut().failure.get_or_insert(failure);
    }
    if let Some(failure) = &writer.start().failure {
        events.emit(Event::CellFailed {
            failure: failure.clone(),
        });
    }
    let status = match ending {
        Ok(Ending::Complete | Ending::Spoiled) => StartStatus::Complete,
        Ok(Ending::Interrupted(_)) => StartStatus::Interrupted,
        Ok(Ending::Failed) | Err(_) => StartStatus::Failed,
    };
    if writer.end(status) == Saved::Pending {
        events.emit(Event::Note {
            text: disk::trouble(store.pending().as_ref()),
        });
    }
    events.emit(Event::StartEnded {
        complete: status == StartStatus::Complete,
    });
    ending
}

/// What the record says of an engine start in which going on became pointless.
fn fatal(error: &ExecuteError, log: &Path) -> Failure {
    let (kind, hint) = match error {
        ExecuteError::Store(error) => (FailureKind::Engine, error.hint()),
        ExecuteError::Requests(_) | ExecuteError::Fidelity(_) => (FailureKind::Arguments, None),
    };
    failure(Phase::Load, kind, chain(error), hint, log)
}

/// Everything between the two gates, put into `start` as it becomes known.
async fn attempt<E: Engine>(
    run: &Run<'_>,
    engine: &E,
    cell: &PlannedCell,
    writer: &mut StartWriter<'_>,
    events: &EventSink,
    requests: &mut Requests,
) -> Result<Ending, ExecuteError> {
    let log = log_path(run, cell, writer.start());
    if let Some(machine) = &run.machine {
        events.emit(Event::Phase { phase: Phase::Gate });
        let open = tokio::select! {
            biased;
            signal = run.interrupt.first() => return Ok(interrupted(events, signal)),
            open = surroundings(run, machine, cell, writer.start_mut(), events, &log) => open,
        };
        if let Err(failure) = open {
            writer.start_mut().failure = Some(failure);
            return Ok(Ending::Failed);
        }
        events.emit(Event::Phase {
            phase: Phase::Launch,
        });
    }
    let profiled = profile::ask(run, cell, writer.start(), events);
    let order = profiled.as_ref().map(|session| session.order.clone());
    let launched = match launch(run, cell, &writer.start().id, &log, order) {
        Ok(launch) => tokio::select! {
            biased;
            signal = run.interrupt.first() => return Ok(interrupted(events, signal)),
            launched = engine.launch(launch) => launched,
        },
        Err(failure) => Err(failure),
    };
    let mut session = match launched {
        Ok(session) => session,
        Err(failure) => {
            writer.start_mut().failure = Some(failure);
            return Ok(Ending::Failed);
        }
    };
    let interrupt = run.interrupt;
    let driven = tokio::select! {
        biased;
        signal = interrupt.first() => Err(signal),
        result = drive(run, &mut session, cell, writer, events, requests, profiled.as_ref()) => Ok(result),
    };
    if run.machine.is_some() {
        events.emit(Event::Phase { phase: Phase::Stop });
    }
    let ending = match &driven {
        Err(signal) => interrupted(events, *signal),
        Ok(Ok(0)) => Ending::Complete,
        Ok(Ok(_)) => Ending::Spoiled,
        Ok(Err(_)) => Ending::Failed,
    };
    let stop = stop(run, &mut session).await;
    for leak in &stop.leaks {
        events.emit(Event::LeakFound { leak: leak.clone() });
    }
    // What was not started was not stopped.
    writer.start_mut().stop = run.machine.is_some().then_some(stop);
    engine.keep(session).await;
    if let (Some(profiled), Some(machine)) = (&profiled, &run.machine)
        && !matches!(ending, Ending::Interrupted(_))
    {
        profile::keep(run, machine, cell, writer, profiled, events).await;
    }
    let start = writer.start_mut();
    match driven {
        Ok(Err(Break::Failure(failure))) => start.failure = Some(*failure),
        Ok(Err(Break::Fatal(error))) => return Err(error),
        Ok(Ok(_)) | Err(_) => {}
    }
    // An interrupt is the wish to end now: the next run's gate looks again anyway.
    if let Some(machine) = &run.machine
        && !matches!(ending, Ending::Interrupted(_))
    {
        let reading = pass_gate(run, machine, Demand::default(), events).await;
        start.gate.after = reading.ok();
    }
    Ok(ending)
}

/// From launch to the last step. Gives the number of measured steps in which too many requests failed.
async fn drive<S: Session>(
    run: &Run<'_>,
    session: &mut S,
    cell: &PlannedCell,
    writer: &mut StartWriter<'_>,
    events: &EventSink,
    requests: &mut Requests,
    profiled: Option<&ProfileSession>,
) -> Result<u32, Break> {
    let facts = session.ready(events).await?;
    let rays = facts.effective.get("distributed_executor_backend") == Some(&"ray".into());
    let floats = taken_as_float(cell.checkpoint.as_ref(), &facts);
    let _ = writer.ready(facts)?;
    if rays && !run.plan.settings.get(&ALLOW_RAY) {
        let message = "vLLM chose Ray by itself: rollbench could neither end its workers nor prove that they are gone";
        let hint =
            "set distributed_executor_backend = \"mp\" in args, or allow_ray = true in [engine]";
        let log = log_path(run, cell, writer.start());
        let (message, hint) = (message.to_owned(), Some(hint.to_owned()));
        return Err(failure(Phase::Load, FailureKind::Arguments, message, hint, &log).into());
    }
    if let Some(floats) = floats {
        let log = log_path(run, cell, writer.start());
        let (message, hint) = (floats.message, Some(floats.hint));
        return Err(failure(Phase::Load, FailureKind::Engine, message, hint, &log).into());
    }
    let steps = match &cell.vocabulary {
        Some(vocabulary) => requests
            .steps(run.plan, vocabulary)
            .await
            .map_err(|e| Break::Fatal(e.into()))?,
        None => learn_steps(run, cell, writer, requests).await?,
    };
    session.prepare(&steps.requests).await?;
    let mut phase = None;
    let mut spoiled = 0;
    for request in steps.requests.iter() {
        let entered = match request.role {
            Role::Warmup => Phase::Warmup,
            Role::Measured => Phase::Measure,
            Role::Profiled => Phase::Profile,
        };
        if phase.replace(entered) != Some(entered) {
            events.emit(Event::Phase { phase: entered });
        }
        while !run_step(run, session, writer, request, events).await? {}
        let Some(step) = writer.start().steps.last() else {
            continue;
        };
        if step.status == StepStatus::Failed {
            let reason = step.reasons.first().map_or("", String::as_str);
            return Err(session.fail(FailureKind::Results, reason).into());
        }
        if step.role == Role::Measured && step.too_many_failed() {
            spoiled += 1;
        }
    }
    if let Some(profiled) = profiled {
        profile::take(run, session, writer, requests, profiled, events).await?;
    }
    Ok(spoiled)
}

/// Runs one step and hands it to the store. False if it does not count because we, not the engine, were disturbed
/// while it ran: then it is to be measured again.
pub(super) async fn run_step<S: Session>(
    run: &Run<'_>,
    session: &mut S,
    writer: &mut StartWriter<'_>,
    request: &StepRequest,
    events: &EventSink,
) -> Result<bool, Break> {
    disk::wait_for_room(writer, events).await;
    let settings = &run.plan.settings.run;
    let (number, of) = match request.role {
        // The only one, behind those that have places.
        Role::Profiled => (1, 1),
        Role::Warmup | Role::Measured => {
            let StepPlace { number, of, .. } = settings.place(request.index);
            (number, of)
        }
    };
    let point = (settings.points() > 1).then_some(request.load.point);
    events.emit(Event::StepBegun {
        role: request.role,
        number,
        of,
        point,
        sequences: request.batch.samples.len() as u64,
        tokens: request
            .batch
            .samples
            .iter()
            .map(|s| u64::from(s.output_tokens))
            .sum(),
    });
    let mark = run.suspend.mark();
    let mut step = disk::keep_writing(writer, session.run_step(request, events)).await?;
    let disturbance = run.suspend.since(&mark);
    if let Some(pause) = &disturbance {
        step.status = StepStatus::Invalid;
        step.reasons.push(pause.to_string());
    }
    let (status, makespan_ns) = (step.status, step.makespan_ns);
    let output_tokens = step.sequences.output_tokens.iter();
    let output_tokens = output_tokens.map(|&tokens| u64::from(tokens)).sum();
    let kept = writer.step(step);
    if let Some(error) = kept.tokens_lost {
        let text = format!(
            "the token times of this step are lost: {error}: {}",
            error.source
        );
        events.emit(Event::Note { text });
    }
    if kept.saved == Saved::Pending {
        events.emit(Event::Note {
            text: disk::trouble(writer.pending().as_ref()),
        });
    }
    events.emit(Event::StepFinished {
        role: request.role,
        number,
        status,
        makespan_ns,
        output_tokens,
    });
    if let Some(pause) = &disturbance {
        events.emit(Event::Note {
            text: format!("{pause}: the step is measured again"),
        });
    }
    Ok(disturbance.is_none())
}

/// The steps of a cell whose checkpoint was not here to be read when the plan was made (a hub's): now it is.
async fn learn_steps(
    run: &Run<'_>,
    cell: &PlannedCell,
    writer: &mut StartWriter<'_>,
    requests: &mut Requests,
) -> Result<Steps, Break> {
    let Some(vocabulary) = downloaded(cell).and_then(|checkpoint| checkpoint.vocabulary) else {
        let message = "the checkpoint's vocabulary cannot be told, so no prompts can be made";
        let hint = "use a local folder with config.json and tokenizer.json";
        let log = log_path(run, cell, writer.start());
        return Err(failure(
            Phase::Load,
            FailureKind::Results,
            message.to_owned(),
            Some(hint.to_owned()),
            &log,
        )
        .into());
    };
    let steps = requests
        .steps(run.plan, &vocabulary)
        .await
        .map_err(|e| Break::Fatal(e.into()))?;
    let record = describe::cell(run.plan, cell, run.session, Some(steps.sha256.clone()));
    // Pending writes are the store's own business.
    let _ = writer.store().put_cell(record);
    Ok(steps)
}

/// A hub's checkpoint, from the local cache that the engine has filled by now.
fn downloaded(cell: &PlannedCell) -> Option<checkpoint::Checkpoint> {
    let reference = &cell.settings.checkpoint.as_ref()?.value;
    let Location::Hub(name) = Location::parse(&reference.location) else {
        return None;
    };
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let folder =
        HubCache::from_env(&env.collect()).snapshot(name, reference.revision.as_deref())?;
    checkpoint::inspect(&folder, &reference.location).ok()
}

/// The record of an engine start that is about to begin.
fn head(run: &Run<'_>, cell: &PlannedCell, slot: &Slot) -> EngineStart {
    let configured = configured_env(cell);
    let inherited = std::env::vars_os()
        .filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
    // Ours says nothing of a server that runs already.
    let env = match run.machine {
        Some(_) => environment::recorded(inherited, &configured),
        None => BTreeMap::new(),
    };
    EngineStart {
        id: new_id(),
        session: run.session.id.clone(),
        block: slot.block,
        position: slot.position,
        arm: slot.turn.arm,
        attempt: slot.attempt,
        status: StartStatus::Running,
        split: slot.split,
        host: device::host(),
        devices: Vec::new(),
        env,
        neighbours: Vec::new(),
        clock: clock::stamp(),
        gate: Gate::default(),
        engine: None,
        steps: Vec::new(),
        profile: None,
        stop: None,
        failure: None,
    }
}

/// Of an engine start: unique enough to name its files.
pub(super) fn new_id() -> String {
    format!("{:012x}", rand::random::<u64>() >> 16)
}

fn configured_env(cell: &PlannedCell) -> BTreeMap<String, String> {
    cell.settings
        .env
        .iter()
        .map(|(name, value)| (name.clone(), value.value.clone()))
        .collect()
}

/// Everything that the engine needs to be started, its private folder and its log's place made.
pub(super) fn launch(
    run: &Run<'_>,
    cell: &PlannedCell,
    id: &str,
    log: &Path,
    profile: Option<ProfilerOrder>,
) -> Result<Launch, Failure> {
    let scratch = run.run_dir.path().join(id);
    make_room(&scratch, log).map_err(|error| {
        let message = format!("{error}: {}", error.source);
        failure(Phase::Launch, FailureKind::Spawn, message, None, log)
    })?;
    Ok(Launch {
        python: run
            .machine
            .as_ref()
            .map_or_else(PathBuf::new, |m| m.python.clone()),
        args: cell
            .args
            .iter()
            .map(|(name, value)| (name.clone(), value.value.clone()))
            .collect(),
        env: configured_env(cell),
        limits: cell.settings.limits,
        log: log.to_owned(),
        scratch,
        fan_out: run.plan.settings.run.fan_out,
        sampling: run.plan.settings.workload.sampling.clone(),
        // A profiler in a forked engine is nothing that was tried.
        warm: run.plan.settings.run.start == Start::Warm && profile.is_none(),
        profile,
    })
}

/// Makes the scratch folder, and puts a log that an earlier run left at `log` aside.
fn make_room(scratch: &Path, log: &Path) -> Result<(), PathError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(scratch)
        .map_err(PathError::on("create", scratch))?;
    let Ok(written) = std::fs::metadata(log).and_then(|log| log.modified()) else {
        return Ok(());
    };
    let when = jiff::Timestamp::try_from(written)
        .unwrap_or_default()
        .strftime("%Y%m%dT%H%M%SZ");
    let name = log.file_name().unwrap_or_default();
    let previous = log.with_file_name("previous").join(when.to_string());
    std::fs::create_dir_all(&previous).map_err(PathError::on("create", &previous))?;
    std::fs::rename(log, previous.join(name)).map_err(PathError::on("rename", log))
}

/// A failure that the engine itself did not report.
fn failure(
    phase: Phase,
    kind: FailureKind,
    message: String,
    hint: Option<String>,
    log: &Path,
) -> Failure {
    Failure {
        phase,
        kind,
        message,
        diagnosis: None,
        hint,
        exit: None,
        // What fails before a process runs has none.
        log: if log.is_file() {
            log.display().to_string()
        } else {
            String::new()
        },
        tail: Vec::new(),
    }
}

/// Waits at the gate, and notes on what the engine will run, beside whom.
async fn surroundings(
    run: &Run<'_>,
    machine: &Machine,
    cell: &PlannedCell,
    start: &mut EngineStart,
    events: &EventSink,
    log: &Path,
) -> Result<(), Failure> {
    let (reading, refusal) = open_gate(run, machine, cell, events, log).await?;
    start.gate.before = Some(reading);
    refusal.map_or(Ok(()), Err)?;
    let platform = run.plan.settings.platform;
    start.devices = device::survey(platform).map_err(|error| blind(&error, log))?;
    start.devices.truncate(machine.devices);
    start.neighbours = device::neighbours(platform, machine.devices, Some(run.run_dir.id()))
        .map_err(|error| blind(&error, log))?;
    Ok(())
}

fn blind(error: &DeviceError, log: &Path) -> Failure {
    failure(Phase::Gate, FailureKind::Gate, error.to_string(), None, log)
}

/// Waits until the engine can have the memory that it will ask for: what was read, and why that is too little.
pub(super) async fn open_gate(
    run: &Run<'_>,
    machine: &Machine,
    cell: &PlannedCell,
    events: &EventSink,
    log: &Path,
) -> Result<(GateReading, Option<Failure>), Failure> {
    let demand = Demand {
        share: memory_share(cell),
    };
    let reading = pass_gate(run, machine, demand, events)
        .await
        .map_err(|error| blind(&error, log))?;
    let refusal = (!reading.passed).then(|| {
        let hint = if leftovers().dead.is_empty() {
            "end what holds it, or lower gpu_memory_utilization"
        } else {
            "`rollbench clean --yes` ends what a killed run left; or lower gpu_memory_utilization"
        };
        let message = machine.gate.explain(&reading, demand);
        failure(
            Phase::Gate,
            FailureKind::Gate,
            message,
            Some(hint.to_owned()),
            log,
        )
    });
    Ok((reading, refusal))
}

/// Waits until device memory is back at the session's baseline and `demand` can be met.
async fn pass_gate(
    run: &Run<'_>,
    machine: &Machine,
    demand: Demand,
    events: &EventSink,
) -> Result<GateReading, DeviceError> {
    let timeout = run.plan.settings.run.gate_timeout;
    let reading = machine
        .gate
        .wait(demand, timeout, Some(run.run_dir.id()))
        .await?;
    events.emit(Event::GateWaited {
        waited_ns: reading.waited_ns,
        passed: reading.passed,
    });
    Ok(reading)
}

/// The share of the device's memory that the engine will ask for; absent if that is left to vLLM.
fn memory_share(cell: &PlannedCell) -> Option<f64> {
    cell.args.get("gpu_memory_utilization")?.value.as_f64()
}

/// Ends the engine: asked first; a second signal sweeps at once.
pub(super) async fn stop<S: Session>(run: &Run<'_>, session: &mut S) -> Stop {
    tokio::select! {
        biased;
        stop = session.stop(Urgency::Polite) => stop,
        _ = run.interrupt.second() => session.stop(Urgency::Now).await,
    }
}

pub(super) fn interrupted(events: &EventSink, signal: i32) -> Ending {
    events.emit(Event::Interrupted { signal });
    Ending::Interrupted(signal)
}

/// `benchmark_logs/<model>_<precision>.<block>.log`, empty where the engine's log is not ours; later attempts get their
/// number, so that no log is lost.
pub(super) fn log_path(run: &Run<'_>, cell: &PlannedCell, start: &EngineStart) -> PathBuf {
    let prefix = match run.plan.settings.run.mode {
        Mode::Offline => "",
        Mode::Online => "server_",
    };
    let arm = match start.arm {
        Arm::Main => "",
        Arm::Calibration => ".again",
    };
    let attempt = if start.attempt == 0 {
        String::new()
    } else {
        format!(".{}", start.attempt)
    };
    let Some(machine) = &run.machine else {
        return PathBuf::new();
    };
    machine.logs.join(format!(
        "{prefix}{}.{}{arm}{attempt}.log",
        cell.settings.id, start.block
    ))
}
