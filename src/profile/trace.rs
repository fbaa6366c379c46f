//! What is kept of a trace, whatever wrote it.

use std::collections::{BTreeMap, HashMap};

use super::rules::{LabelId, Rules, Scope};

/// An interval on a device, or of an operator on a thread. 24 bytes: traces hold millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    /// Nanoseconds of the trace's clock.
    pub(super) start: i64,
    pub(super) end: i64,
    /// Index into [`Trace::kinds`].
    pub(super) kind: u32,
    /// Of the launch; 0 if not told.
    pub(super) correlation: u32,
}

/// What spans of one name on one lane have in common: a name is classified once, not once an event.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) label: LabelId,
    /// Rows of its first input, which is the number of tokens; only Ascend tells.
    pub(super) rows: Option<u32>,
}

/// Who yields to whom where intervals of one device overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Compute,
    Communication,
    Copy,
}

/// The intervals of one device, or of one thread of operators.
#[derive(Debug, Default, Clone)]
pub(super) struct Lane {
    /// By [`Class`].
    pub(super) spans: [Vec<Span>; 3],
}

impl Lane {
    pub(super) fn push(&mut self, class: Class, span: Span) {
        self.spans[class as usize].push(span);
    }

    pub(super) fn len(&self) -> usize {
        self.spans.iter().map(Vec::len).sum()
    }
}

/// A step as its annotation names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Sequences whose prompt is worked on, and those that decode; absent where the mark does not tell.
    pub(super) work: Option<(u32, u32)>,
}

/// An annotation's range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: i64,
    pub(super) end: i64,
    /// The device or the thread it stands on.
    pub(super) lane: String,
    pub(super) mark: Mark,
}

/// A call that puts work on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Launch {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) correlation: u32,
    /// A whole graph.
    pub(super) graph: bool,
}

/// What was traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Platform {
    /// Kernels of a GPU.
    Gpu,
    /// Ascend.
    Npu,
    /// Operators of a CPU.
    Cpu,
    /// Neither kernels nor steps were found.
    #[default]
    Nothing,
}

/// One trace, read.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) kinds: Vec<Kind>,
    /// By device.
    pub(super) devices: BTreeMap<String, Lane>,
    /// Operators by thread; dropped where there are devices.
    pub(super) threads: BTreeMap<String, Vec<Span>>,
    /// Ranges on devices.
    pub(super) device_ranges: Vec<Range>,
    /// Ranges on threads.
    pub(super) host_ranges: Vec<Range>,
    pub(super) launches: Vec<Launch>,
    /// When modules were loaded on first use: steps with one in them are not typical.
    pub(super) loadings: Vec<i64>,
    /// `vllm_version`, `rank`, `device` ... as the file tells.
    pub(super) facts: BTreeMap<String, String>,
    /// Events read.
    pub(super) events: u64,
    /// Bytes read, inflated.
    pub(super) bytes: u64,
    /// What is wrong with the file, with positions.
    pub(super) notes: Vec<String>,
    /// It ends early.
    pub(super) cut: bool,
}

impl Trace {
    /// What it is a trace of.
    pub(super) fn platform(&self) -> Platform {
        if self.facts.get("platform").is_some_and(|p| p == "npu") {
            Platform::Npu
        } else if self.devices.values().any(|lane| lane.len() > 0) {
            Platform::Gpu
        } else if !self.threads.is_empty() {
            Platform::Cpu
        } else {
            Platform::Nothing
        }
    }
}

/// Gives kinds their numbers.
pub(super) struct Kinds<'r> {
    rules: &'r Rules,
    known: HashMap<Box<[u8]>, u32, foldhash::fast::FixedState>,
    /// The key that is looked up; kept, so that a known name costs no allocation.
    key: Vec<u8>,
    pub(super) all: Vec<Kind>,
}

impl<'r> Kinds<'r> {
    pub(super) fn new(rules: &'r Rules) -> Self {
        Self {
            rules,
            known: HashMap::default(),
            key: Vec::new(),
            all: Vec::new(),
        }
    }

    /// The number of the kind with this name, as it stands in the file. A reader has names of one scope besides those of
    /// Ascend.
    pub(super) fn of(&mut self, scope: Scope, raw: &[u8]) -> u32 {
        if let Some(kind) = self.known.get(raw) {
            return *kind;
        }
        self.key.clear();
        self.key.extend_from_slice(raw);
        let name = text(raw);
        let label = self.rules.label(scope, &name, None);
        self.add(Kind {
            name,
            label,
            rows: None,
        })
    }

    /// The same for an Ascend kernel: its type is the key, its name the second best, and its rows tell tokens.
    pub(super) fn of_npu(&mut self, op_type: &[u8], raw: &[u8], rows: Option<u32>) -> u32 {
        let named = if matches!(op_type, b"" | b"N/A" | b"OP") {
            raw
        } else {
            op_type
        };
        self.key.clear();
        self.key.extend_from_slice(named);
        self.key.push(0);
        self.key.extend_from_slice(&rows.unwrap_or(0).to_le_bytes());
        if let Some(kind) = self.known.get(self.key.as_slice()) {
            return *kind;
        }
        let name = text(named);
        let label = self.rules.label(Scope::Npu, &name, Some(&text(raw)));
        self.add(Kind { name, label, rows })
    }

    fn add(&mut self, kind: Kind) -> u32 {
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(kind);
        self.known.insert(self.key.as_slice().into(), number);
        number
    }

    pub(super) fn class(&self, kind: u32) -> Class {
        self.rules.class(self.all[kind as usize].label)
    }
}

/// A JSON string's text as Unicode: escapes resolved where it has any, what is no UTF-8 replaced.
pub(super) fn text(raw: &[u8]) -> String {
    if raw.contains(&b'\\') {
        let mut quoted = Vec::with_capacity(raw.len() + 2);
        quoted.push(b'"');
        quoted.extend_from_slice(raw);
        quoted.push(b'"');
        if let Ok(text) = serde_json::from_slice(&quoted) {
            return text;
        }
    }
    String::from_utf8_lossy(raw).into_owned()
}
