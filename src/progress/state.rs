//! The state of a run as its events tell it, and the words for it.

use std::fmt::Write as _;

use crate::event::{Envelope, Event};
use crate::record::{Failure, Phase, Point, Role, StepStatus};
use crate::units::{CellId, Seconds, thousands};

/// What is known of the run so far.
#[derive(Debug, Default)]
pub(crate) struct State {
    begun_ns: Option<u64>,
    now_ns: u64,
    planned_starts: u32,
    planned_s: Option<f64>,
    start: Option<StartNow>,
    ended_starts: u32,
    ended_ns: u64,
}

#[derive(Debug)]
struct StartNow {
    number: u32,
    begun_ns: u64,
    phase: Option<(Phase, u64)>,
    doing: Option<String>,
    step: Option<StepNow>,
}

#[derive(Debug, Clone, Copy)]
struct StepNow {
    role: Role,
    number: u32,
    of: u32,
    point: Option<Point>,
    sequences: u64,
    finished: u64,
    tokens: u64,
    elapsed_ns: u64,
}

impl State {
    /// Takes an event in and returns the line that it leaves behind for good, if any.
    pub(crate) fn apply(&mut self, envelope: &Envelope) -> Option<String> {
        let now = envelope.mono_ns;
        self.now_ns = now;
        let begun_ns = *self.begun_ns.get_or_insert(now);
        let place = self.place(envelope.cell.as_ref());
        match &envelope.event {
            Event::PlanMade {
                starts,
                skips,
                estimate_s,
            } => {
                self.planned_starts = *starts;
                self.planned_s = *estimate_s;
                let estimate = estimate_s
                    .map(|s| format!(", about {}", Seconds(s)))
                    .unwrap_or_default();
                Some(format!(
                    "{} to run, {} skipped{estimate}",
                    count(*starts, "engine start"),
                    count(*skips, "cell")
                ))
            }
            Event::CellSkipped { skip } => Some(format!("{place}skipped: {skip}")),
            Event::StartBegun { number, .. } => {
                self.start = Some(StartNow {
                    number: *number,
                    begun_ns: now,
                    phase: None,
                    doing: None,
                    step: None,
                });
                None
            }
            Event::Phase { phase } => {
                let start = self.start.as_mut()?;
                let before = start.phase.replace((*phase, now));
                start.step = None;
                start.doing = None;
                match (before, phase) {
                    (Some((Phase::Launch | Phase::Load, _)), Phase::Warmup | Phase::Measure) => {
                        let load = Seconds::from_nanos(now.saturating_sub(start.begun_ns));
                        Some(format!("{place}engine ready after {load}"))
                    }
                    (_, Phase::Launch) => Some(format!("{place}starting the engine")),
                    _ => None,
                }
            }
            Event::Doing { doing } => {
                self.start.as_mut()?.doing = Some(doing.clone());
                None
            }
            Event::StepBegun {
                role,
                number,
                of,
                point,
                sequences,
                ..
            } => {
                let step = StepNow {
                    role: *role,
                    number: *number,
                    of: *of,
                    point: *point,
                    sequences: *sequences,
                    finished: 0,
                    tokens: 0,
                    elapsed_ns: 0,
                };
                self.start.as_mut()?.step = Some(step);
                None
            }
            Event::Progress {
                finished,
                tokens,
                elapsed_ns,
            } => {
                let step = self.start.as_mut()?.step.as_mut()?;
                (step.finished, step.tokens, step.elapsed_ns) = (*finished, *tokens, *elapsed_ns);
                None
            }
            Event::StepFinished {
                role,
                number,
                status,
                makespan_ns,
                output_tokens,
            } => {
                let step = self.start.as_mut()?.step.take();
                let of = step.map_or(*number, |s| s.of);
                let at = at(step.and_then(|s| s.point));
                let valid = match status {
                    StepStatus::Ok => "",
                    StepStatus::Invalid => " (does not count)",
                    StepStatus::Failed => " (failed)",
                };
                Some(format!(
                    "{place}{} {number}/{of}{at}: {} tokens in {}, {} tok/s{valid}",
                    role_word(*role),
                    thousands(*output_tokens),
                    Seconds::from_nanos(*makespan_ns),
                    rate(*output_tokens, *makespan_ns),
                ))
            }
            Event::GateWaited { waited_ns, passed } => match (passed, *waited_ns) {
                (true, 0..1_000_000_000) => None,
                (true, ns) => Some(format!(
                    "{place}device memory came back after {}",
                    Seconds::from_nanos(ns)
                )),
                (false, ns) => Some(format!(
                    "{place}device memory is still in use after {}",
                    Seconds::from_nanos(ns)
                )),
            },
            Event::LeakFound { leak } => Some(format!(
                "{place}outlived the stop and was ended: {} ({})",
                leak.pid, leak.name
            )),
            Event::StartEnded { complete } => {
                let start = self.start.take()?;
                let took = now.saturating_sub(start.begun_ns);
                self.ended_starts += 1;
                self.ended_ns += took;
                let end = if *complete {
                    "done"
                } else {
                    "ended incomplete"
                };
                let left = self.planned_starts.saturating_sub(self.ended_starts);
                let left = match (left, self.remaining_s()) {
                    (0, _) => String::new(),
                    (n, Some(s)) => format!("; {n} to go, about {}", Seconds(s)),
                    (n, None) => format!("; {n} to go"),
                };
                Some(format!(
                    "{place}{end} after {}{left}",
                    Seconds::from_nanos(took)
                ))
            }
            Event::CellFailed { failure } => Some(format!("{place}{}", failed(failure))),
            Event::Note { text } => Some(format!("{place}{text}")),
            Event::Interrupted { signal } => {
                let name = nix::sys::signal::Signal::try_from(*signal)
                    .map_or("signal", nix::sys::signal::Signal::as_str);
                Some(format!(
                    "{name}: saving what is complete and stopping the engine; once more ends it at once"
                ))
            }
            Event::SessionEnded { complete, failed } => {
                let took = Seconds::from_nanos(now.saturating_sub(begun_ns));
                Some(format!(
                    "{} complete, {failed} failed, after {took}",
                    count(*complete, "engine start")
                ))
            }
        }
    }

    /// The line that is true now: `step 2/3 · 123/256 sequences · 7,123 tok/s`. Empty outside an engine start.
    pub(crate) fn live(&self, now_ns: u64) -> String {
        let Some(start) = &self.start else {
            return String::new();
        };
        if let Some(step) = &start.step {
            return format!(
                "{} {}/{}{} · {}/{} sequences · {} tok/s",
                role_word(step.role),
                step.number,
                step.of,
                at(step.point),
                thousands(step.finished),
                thousands(step.sequences),
                rate(step.tokens, step.elapsed_ns),
            );
        }
        let Some((phase, since_ns)) = start.phase else {
            return String::new();
        };
        let doing = start.doing.as_ref();
        let doing = doing.map_or_else(String::new, |doing| format!(" · {doing}"));
        match now_ns.saturating_sub(since_ns) {
            0..5_000_000_000 => format!("{phase}{doing}"),
            ns => format!("{phase} for {}{doing}", Seconds::from_nanos(ns)),
        }
    }

    /// `12 min left` in words, from the starts that have ended, else from the plan's estimate.
    pub(crate) fn remaining_s(&self) -> Option<f64> {
        if self.ended_starts > 0 {
            let each = self.ended_ns as f64 / f64::from(self.ended_starts) / 1e9;
            let left = self.planned_starts.saturating_sub(self.ended_starts);
            let spent = self
                .start
                .as_ref()
                .map_or(0.0, |s| self.now_ns.saturating_sub(s.begun_ns) as f64 / 1e9);
            return Some((each * f64::from(left) - spent).max(0.0));
        }
        let spent = self.now_ns.saturating_sub(self.begun_ns?) as f64 / 1e9;
        self.planned_s.map(|planned| (planned - spent).max(0.0))
    }

    /// `[2/8] qwen3-1.7b w8a8: `, with whatever of it is known.
    pub(crate) fn place(&self, cell: Option<&CellId>) -> String {
        let start = self
            .start
            .as_ref()
            .map(|s| format!("[{}/{}] ", s.number, self.planned_starts))
            .unwrap_or_default();
        let cell = cell
            .map(|c| format!("{} {}: ", c.model, c.precision))
            .unwrap_or_default();
        format!("{start}{cell}")
    }

    /// Sequences done and to come in the running step.
    pub(crate) fn step_progress(&self) -> Option<(u64, u64)> {
        self.start.as_ref()?.step.map(|s| (s.finished, s.sequences))
    }
}

/// Lines of an engine's log that are shown with its failure; the record has more, the log itself all.
const SHOWN_TAIL: usize = 6;

/// What went wrong, what to do, and the end of the log.
fn failed(failure: &Failure) -> String {
    let cause = failure.diagnosis.as_ref().unwrap_or(&failure.message);
    let mut text = format!("failed while {}: {cause}", failure.phase);
    if failure.diagnosis.is_some() && !failure.message.is_empty() {
        let _ = write!(text, "\n  said: {}", failure.message);
    }
    if let Some(hint) = &failure.hint {
        let _ = write!(text, "\n  hint: {hint}");
    }
    if !failure.log.is_empty() {
        let _ = write!(text, "\n  log: {}", failure.log);
    }
    for line in &failure.tail[failure.tail.len().saturating_sub(SHOWN_TAIL)..] {
        let _ = write!(text, "\n    | {line}");
    }
    text
}

/// ` (4 requests/s)` in a sweep.
fn at(point: Option<Point>) -> String {
    point.map_or_else(String::new, |point| format!(" ({point})"))
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Warmup => "warm-up",
        Role::Measured => "step",
        Role::Profiled => "profiled step",
    }
}

fn rate(tokens: u64, nanos: u64) -> String {
    if nanos == 0 {
        return "-".to_owned();
    }
    let rate = tokens as f64 / (nanos as f64 / 1e9);
    // A rate of tokens is positive and far below 2^64.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = rate.round() as u64;
    if rate < 1000.0 {
        format!("{rate:.1}")
    } else {
        thousands(whole)
    }
}

fn count(n: u32, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::record::{FailureKind, Skip};

    /// A whole small session: one skip, one sound start, one failure.
    pub(crate) fn story() -> Vec<Envelope> {
        let cell = |precision: &str| CellId {
            model: "smollm2-135m".parse().expect("an id"),
            precision: precision.parse().expect("an id"),
        };
        let failure = Failure {
            phase: Phase::Load,
            kind: FailureKind::Engine,
            message: "ValueError".to_owned(),
            diagnosis: Some("no kernel for this precision here".to_owned()),
            hint: Some("use another precision".to_owned()),
            exit: None,
            log: "benchmark_logs/smollm2-135m_w8a8.0.log".to_owned(),
            tail: vec!["RuntimeError: no kernel".to_owned()],
        };
        let skip = Skip::Unsupported {
            platform: "cpu".to_owned(),
            reason: "no kernel".to_owned(),
        };
        let told = [
            (
                0,
                None,
                Event::PlanMade {
                    starts: 2,
                    skips: 1,
                    estimate_s: Some(150.0),
                },
            ),
            (0, Some("w8a16"), Event::CellSkipped { skip }),
            (
                1,
                Some("bf16"),
                Event::StartBegun {
                    of: 2,
                    number: 1,
                    block: 0,
                },
            ),
            (
                1,
                Some("bf16"),
                Event::Phase {
                    phase: Phase::Launch,
                },
            ),
            (20, Some("bf16"), Event::Phase { phase: Phase::Load }),
            (
                43,
                Some("bf16"),
                Event::Phase {
                    phase: Phase::Warmup,
                },
            ),
            (
                43,
                Some("bf16"),
                Event::StepBegun {
                    role: Role::Warmup,
                    number: 1,
                    of: 1,
                    point: None,
                    sequences: 32,
                    tokens: 1024,
                },
            ),
            (
                45,
                Some("bf16"),
                Event::Progress {
                    finished: 7,
                    tokens: 512,
                    elapsed_ns: 2_000_000_000,
                },
            ),
            (
                48,
                Some("bf16"),
                Event::StepFinished {
                    role: Role::Warmup,
                    number: 1,
                    status: StepStatus::Ok,
                    makespan_ns: 4_880_000_000,
                    output_tokens: 1024,
                },
            ),
            (50, Some("bf16"), Event::StartEnded { complete: true }),
            (
                51,
                Some("w8a8"),
                Event::StartBegun {
                    of: 2,
                    number: 2,
                    block: 0,
                },
            ),
            (
                51,
                Some("w8a8"),
                Event::Phase {
                    phase: Phase::Launch,
                },
            ),
            (60, Some("w8a8"), Event::CellFailed { failure }),
            (61, Some("w8a8"), Event::StartEnded { complete: false }),
            (61, None, Event::Interrupted { signal: 2 }),
            (
                61,
                None,
                Event::SessionEnded {
                    complete: 1,
                    failed: 1,
                },
            ),
        ];
        told.into_iter()
            .zip(0..)
            .map(|((second, precision, event), seq)| Envelope {
                seq,
                mono_ns: second * 1_000_000_000,
                wall: jiff::Timestamp::UNIX_EPOCH,
                cell: precision.map(cell),
                event,
            })
            .collect()
    }

    #[test]
    fn a_session_reads_as_a_story() {
        let mut state = State::default();
        let mut lines = Vec::new();
        for envelope in story() {
            lines.extend(state.apply(&envelope));
            if matches!(envelope.event, Event::Progress { .. }) {
                lines.push(format!("(live) {}", state.live(envelope.mono_ns)));
            }
        }
        insta::assert_snapshot!(lines.join("\n"), @"
        2 engine starts to run, 1 cell skipped, about 2 min 30 s
        smollm2-135m w8a16: skipped: unsupported on cpu: no kernel
        [1/2] smollm2-135m bf16: starting the engine
        [1/2] smollm2-135m bf16: engine ready after 42.0 s
        (live) warm-up 1/1 · 7/32 sequences · 256.0 tok/s
        [1/2] smollm2-135m bf16: warm-up 1/1: 1,024 tokens in 4.88 s, 209.8 tok/s
        [1/2] smollm2-135m bf16: done after 49.0 s; 1 to go, about 49.0 s
        [2/2] smollm2-135m w8a8: starting the engine
        [2/2] smollm2-135m w8a8: failed while loading: no kernel for this precision here
          said: ValueError
          hint: use another precision
          log: benchmark_logs/smollm2-135m_w8a8.0.log
            | RuntimeError: no kernel
        [2/2] smollm2-135m w8a8: ended incomplete after 10.0 s
        SIGINT: saving what is complete and stopping the engine; once more ends it at once
        1 engine start complete, 1 failed, after 1 min 01 s
        ");
    }
}
