//! When the results' disk does not take a write: nothing is lost, nothing new is begun, and the run says so.

use std::pin::pin;
use std::time::Duration;

use super::Run;
use crate::event::{Event, EventSink};
use crate::record::{Fault, Saved, StartWriter, Store};

/// How often a write is tried again.
pub(crate) const RETRY_EVERY: Duration = Duration::from_secs(10);

/// The most that is kept in memory while an engine goes on measuring.
const MOST_UNWRITTEN: u64 = 64 << 20;

/// Returns when everything measured is on disk, or with the signal that ended the wait.
pub(crate) async fn wait_until_writable(run: &Run<'_>, store: &mut Store) -> Option<i32> {
    if store.retry() == Saved::Synced {
        return None;
    }
    run.events.emit(Event::Note {
        text: trouble(store.pending().as_ref()),
    });
    let mut again = tokio::time::interval(RETRY_EVERY);
    loop {
        tokio::select! {
            signal = run.interrupt.first() => return Some(signal),
            _ = again.tick() => {
                if store.retry() == Saved::Synced {
                    run.events.emit(Event::Note { text: "everything measured is on disk; going on".to_owned() });
                    return None;
                }
            }
        }
    }
}

/// Returns when the steps of a running start that are only in memory are few enough for another one.
pub(crate) async fn wait_for_room(writer: &mut StartWriter<'_>, events: &EventSink) {
    let full = |writer: &StartWriter<'_>| writer.unwritten_bytes() > MOST_UNWRITTEN;
    if !full(writer) {
        return;
    }
    let text = "more than 64 MB of steps are only in memory: the next step waits for the disk";
    events.emit(Event::Note {
        text: text.to_owned(),
    });
    while full(writer) && writer.retry() == Saved::Pending {
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

/// Awaits `step`, and meanwhile writes again what the disk did not take.
pub(crate) async fn keep_writing<T>(
    writer: &mut StartWriter<'_>,
    step: impl Future<Output = T>,
) -> T {
    let mut again = tokio::time::interval(RETRY_EVERY);
    let mut step = pin!(step);
    loop {
        tokio::select! {
            biased;
            done = &mut step => return done,
            _ = again.tick() => { let _ = writer.retry(); }
        }
    }
}

/// What is wrong with the disk and what is kept, in words.
pub(crate) fn trouble(fault: Option<&Fault<'_>>) -> String {
    let Some(fault) = fault else {
        return String::new();
    };
    let kept = match fault.steps {
        0 => "everything measured is in the journal, and the records are".to_owned(),
        steps => format!("{steps} measured steps are kept in memory and"),
    };
    format!(
        "{}: {}; {kept} written again every {} s; no further engine starts before they are on disk",
        fault.error,
        fault.error.source,
        RETRY_EVERY.as_secs()
    )
}
