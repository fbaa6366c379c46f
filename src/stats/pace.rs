//! Whether an engine keeps up with the rate at which a schedule offers requests.
//!
//! Where it does, the schedule decides how long a step takes: an engine four times as fast has the same makespan, and
//! only its latencies tell.

use serde::Serialize;

use super::distributions::t_critical;
use super::interval::{CONFIDENCE, mean, standard_deviation};
use super::quantiles::quantile;
use crate::record::Step;

/// Equal parts of the arrival window over which the number in flight is averaged.
const PARTS: usize = 10;

/// Steps from which the spread of their slopes is the noise; below, it is what the parts leave over.
const STEPS_FOR_SPREAD: usize = 3;

/// Less than one request more at the end of the window than at its begin is no growth, however regular.
const LEAST_GROWTH: f64 = 1.0;

/// The drain may take so many times the 99th percentile of E2EL.
const LONGEST_DRAIN: f64 = 2.0;

/// What the schedules of a cell's steps offered, and whether its engine followed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pace {
    /// Requests that arrived by the realised schedules, sent or not, all steps.
    pub requests: u64,
    /// Seconds from the begin of a step to its last arrival, all steps.
    pub window_s: f64,
    /// By how many sequences the number in flight (arrived and not answered) grew over the window, from the moment at
    /// which the first answers were due: the lower end of its 95 % interval.
    pub growth_low: f64,
    /// The upper end.
    pub growth_high: f64,
    /// From the last arrival to the last answer, mean over the steps.
    pub drain_s: f64,
    /// 99th percentile of the E2EL of what arrived in the first half of the window.
    pub p99_e2el_s: f64,
    /// The number in flight does not grow, and the drain is short.
    pub keeps_up: bool,
}

/// A sequence that arrived, in seconds from the step's begin.
struct Arrival {
    at: f64,
    /// When it was sent and when it was answered; absent if never.
    answered: Option<(f64, f64)>,
}

impl Pace {
    /// Of the counted steps of an arm; absent unless each of them was paced by a rate.
    pub(crate) fn of(steps: &[&Step]) -> Option<Self> {
        let is_paced = |step: &&Step| {
            step.point
                .is_some_and(|point| point.rate.is_some() || point.ramp.is_some())
        };
        if steps.is_empty() || !steps.iter().all(is_paced) {
            return None;
        }
        let arrivals: Option<Vec<Vec<Arrival>>> = steps.iter().map(|step| arrivals(step)).collect();
        let arrivals = arrivals?;
        let windows: Vec<f64> = arrivals.iter().map(|step| window(step)).collect();
        if windows.iter().any(|window| *window <= 0.0) {
            return None;
        }
        let ends = steps.iter().map(|step| step.makespan_ns as f64 / 1e9);
        let drains: Vec<f64> = ends
            .zip(&windows)
            .map(|(end, window)| end - window)
            .collect();
        let early = early_e2el(&arrivals, &windows);
        let p99_e2el_s = quantile(&early, 0.99)?;
        let growths: Vec<Vec<f64>> = arrivals
            .iter()
            .zip(&windows)
            .map(|(step, window)| in_flight(step, *window))
            .collect();
        let (growth_low, growth_high) = growth(&growths);
        let ramps = steps
            .iter()
            .any(|step| step.point.is_some_and(|point| point.ramp.is_some()));
        // With a growing rate more are in flight at the end, however fast the engine.
        let grows = !ramps && growth_low > 0.0 && growth_high > LEAST_GROWTH;
        let unsent = |step: &&Step| step.arrivals.as_ref().is_some_and(|a| a.unsent > 0);
        let drain_s = mean(&drains);
        Some(Self {
            requests: steps.iter().map(|step| offered(step)).sum(),
            window_s: windows.iter().sum(),
            growth_low,
            growth_high,
            drain_s,
            p99_e2el_s,
            keeps_up: !grows && drain_s <= LONGEST_DRAIN * p99_e2el_s && !steps.iter().any(unsent),
        })
    }

    /// Requests per second that the realised schedules offered.
    pub(crate) fn offered_req_s(&self) -> f64 {
        self.requests as f64 / self.window_s
    }
}

/// Requests that were due in a step.
fn offered(step: &Step) -> u64 {
    step.arrivals
        .as_ref()
        .map_or(step.submitted.requests, |arrivals| arrivals.offered)
}

/// Absent where a step has no schedule. What failed arrived, and then was in nobody's way.
fn arrivals(step: &Step) -> Option<Vec<Arrival>> {
    let online = step.online.as_ref()?;
    let seconds = |ns: u64| ns as f64 / 1e9;
    let of_row = |(row, &scheduled_ns): (usize, &u64)| {
        let failed = step.sequences.error.get(row).is_some_and(Option::is_some);
        let finish = step.sequences.finish_ns.get(row).copied().flatten();
        let answered = finish.map(|finish| (seconds(online.start(row)), seconds(finish)));
        (!failed).then(|| Arrival {
            at: seconds(scheduled_ns),
            answered,
        })
    };
    let sent = online.scheduled_ns.iter().enumerate().filter_map(of_row);
    let unsent = step.arrivals.iter().flat_map(|a| &a.unsent_scheduled_ns);
    let unsent = unsent.map(|&at| Arrival {
        at: seconds(at),
        answered: None,
    });
    let all: Vec<Arrival> = sent.chain(unsent).collect();
    (!all.is_empty()).then_some(all)
}

/// Seconds to the last arrival.
fn window(step: &[Arrival]) -> f64 {
    step.iter().map(|arrival| arrival.at).fold(0.0, f64::max)
}

/// E2EL of what arrived in the first half of the windows, ascending.
fn early_e2el(steps: &[Vec<Arrival>], windows: &[f64]) -> Vec<f64> {
    let of_step = |(step, window): (&Vec<Arrival>, &f64)| -> Vec<f64> {
        step.iter()
            .filter(|arrival| arrival.at <= window / 2.0)
            .filter_map(|arrival| arrival.answered)
            .map(|(sent, finish)| finish - sent)
            .collect()
    };
    let mut all: Vec<f64> = steps.iter().zip(windows).flat_map(of_step).collect();
    all.sort_unstable_by(f64::total_cmp);
    all
}

/// Mean number in flight in each of [`PARTS`] equal parts of the window. It begins when the first answers were due, or
/// at its half: an engine that has only just been asked has few in flight, and that is no growth.
fn in_flight(step: &[Arrival], window: f64) -> Vec<f64> {
    let early = early_e2el_of(step, window);
    let from = early.min(window / 2.0);
    let length = (window - from) / PARTS as f64;
    (0..PARTS)
        .map(|part| {
            let begin = from + part as f64 * length;
            let end = begin + length;
            let inside = |arrival: &Arrival| {
                let until = arrival.answered.map_or(f64::INFINITY, |(_, finish)| finish);
                (until.min(end) - arrival.at.max(begin)).max(0.0)
            };
            step.iter().map(inside).sum::<f64>() / length
        })
        .collect()
}

/// Median time from arrival to answer in the first half of the window.
fn early_e2el_of(step: &[Arrival], window: f64) -> f64 {
    let mut times: Vec<f64> = step
        .iter()
        .filter(|arrival| arrival.at <= window / 2.0)
        .filter_map(|arrival| Some(arrival.answered?.1 - arrival.at))
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    quantile(&times, 0.5).unwrap_or(0.0)
}

/// A 95 % interval for the growth of the number in flight over the window.
fn growth(steps: &[Vec<f64>]) -> (f64, f64) {
    let slopes: Vec<f64> = steps.iter().map(|parts| line(parts).0).collect();
    let centre = mean(&slopes);
    let half_width = if slopes.len() >= STEPS_FOR_SPREAD {
        let error = standard_deviation(&slopes).unwrap_or(0.0) / (slopes.len() as f64).sqrt();
        t_critical(CONFIDENCE, (slopes.len() - 1) as f64) * error
    } else {
        let parts: Vec<f64> = (0..PARTS)
            .map(|part| mean(&steps.iter().map(|step| step[part]).collect::<Vec<_>>()))
            .collect();
        t_critical(CONFIDENCE, (PARTS - 2) as f64) * line(&parts).1
    };
    (centre - half_width, centre + half_width)
}

/// The slope of a line through equally spaced values, over their whole length, and its standard error.
fn line(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let at = |place: usize| (place as f64 + 0.5) / count - 0.5;
    let spread: f64 = (0..values.len()).map(|place| at(place).powi(2)).sum();
    let centre = mean(values);
    let places = values.iter().enumerate();
    let slope = places
        .clone()
        .map(|(place, value)| at(place) * (value - centre))
        .sum::<f64>()
        / spread;
    let squares: f64 = places
        .map(|(place, value)| (value - centre - slope * at(place)).powi(2))
        .sum();
    (slope, (squares / (count - 2.0) / spread).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::builder::paced;

    fn pace(rate: f64, service: impl Fn(usize) -> f64) -> Pace {
        let step = paced(rate, 120, service);
        Pace::of(&[&step]).expect("paced")
    }

    #[test]
    fn an_engine_that_answers_as_fast_as_is_asked_keeps_up() {
        for latency in [0.01, 0.2, 1.0] {
            let found = pace(10.0, |_| latency);
            assert!(found.keeps_up, "{found:?}");
            assert_eq!(found.requests, 120);
            assert!((found.offered_req_s() - 120.0 / 11.9).abs() < 1e-9);
        }
    }

    #[test]
    fn a_queue_that_grows_is_not_kept_up_with() {
        // Served one after the other at 8 a second, offered 10 a second.
        let found = pace(10.0, |row| (row + 1) as f64 / 8.0 - row as f64 / 10.0);
        assert!(!found.keeps_up && found.growth_low > 1.0, "{found:?}");
    }

    #[test]
    fn a_long_drain_is_a_backlog() {
        let found = pace(10.0, |row| if row < 110 { 0.1 } else { 5.0 });
        assert!(!found.keeps_up && found.drain_s > 4.0, "{found:?}");
    }

    #[test]
    fn what_was_never_sent_was_not_kept_up_with() {
        let mut step = paced(10.0, 120, |_| 0.1);
        step.arrivals = Some(crate::record::Arrivals {
            offered: 125,
            sent: 120,
            unsent: 5,
            unsent_scheduled_ns: (0..5).map(|i| 11_000_000_000 + i).collect(),
        });
        let found = Pace::of(&[&step]).expect("paced");
        assert!(!found.keeps_up && found.requests == 125, "{found:?}");
    }

    #[test]
    fn all_at_once_has_no_pace() {
        let mut step = paced(10.0, 12, |_| 0.1);
        step.point = None;
        assert_eq!(Pace::of(&[&step]), None);
        assert_eq!(Pace::of(&[]), None);
    }
}
