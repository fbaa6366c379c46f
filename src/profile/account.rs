//! Where the time of each step went: every instant is attributed once, so categories and idle add up to the period.

use super::rules::LabelId;
use super::steps::Step;
use super::trace::{Class, Lane, Launch, Span};

/// The cost of one step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cost {
    /// Nanoseconds by label.
    pub(super) labels: Vec<u64>,
    /// Calls by label.
    pub(super) calls: Vec<u32>,
    /// What is left of the period.
    pub(super) idle: u64,
    /// Idle in which what came next was not launched yet: the device waited for the host.
    pub(super) waited_for_host: u64,
    /// Durations added up, whether they overlap or not.
    pub(super) added_up: u64,
    /// What ran, in order: spans of the compute class.
    pub(super) sequence: Vec<Piece>,
}

/// A span's attributed time, or a part of it: an operator is interrupted by those that it calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) kind: u32,
    pub(super) ns: u64,
    /// The span begins with it.
    pub(super) begins: bool,
}

impl Cost {
    fn new(labels: usize) -> Self {
        Self {
            labels: vec![0; labels],
            calls: vec![0; labels],
            ..Self::default()
        }
    }

    /// Time in which the device worked.
    pub(super) fn busy(&self) -> u64 {
        self.labels.iter().sum()
    }
}

/// What launches tell.
#[derive(Debug, Clone, Default)]
pub(super) struct Launches {
    /// From the end of a launch to the start of its (first) kernel.
    pub(super) delays: Vec<i64>,
    /// Launches of graphs, and those among them whose kernels are in the trace.
    pub(super) graphs: u64,
    pub(super) graphs_with_kernels: u64,
}

/// Splits intervals that come in order by steps.
struct Cutter<'s> {
    steps: &'s [Step],
    at: usize,
}

impl<'s> Cutter<'s> {
    fn new(steps: &'s [Step]) -> Self {
        Self { steps, at: 0 }
    }

    /// Calls `take(step, nanoseconds)` for each part of `[start, end)` that lies in a step.
    fn cut(&mut self, start: i64, end: i64, mut take: impl FnMut(usize, u64)) {
        while self
            .steps
            .get(self.at)
            .is_some_and(|step| step.end <= start)
        {
            self.at += 1;
        }
        for (n, step) in self.steps.iter().enumerate().skip(self.at) {
            if step.start >= end {
                break;
            }
            let part = end.min(step.end) - start.max(step.start);
            take(n, u64::try_from(part).unwrap_or(0));
        }
    }
}

/// Sorts the spans of a lane; everything below wants them so.
pub(super) fn sort(lane: &mut Lane) {
    for spans in &mut lane.spans {
        spans.sort_unstable();
    }
}

/// What launches tell of the device, and how long it waited for the host in each step. Before [`attribute`], which
/// shortens spans.
pub(super) fn launches(
    lane: &Lane,
    launches: &mut [Launch],
    steps: &[Step],
    costs: &mut [Cost],
) -> Launches {
    launches.sort_unstable_by_key(|launch| launch.correlation);
    let mut seen = vec![false; launches.len()];
    let mut told = Launches::default();
    let mut all: [&[Span]; 3] = [&lane.spans[0], &lane.spans[1], &lane.spans[2]];
    let mut cutter = Cutter::new(steps);
    let mut busy_until = i64::MAX;
    while let Some(next) = (0..3)
        .filter(|n| !all[*n].is_empty())
        .min_by_key(|n| all[*n][0])
    {
        let span = all[next][0];
        all[next] = &all[next][1..];
        let launch = launches
            .binary_search_by_key(&span.correlation, |launch| launch.correlation)
            .ok();
        if let Some(n) = launch.filter(|n| !std::mem::replace(&mut seen[*n], true)) {
            told.delays.push(span.start - launches[n].end);
        }
        if span.start > busy_until
            && let Some(n) = launch
        {
            let launched = launches[n].end.clamp(busy_until, span.start);
            cutter.cut(busy_until, launched, |step, ns| {
                costs[step].waited_for_host += ns;
            });
        }
        busy_until = if busy_until == i64::MAX {
            span.end
        } else {
            busy_until.max(span.end)
        };
    }
    for (launch, seen) in launches
        .iter()
        .zip(&seen)
        .filter(|(launch, _)| launch.graph)
    {
        // Those whose step is not whole may have lost their kernels with the window.
        if steps
            .first()
            .zip(steps.last())
            .is_some_and(|(a, b)| launch.start >= a.start && launch.end < b.start)
        {
            told.graphs += 1;
            told.graphs_with_kernels += u64::from(*seen);
        }
    }
    told
}

/// An empty cost for each step.
pub(super) fn empty(steps: &[Step], labels: usize) -> Vec<Cost> {
    steps.iter().map(|_| Cost::new(labels)).collect()
}

/// Attributes a device's time: of spans that overlap, compute comes before communication and this before copies;
/// within a class the first started keeps the device until it ends (a dependent launch starts early and spins).
/// Spans are shortened to what is theirs. `sequences` says which steps keep theirs.
pub(super) fn attribute(
    lane: &mut Lane,
    label: impl Fn(u32) -> LabelId,
    steps: &[Step],
    sequences: &[bool],
    costs: &mut [Cost],
) {
    for class in [Class::Compute, Class::Communication, Class::Copy] {
        let mut cutter = Cutter::new(steps);
        let mut until = i64::MIN;
        for span in &mut lane.spans[class as usize] {
            let (step, whole) = (&mut cutter, span.end - span.start);
            let mut first = true;
            step.cut(span.start, span.end.max(span.start + 1), |step, _| {
                if std::mem::take(&mut first) {
                    costs[step].calls[label(span.kind) as usize] += 1;
                    costs[step].added_up += u64::try_from(whole).unwrap_or(0);
                }
            });
            span.start = span.start.max(until);
            span.end = span.end.max(span.start);
            until = span.end;
        }
    }
    let [compute, communication, copies] = &lane.spans;
    let mut cutter = Cutter::new(steps);
    for span in compute {
        let mut begins = true;
        cutter.cut(span.start, span.end, |step, ns| {
            costs[step].labels[label(span.kind) as usize] += ns;
            if sequences[step] {
                let kind = span.kind;
                costs[step].sequence.push(Piece { kind, ns, begins });
            }
            begins = false;
        });
    }
    let mut cutter = Cutter::new(steps);
    let mut above = Above::new(compute);
    for span in communication {
        above.outside(span.start, span.end, |start, end| {
            cutter.cut(start, end, |step, ns| {
                costs[step].labels[label(span.kind) as usize] += ns;
            });
        });
    }
    let mut cutter = Cutter::new(steps);
    let (mut first, mut second) = (Above::new(compute), Above::new(communication));
    for span in copies {
        first.outside(span.start, span.end, |start, end| {
            second.outside(start, end, |start, end| {
                cutter.cut(start, end, |step, ns| {
                    costs[step].labels[label(span.kind) as usize] += ns;
                });
            });
        });
    }
    settle(steps, costs);
}

/// Attributes a thread's time to the innermost operator; what no operator covers (Python between them) is idle.
pub(super) fn attribute_thread(
    spans: &mut [Span],
    label: impl Fn(u32) -> LabelId,
    steps: &[Step],
    sequences: &[bool],
    costs: &mut [Cost],
) {
    // Outer before inner.
    spans.sort_unstable_by_key(|span| (span.start, std::cmp::Reverse(span.end)));
    // With whether they had time of their own already.
    let mut open: Vec<(Span, bool)> = Vec::new();
    let mut at = i64::MIN;
    let mut cutter = Cutter::new(steps);
    let mut calls = Cutter::new(steps);
    let mut give = |span: &Span, begun: bool, start: i64, end: i64, costs: &mut [Cost]| {
        let mut begins = !begun;
        if end > start {
            cutter.cut(start, end, |step, ns| {
                costs[step].labels[label(span.kind) as usize] += ns;
                costs[step].added_up += ns;
                if sequences[step] {
                    let kind = span.kind;
                    costs[step].sequence.push(Piece { kind, ns, begins });
                }
                begins = false;
            });
        }
    };
    for span in spans.iter() {
        while let Some((top, begun)) = open.pop_if(|(top, _)| top.end <= span.start) {
            give(&top, begun, at, top.end, costs);
            at = at.max(top.end);
        }
        if let Some((top, begun)) = open.last_mut() {
            give(top, *begun, at, span.start, costs);
            *begun |= at < span.start;
        }
        at = at.max(span.start);
        let mut first = true;
        calls.cut(span.start, span.end.max(span.start + 1), |step, _| {
            if std::mem::take(&mut first) {
                costs[step].calls[label(span.kind) as usize] += 1;
            }
        });
        // One that outlives what it began in (another thread's number reused) ends with it.
        let end = open
            .last()
            .map_or(span.end, |(top, _)| span.end.min(top.end));
        open.push((Span { end, ..*span }, false));
    }
    while let Some((top, begun)) = open.pop() {
        give(&top, begun, at, top.end, costs);
        at = at.max(top.end);
    }
    settle(steps, costs);
}

fn settle(steps: &[Step], costs: &mut [Cost]) {
    for (step, cost) in steps.iter().zip(costs) {
        let period = u64::try_from(step.end - step.start).unwrap_or(0);
        let busy = cost.busy();
        assert!(
            busy <= period,
            "{busy} ns are attributed of a step of {period} ns"
        );
        cost.idle = period - busy;
        cost.waited_for_host = cost.waited_for_host.min(cost.idle);
    }
}

/// Spans in order that do not overlap, and that are left out of others which come in order too.
struct Above<'s> {
    spans: &'s [Span],
    at: usize,
}

impl<'s> Above<'s> {
    fn new(spans: &'s [Span]) -> Self {
        Self { spans, at: 0 }
    }

    fn outside(&mut self, mut start: i64, end: i64, mut take: impl FnMut(i64, i64)) {
        while self
            .spans
            .get(self.at)
            .is_some_and(|span| span.end <= start)
        {
            self.at += 1;
        }
        for span in &self.spans[self.at..] {
            if span.start >= end {
                break;
            }
            if span.start > start {
                take(start, span.start);
            }
            start = start.max(span.end);
        }
        if start < end {
            take(start, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::steps::Phase;
    use proptest::prelude::*;

    fn span(start: i64, end: i64, kind: u32) -> Span {
        Span {
            start,
            end,
            kind,
            correlation: kind,
        }
    }

    fn steps(bounds: &[i64]) -> Vec<Step> {
        let step = |pair: &[i64]| Step {
            start: pair[0],
            end: pair[1],
            phase: Phase::Decode(None),
        };
        bounds.windows(2).map(step).collect()
    }

    /// Labels are kinds.
    fn account(mut lane: Lane, steps: &[Step]) -> Vec<Cost> {
        sort(&mut lane);
        let mut costs = empty(steps, 3);
        let label = |kind: u32| LabelId::try_from(kind).expect("small");
        attribute(
            &mut lane,
            label,
            steps,
            &vec![true; steps.len()],
            &mut costs,
        );
        costs
    }

    #[test]
    fn each_instant_counts_once() {
        let lane = Lane {
            spans: [
                vec![span(0, 10, 0), span(5, 12, 0), span(95, 105, 0)],
                vec![span(8, 30, 1)],
                vec![span(0, 40, 2), span(20, 50, 2)],
            ],
        };
        let costs = account(lane, &steps(&[0, 100, 200]));
        // Compute 0-12 and 95-100, communication 12-30, copies 30-50.
        assert_eq!(costs[0].labels, [17, 18, 20]);
        assert_eq!((costs[0].idle, costs[1].idle), (45, 95));
        assert_eq!(costs[0].calls, [3, 1, 2]);
        assert_eq!(costs[0].added_up, 10 + 7 + 10 + 22 + 40 + 30);
    }

    #[test]
    fn an_operator_has_the_time_that_its_own_operators_leave() {
        let mut spans = vec![
            span(0, 50, 0),
            span(10, 20, 1),
            span(12, 15, 2),
            span(60, 70, 1),
        ];
        let steps = steps(&[0, 100]);
        let mut costs = empty(&steps, 3);
        let label = |kind: u32| LabelId::try_from(kind).expect("small");
        attribute_thread(&mut spans, label, &steps, &[true], &mut costs);
        assert_eq!(costs[0].labels, [40, 17, 3]);
        assert_eq!(costs[0].idle, 40);
        assert_eq!(costs[0].calls, [1, 2, 1]);
    }

    #[test]
    fn waiting_for_the_host_ends_when_the_launch_does() {
        let lane = Lane {
            spans: [vec![span(0, 10, 1), span(40, 50, 2)], vec![], vec![]],
        };
        let launch = |correlation, end| Launch {
            start: end - 2,
            end,
            correlation,
            graph: false,
        };
        let steps = steps(&[0, 100]);
        let mut costs = empty(&steps, 3);
        let told = launches(
            &lane,
            &mut [launch(2, 30), launch(1, -5)],
            &steps,
            &mut costs,
        );
        assert_eq!(costs[0].waited_for_host, 20);
        assert_eq!(told.delays, [5, 10]);
    }

    proptest! {
        #[test]
        fn categories_and_idle_are_the_period(
            spans in proptest::collection::vec((0i64..1000, 0i64..120, 0u32..3, 0usize..3), 0..80),
            bounds in proptest::collection::btree_set(0i64..1000, 2..6),
        ) {
            let mut lane = Lane::default();
            let mut covered = vec![false; 1200];
            for (start, length, kind, class) in spans {
                lane.spans[class].push(span(start, start + length, kind));
                for at in start..start + length {
                    covered[usize::try_from(at).expect("small")] = true;
                }
            }
            let bounds: Vec<i64> = bounds.into_iter().collect();
            let steps = steps(&bounds);
            for (step, cost) in steps.iter().zip(account(lane, &steps)) {
                let range = usize::try_from(step.start).expect("small")..usize::try_from(step.end).expect("small");
                let busy = covered[range].iter().filter(|c| **c).count() as u64;
                prop_assert_eq!(cost.busy(), busy);
                prop_assert_eq!(cost.busy() + cost.idle, u64::try_from(step.end - step.start).expect("positive"));
                prop_assert_eq!(cost.sequence.iter().map(|piece| piece.ns).sum::<u64>() <= busy, true);
            }
        }
    }
}
