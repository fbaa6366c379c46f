//! Takes the profile of an engine start. What goes wrong costs the profile and nothing else: the measured steps are there.

use super::kept::kept;
use super::session::{EXPECTED_BYTES, Session, room};
use crate::background;
use crate::engine::{Session as EngineSession, StepRequest};
use crate::event::{Event, EventSink};
use crate::execute::requests::Requests;
use crate::execute::start::{Break, log_path, run_step};
use crate::execute::{Machine, Run};
use crate::plan::PlannedCell;
use crate::record::{COMPLETE, EngineStart, FailureKind, Phase, Profile, StartWriter};

/// The state of a profile that is not read yet.
const TAKEN: &str = "taken";

/// What is to be profiled, if anything is.
pub(in crate::execute) fn ask(
    run: &Run<'_>,
    cell: &PlannedCell,
    start: &EngineStart,
    events: &EventSink,
) -> Option<Session> {
    let made = Session::of(run, run.machine.as_ref()?, cell, start)
        .map_err(|error| format!("{error}: {}", error.source))
        .transpose()?;
    let made = made.and_then(|session| match room(EXPECTED_BYTES) {
        None => Ok(session),
        Some(lack) => Err(lack),
    });
    made.map_err(|why| {
        let text = format!("no profile is taken: {why}");
        events.emit(Event::Note { text });
    })
    .ok()
}

/// Runs the profiled session, and notes how far it came.
pub(in crate::execute) async fn take<S: EngineSession>(
    run: &Run<'_>,
    session: &mut S,
    writer: &mut StartWriter<'_>,
    requests: &Requests,
    profiled: &Session,
    events: &EventSink,
) -> Result<(), Break> {
    events.emit(Event::Phase {
        phase: Phase::Profile,
    });
    let made = match requests.vocabulary() {
        Some(vocabulary) => profiled
            .step(run.plan, vocabulary)
            .map_err(|error| error.to_string()),
        None => Err("the vocabulary is not known".to_owned()),
    };
    let status = match made {
        Err(trouble) => trouble,
        Ok(request) => match record(run, session, writer, profiled, &request, events).await {
            Ok(()) => TAKEN.to_owned(),
            Err(Break::Failure(failure)) => failure.message,
            Err(fatal) => return Err(fatal),
        },
    };
    writer.start_mut().profile = Some(Profile {
        dir: profiled.order.dir.display().to_string(),
        status,
        ..Profile::default()
    });
    Ok(())
}

/// The step between the start and the stop of the profiler.
async fn record<S: EngineSession>(
    run: &Run<'_>,
    session: &mut S,
    writer: &mut StartWriter<'_>,
    profiled: &Session,
    request: &StepRequest,
    events: &EventSink,
) -> Result<(), Break> {
    session.prepare(std::slice::from_ref(request)).await?;
    session.profile(true, profiled.flush).await?;
    let stepped = run_step(run, session, writer, request, events).await;
    if let Err(Break::Failure(failure)) = &stepped
        && failure.kind == FailureKind::Timeout
    {
        // What did not answer in all that time does not answer now.
        return stepped.map(drop);
    }
    // After a failed step too: without this nothing is written, and an engine that records is slow to end.
    let stopped = session.profile(false, profiled.flush).await;
    stepped?;
    Ok(stopped?)
}

/// Reads and compresses what the session left, and keeps what it tells beside the record.
pub(in crate::execute) async fn keep(
    run: &Run<'_>,
    machine: &Machine,
    cell: &PlannedCell,
    writer: &mut StartWriter<'_>,
    profiled: &Session,
    events: &EventSink,
) {
    let Some(taken) = writer.start_mut().profile.take() else {
        return;
    };
    let settings = run.plan.settings.run.profile.clone().unwrap_or_default();
    let log = std::fs::read(log_path(run, cell, writer.start())).unwrap_or_default();
    let trouble = Some(taken.status).filter(|status| status != TAKEN);
    let (dir, python) = (profiled.order.dir.clone(), machine.python.clone());
    let read = move || kept(&dir, &python, settings.keep_raw, trouble, &log);
    let (mut profile, digests) = background::run(read).await;
    if !digests.is_empty() {
        match writer.keep_profile(&digests) {
            Ok(sidecar) => profile.digest = Some(sidecar),
            Err(error) => events.emit(Event::Note {
                text: format!("what the profile tells is lost: {error}: {}", error.source),
            }),
        }
    }
    if profile.status != COMPLETE {
        events.emit(Event::Note {
            text: format!("the profile in {}: {}", profile.dir, profile.status),
        });
    }
    writer.start_mut().profile = Some(profile);
}
