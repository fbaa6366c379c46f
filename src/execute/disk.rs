//! When the results' disk does not take a write: nothing is lost, nothing new is begun, and the run says so.

use std::time::Duration;

use super::Run;
use crate::event::Event;
use crate::record::{Saved, Store};

/// How often a write is tried again.
pub(crate) const RETRY_EVERY: Duration = Duration::from_secs(10);

/// Returns when everything measured is on disk, or with the signal that ended the wait.
pub(crate) async fn wait_until_writable(run: &mut Run<'_>) -> Option<i32> {
    if run.store.retry() == Saved::Synced {
        return None;
    }
    run.events.emit(Event::Note {
        text: trouble(run.store),
    });
    let mut again = tokio::time::interval(RETRY_EVERY);
    loop {
        tokio::select! {
            signal = run.interrupt.first() => return Some(signal),
            _ = again.tick() => {
                if run.store.retry() == Saved::Synced {
                    run.events.emit(Event::Note { text: "everything measured is on disk; going on".to_owned() });
                    return None;
                }
            }
        }
    }
}

/// What is wrong with the disk and what is kept, in words.
pub(crate) fn trouble(store: &Store) -> String {
    store.pending().map_or_else(String::new, |fault| {
        format!(
            "{}: {}; {} measured steps are kept in memory and written again every {} s; nothing new begins before they are on disk",
            fault.error,
            fault.error.source,
            fault.steps,
            RETRY_EVERY.as_secs()
        )
    })
}
