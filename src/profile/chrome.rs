//! From the events of a Chrome trace (Kineto's, torch_npu's `trace_view.json`) to a [`Trace`].

use std::io;
use std::path::Path;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use regex::Regex;

use super::rules::{Rules, Scope};
use super::scan::{Event, Scanned, Sink, field, scan};
use super::trace::{Class, Kinds, Launch, Mark, Range, Span, Trace, text};
use super::window::Window;

/// Reads one file.
pub(super) fn read(path: &Path, rules: &Rules) -> io::Result<Trace> {
    Ok(read_window(Window::open(path)?, rules))
}

/// Reads what a window shows.
pub(super) fn read_window(mut window: Window, rules: &Rules) -> Trace {
    let mut reader = Reader {
        trace: Trace::default(),
        kinds: Kinds::new(rules),
        correlation: Finder::new(b"\"correlation\":").into_owned(),
        counts: Counts::default(),
        gpu: false,
    };
    let scanned = scan(&mut window, &mut reader);
    let Reader {
        mut trace,
        kinds,
        counts,
        ..
    } = reader;
    trace.kinds = kinds.all;
    trace.events = scanned.events;
    trace.bytes = scanned.bytes;
    trace.cut = scanned.cut.is_some();
    trace.notes = notes(&scanned, &counts);
    if !trace.devices.is_empty() {
        trace.threads.clear();
    }
    trace
}

/// The steps' names in every vLLM: up to 0.13, from 0.14, and the detailed form of 0.28.
static STEP: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^execute_(?:\[?\d+\]?_)?(?:context_(\d+)\(.*?\)_generation_(\d+)\(|new_(\d+)_cached_(\d+))",
    )
    .expect("a pattern of ours")
});

/// The step that an annotation names.
pub(super) fn mark(name: &str) -> Option<Mark> {
    if name.starts_with("ProfilerStep#") {
        return Some(Mark { work: None });
    }
    let found = STEP.captures(name)?;
    let number = |n: usize| found.get(n).and_then(|m| m.as_str().parse().ok());
    let context = number(1).or_else(|| number(3))?;
    let generation = number(2).or_else(|| number(4))?;
    Some(Mark {
        work: Some((context, generation)),
    })
}

#[derive(Debug, Default)]
struct Counts {
    without_time: u64,
    without_duration: u64,
    negative_duration: u64,
    negative_time: u64,
    zero_kernels: u64,
    kernels: u64,
}

struct Reader<'r> {
    trace: Trace,
    kinds: Kinds<'r>,
    correlation: Finder<'static>,
    counts: Counts,
    /// A device was seen: operators are of no use any more.
    gpu: bool,
}

impl Sink for Reader<'_> {
    fn event(&mut self, event: &Event<'_>) {
        if event.ph != b"X" {
            return;
        }
        match event.cat {
            b"kernel" | b"gpu_memcpy" | b"gpu_memset" => self.device(event, Scope::Gpu),
            b"cpu_op" | b"Operator" if !self.gpu => self.operator(event),
            b"cuda_runtime" | b"cuda_driver" | b"privateuse1_runtime" => self.launch(event),
            b"gpu_user_annotation" => self.range(event, true),
            b"user_annotation" => self.range(event, false),
            b"overhead" if memchr::memmem::find(event.name, b"Module Loading").is_some() => {
                self.trace.loadings.extend(event.ts);
            }
            // Ascend's hardware lanes have no category, but say what unit a kernel ran on.
            b"" if memchr::memmem::find(event.args, b"\"Task Type\"").is_some() => {
                self.trace
                    .facts
                    .insert("platform".to_owned(), "npu".to_owned());
                self.device(event, Scope::Npu);
            }
            _ => {}
        }
    }

    fn top(&mut self, key: &[u8], value: &[u8]) {
        let facts = &mut self.trace.facts;
        match key {
            b"vllm_version" | b"host_name" => {
                if let Ok(value) = serde_json::from_slice::<String>(value) {
                    facts.insert(text(key), value);
                }
            }
            b"distributedInfo" | b"deviceProperties" => {
                let Ok(value) = serde_json::from_slice::<serde_json::Value>(value) else {
                    return;
                };
                if let Some(rank) = value.get("rank").and_then(serde_json::Value::as_u64) {
                    facts.insert("rank".to_owned(), rank.to_string());
                }
                if let Some(world) = value.get("world_size").and_then(serde_json::Value::as_u64) {
                    facts.insert("world_size".to_owned(), world.to_string());
                }
                if let Some(name) = value.pointer("/0/name").and_then(serde_json::Value::as_str) {
                    facts.insert("device".to_owned(), name.to_owned());
                    self.gpu = true;
                }
            }
            _ => {}
        }
    }
}

impl Reader<'_> {
    fn times(&mut self, event: &Event<'_>) -> Option<(i64, i64)> {
        let Some(start) = event.ts else {
            self.counts.without_time += 1;
            return None;
        };
        let Some(duration) = event.dur else {
            self.counts.without_duration += 1;
            return None;
        };
        self.counts.negative_time += u64::from(start < 0);
        self.counts.negative_duration += u64::from(duration < 0);
        Some((start, start.checked_add(duration.max(0))?))
    }

    fn correlation(&self, event: &Event<'_>) -> u32 {
        let found = field(event.args, &self.correlation).and_then(|v| std::str::from_utf8(v).ok());
        found.and_then(|v| v.parse().ok()).unwrap_or(0)
    }

    fn device(&mut self, event: &Event<'_>, scope: Scope) {
        let Some((start, end)) = self.times(event) else {
            return;
        };
        if !self.gpu {
            self.gpu = true;
            self.trace.threads.clear();
        }
        let kind = match scope {
            Scope::Npu => self.kinds.of_npu(b"", event.name, None),
            _ => self.kinds.of(scope, event.name),
        };
        let class = match event.cat {
            b"gpu_memcpy" | b"gpu_memset" => Class::Copy,
            _ => self.kinds.class(kind),
        };
        self.counts.kernels += 1;
        self.counts.zero_kernels += u64::from(end == start);
        let span = Span {
            start,
            end,
            kind,
            correlation: self.correlation(event),
        };
        let device = event.pid;
        match self
            .trace
            .devices
            .get_mut(std::str::from_utf8(device).unwrap_or(""))
        {
            Some(lane) => lane.push(class, span),
            None => self
                .trace
                .devices
                .entry(text(device))
                .or_default()
                .push(class, span),
        }
    }

    fn operator(&mut self, event: &Event<'_>) {
        let Some((start, end)) = self.times(event) else {
            return;
        };
        let kind = self.kinds.of(Scope::Cpu, event.name);
        let span = Span {
            start,
            end,
            kind,
            correlation: 0,
        };
        let thread = event.tid;
        match self
            .trace
            .threads
            .get_mut(std::str::from_utf8(thread).unwrap_or(""))
        {
            Some(spans) => spans.push(span),
            None => self
                .trace
                .threads
                .entry(text(thread))
                .or_default()
                .push(span),
        }
    }

    fn launch(&mut self, event: &Event<'_>) {
        let graph = memchr::memmem::find(event.name, b"GraphLaunch").is_some();
        let launches = graph
            || memchr::memmem::find(event.name, b"Launch").is_some()
            || event.name.starts_with(b"cudaMemcpy")
            || event.name.starts_with(b"cudaMemset");
        if let Some((start, end)) = launches.then(|| self.times(event)).flatten() {
            let correlation = self.correlation(event);
            self.trace.launches.push(Launch {
                start,
                end,
                correlation,
                graph,
            });
        }
    }

    fn range(&mut self, event: &Event<'_>, device: bool) {
        let Some(mark) = mark(&text(event.name)) else {
            return;
        };
        let Some((start, end)) = self.times(event) else {
            return;
        };
        let lane = text(if device { event.pid } else { event.tid });
        let ranges = if device {
            &mut self.trace.device_ranges
        } else {
            &mut self.trace.host_ranges
        };
        ranges.push(Range {
            start,
            end,
            lane,
            mark,
        });
    }
}

fn notes(scanned: &Scanned, counts: &Counts) -> Vec<String> {
    let mut notes = Vec::new();
    if scanned.no_events {
        notes.push("no `traceEvents` and no array of events: not a Chrome trace".to_owned());
    }
    if let Some((count, at)) = scanned.broken {
        notes.push(format!(
            "{count} places are no events and were passed over, the first at byte {at}"
        ));
    }
    if let Some((at, why)) = scanned.cut.as_ref().filter(|_| !scanned.no_events) {
        notes.push(format!(
            "truncated at byte {at} ({why}); what is whole was read"
        ));
    }
    for (count, what) in [
        (
            counts.without_time,
            "events without a readable timestamp were passed over",
        ),
        (
            counts.without_duration,
            "events without a duration were passed over",
        ),
        (
            counts.negative_duration,
            "negative durations were read as 0",
        ),
        (counts.negative_time, "timestamps are negative"),
    ] {
        if count > 0 {
            notes.push(format!("{count} {what}"));
        }
    }
    // CUPTI's timestamps become invalid in very long captures.
    if counts.zero_kernels * 100 > counts.kernels {
        notes.push(format!(
            "{} of {} kernels last 0 ns",
            counts.zero_kernels, counts.kernels
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_every_version_are_known() {
        let work = |name: &str| mark(name).map(|mark| mark.work);
        assert_eq!(work("execute_new_3_cached_61"), Some(Some((3, 61))));
        assert_eq!(
            work("execute_context_0(0)_generation_256(256)"),
            Some(Some((0, 256)))
        );
        assert_eq!(
            work("execute_12_context_1(sq64sk64sqsq4096sqsk4096)_generation_2(sq2sk9sqsq1sqsk3)"),
            Some(Some((1, 2)))
        );
        assert_eq!(
            work("execute_[12]_context_1(sq64)_generation_2(sq2)"),
            Some(Some((1, 2)))
        );
        assert_eq!(work("ProfilerStep#4"), Some(None));
        assert_eq!(work("gpu_model_runner: forward"), None);
    }
}
