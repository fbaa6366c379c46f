//! Where the engine's steps begin and end: by vLLM's annotations, or else by what repeats.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::trace::{Lane, Mark, Range, Span, Trace};

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Only decodes, so many sequences; absent where nothing tells how many.
    Decode(Option<u32>),
    /// Works on prompts and decodes too.
    Mixed,
    /// Only works on prompts.
    Prefill,
    /// Does nothing.
    Empty,
}

/// From the start of one step to the start of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) phase: Phase,
}

/// How steps were told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FoundBy {
    /// Annotations on the device.
    DeviceAnnotations,
    /// Annotations on the host; a step begins with the first kernel launched in one.
    HostAnnotations,
    /// A kernel that comes once a step.
    Period,
}

/// The steps of one lane, in order and without gaps. Empty if nothing tells them.
#[derive(Debug)]
pub(super) struct Steps {
    pub(super) list: Vec<Step>,
    pub(super) found_by: FoundBy,
}

/// The steps on `device`. Its spans are sorted.
pub(super) fn on_device(trace: &Trace, device: &str, lane: &Lane) -> Steps {
    let mine: Vec<&Range> = trace
        .device_ranges
        .iter()
        .filter(|range| range.lane == device)
        .collect();
    if mine.len() > 1 {
        let marks = mine.iter().map(|range| (range.start, range.mark)).collect();
        return Steps {
            list: between(marks),
            found_by: FoundBy::DeviceAnnotations,
        };
    }
    if trace.host_ranges.len() > 1 && !trace.launches.is_empty() {
        let marks = first_kernels(trace, lane);
        if marks.len() > 1 {
            return Steps {
                list: between(marks),
                found_by: FoundBy::HostAnnotations,
            };
        }
    }
    Steps {
        list: by_period(trace, lane),
        found_by: FoundBy::Period,
    }
}

/// The steps on a thread of operators: the annotations themselves.
pub(super) fn on_thread(trace: &Trace, thread: &str) -> Steps {
    let marks = trace
        .host_ranges
        .iter()
        .filter(|range| range.lane == thread);
    Steps {
        list: between(marks.map(|range| (range.start, range.mark)).collect()),
        found_by: FoundBy::HostAnnotations,
    }
}

/// Each from its start to the next one's; the last has no end and is dropped.
fn between(mut marks: Vec<(i64, Mark)>) -> Vec<Step> {
    marks.sort_unstable_by_key(|(start, _)| *start);
    marks.dedup_by_key(|(start, _)| *start);
    let phase = |mark: &Mark| match mark.work {
        None => Phase::Decode(None),
        Some((0, 0)) => Phase::Empty,
        Some((0, decoding)) => Phase::Decode(Some(decoding)),
        Some((_, 0)) => Phase::Prefill,
        Some(_) => Phase::Mixed,
    };
    marks
        .windows(2)
        .map(|pair| Step {
            start: pair[0].0,
            end: pair[1].0,
            phase: phase(&pair[0].1),
        })
        .collect()
}

/// For each annotation of the host, when the first kernel began that was launched inside it: ranges of the host run
/// ahead of the device.
fn first_kernels(trace: &Trace, lane: &Lane) -> Vec<(i64, Mark)> {
    let mut begun: HashMap<u32, i64> = HashMap::new();
    for span in lane
        .spans
        .iter()
        .flatten()
        .filter(|span| span.correlation != 0)
    {
        begun
            .entry(span.correlation)
            .and_modify(|start| *start = span.start.min(*start))
            .or_insert(span.start);
    }
    let mut launches: Vec<_> = trace
        .launches
        .iter()
        .filter(|l| begun.contains_key(&l.correlation))
        .collect();
    launches.sort_unstable_by_key(|launch| launch.start);
    let first = |range: &Range| {
        let at = launches.partition_point(|launch| launch.start < range.start);
        let launch = launches.get(at).filter(|launch| launch.start < range.end)?;
        Some((begun[&launch.correlation], range.mark))
    };
    trace.host_ranges.iter().filter_map(first).collect()
}

/// Below this share of kernels in steps that are alike, there is no period.
const REGULAR: f64 = 0.9;
/// Kinds that are looked at as the one that comes once a step.
const CANDIDATES: usize = 400;

/// Without annotations: the kind of kernel between whose occurrences the same sequence comes again and again, and the
/// longest such sequence, since what repeats within a layer repeats too.
fn by_period(trace: &Trace, lane: &Lane) -> Vec<Step> {
    let spans = &lane.spans[0];
    let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
    for (at, span) in spans.iter().enumerate() {
        places.entry(span.kind).or_default().push(at);
    }
    let mut sums = Vec::with_capacity(spans.len() + 1);
    sums.push(0u64);
    for span in spans {
        // The number of tokens does not matter for what repeats, so kinds count by their label.
        let label = u64::from(trace.kinds[span.kind as usize].label) + 1;
        let last = sums[sums.len() - 1];
        sums.push(last.wrapping_add(label.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17)));
    }
    let mut candidates: Vec<&Vec<usize>> = places.values().filter(|at| at.len() >= 3).collect();
    candidates.sort_unstable_by_key(|at| (at.len(), at[0]));
    let regular = |places: &Vec<usize>| -> Option<usize> {
        let mut alike: HashMap<(usize, u64), usize> = HashMap::new();
        for pair in places.windows(2) {
            let key = (pair[1] - pair[0], sums[pair[1]].wrapping_sub(sums[pair[0]]));
            *alike.entry(key).or_default() += 1;
        }
        let ((length, _), count) = alike
            .into_iter()
            .max_by_key(|((length, _), count)| (*count, *length))?;
        let all = places.len() - 1;
        (count as f64 >= REGULAR * all as f64 && count >= 2).then_some(length)
    };
    let best = candidates
        .iter()
        .take(CANDIDATES)
        .filter_map(|places| Some((regular(places)?, *places)))
        // Of equals, the one that comes first: it is nearest to where a step begins.
        .max_by(|(a, x), (b, y)| a.cmp(b).then(y[0].cmp(&x[0])));
    let Some((_, places)) = best else {
        return Vec::new();
    };
    places
        .windows(2)
        .map(|pair| {
            let within = &spans[pair[0]..pair[1]];
            Step {
                start: within[0].start,
                end: spans[pair[1]].start,
                phase: Phase::Decode(rows(trace, within)),
            }
        })
        .collect()
}

/// The tokens of a step, from the first product of matrices in it.
fn rows(trace: &Trace, spans: &[Span]) -> Option<u32> {
    spans
        .iter()
        .find_map(|span| trace.kinds[span.kind as usize].rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::trace::{Class, Kind};

    #[test]
    fn the_period_is_that_of_steps_and_not_of_layers() {
        // Four layers of three kernels, then a head and a sampler; five times.
        let kinds = |label: u16| Kind {
            name: label.to_string(),
            label,
            rows: (label == 0).then_some(64),
        };
        let trace = Trace {
            kinds: (0..5).map(kinds).collect(),
            ..Trace::default()
        };
        let mut lane = Lane::default();
        let mut at = 0;
        for _ in 0..5 {
            for kind in [3, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 4] {
                lane.push(
                    Class::Compute,
                    Span {
                        start: at,
                        end: at + 8,
                        kind,
                        correlation: 0,
                    },
                );
                at += 10;
            }
        }
        let steps = by_period(&trace, &lane);
        assert_eq!(steps.len(), 4);
        assert_eq!((steps[0].start, steps[0].end), (0, 140));
        assert_eq!(steps[0].phase, Phase::Decode(Some(64)));
    }

    #[test]
    fn annotations_bound_steps_and_the_last_has_no_end() {
        let mark = |work| Mark { work };
        let steps = between(vec![
            (20, mark(Some((0, 8)))),
            (0, mark(Some((4, 0)))),
            (10, mark(Some((1, 7)))),
            (30, mark(None)),
        ]);
        let phases: Vec<Phase> = steps.iter().map(|step| step.phase).collect();
        assert_eq!(
            phases,
            [Phase::Prefill, Phase::Mixed, Phase::Decode(Some(8))]
        );
    }
}
