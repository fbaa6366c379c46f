//! A run beside everything else that a program does meanwhile: the load on a thread of its own, the server's counters
//! about once a second, and a look at how far it is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::control::Control;
use super::counters::ServerReading;
use super::outcome::Outcome;
use super::request::Request;
use super::run::{Load, LoadError, Watch, run};
use crate::clock::mono_ns;
use crate::record::{Counters, ServerSeries};

const SCRAPE_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a driven run gives.
#[derive(Debug)]
pub(crate) struct Driven {
    /// What the client measured.
    pub outcome: Outcome,
    /// What the server told meanwhile; absent if it tells nothing.
    pub server: Option<ServerSeries>,
    /// The server's counters over the run.
    pub counters: Counters,
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Glimpse {
    /// Sequences that are over.
    pub finished: u64,
    /// Chunks that came: about as many tokens.
    pub chunks: u64,
}

/// Runs `load` on a thread of its own and scrapes the server meanwhile. Dropping the future ends the run.
pub(crate) async fn drive(
    load: Load,
    requests: impl Iterator<Item = Request> + Send + 'static,
    control: &Control,
    mut look: impl FnMut(Glimpse),
) -> Result<Driven, LoadError> {
    let before = control.reading().await;
    let watch = Arc::new(Watch::default());
    let _stop = StopOnDrop(Arc::clone(&watch));
    let (sender, mut done) = tokio::sync::oneshot::channel();
    let watched = Arc::clone(&watch);
    let thread = std::thread::Builder::new().name("load".to_owned());
    thread.spawn(move || {
        // Nobody listens any more if the run was dropped.
        let _ = sender.send(run(&load, requests, &watched));
    })?;
    let mut scraped: Vec<(u64, ServerReading)> = Vec::new();
    let mut scrape = interval(SCRAPE_EVERY);
    let mut glance = interval(LOOK_EVERY);
    let outcome = loop {
        tokio::select! {
            outcome = &mut done => {
                break outcome.map_err(|_| std::io::Error::other("the load's thread died"))??;
            }
            _ = scrape.tick(), if before.is_some() => {
                let asked_ns = mono_ns();
                scraped.extend(control.reading().await.map(|reading| (asked_ns, reading)));
            }
            _ = glance.tick() => look(Glimpse {
                finished: watch.finished.load(Ordering::Relaxed),
                chunks: watch.chunks.load(Ordering::Relaxed),
            }),
        }
    };
    let after = if before.is_some() {
        control.reading().await
    } else {
        None
    };
    let mut counters = difference(before, after);
    let kv = scraped.iter().filter_map(|(_, reading)| reading.kv);
    counters.kv_peak = kv.max_by(f64::total_cmp);
    let server = (!scraped.is_empty()).then(|| series(&scraped, outcome.begin_mono_ns));
    Ok(Driven {
        outcome,
        server,
        counters,
    })
}

fn interval(every: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}

/// What happened between two readings. A counter that went down belongs to a server that was started anew.
fn difference(before: Option<ServerReading>, after: Option<ServerReading>) -> Counters {
    let count = |of: fn(&ServerReading) -> Option<f64>| {
        let more = of(after.as_ref()?)? - of(before.as_ref()?)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked, and far below 2^53"
        )]
        (more >= 0.0).then(|| more.round() as u64)
    };
    Counters {
        preemptions: count(|r| r.preemptions),
        prefix_queries: count(|r| r.prefix_queries),
        prefix_hits: count(|r| r.prefix_hits),
        ..Counters::default()
    }
}

fn series(scraped: &[(u64, ServerReading)], begin_ns: u64) -> ServerSeries {
    let mut series = ServerSeries::default();
    for (at_ns, reading) in scraped {
        series.t_ns.push(at_ns.saturating_sub(begin_ns));
        series.running.push(reading.running.unwrap_or(0.0));
        series.waiting.push(reading.waiting.unwrap_or(0.0));
        series.kv.push(reading.kv.unwrap_or(0.0));
    }
    series
}

struct StopOnDrop(Arc<Watch>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_differences() {
        let reading = |preemptions| {
            Some(ServerReading {
                preemptions,
                ..ServerReading::default()
            })
        };
        let between = |a, b| difference(reading(a), reading(b)).preemptions;
        assert_eq!(between(Some(3.0), Some(5.0)), Some(2));
        assert_eq!(between(Some(5.0), Some(3.0)), None);
        assert_eq!(between(None, Some(3.0)), None);
        assert_eq!(difference(None, reading(Some(1.0))), Counters::default());
    }
}
