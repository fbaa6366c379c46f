//! Journals: one file an engine start, and in it one synced line for each thing that happens to it, so that a step costs
//! one small write and nothing acknowledged is lost. They are folded into the records, in the end or after a death.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::resume;
use super::{CellRecord, CellStatus, EngineStart, StartStatus, Step};
use crate::units::{CellId, Mode};

/// One line. Externally tagged: serde then reads a step's columns without buffering them.
#[expect(
    clippy::large_enum_variant,
    reason = "a few exist at a time, and each is about to be written"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Entry<'a> {
    /// An engine start begins.
    Begin {
        /// The record without its starts, so that a replay can make it if it was never written.
        record: Cow<'a, CellRecord>,
        /// The start without steps.
        start: Cow<'a, EngineStart>,
    },
    /// A step ended.
    Step {
        cell: Cow<'a, CellId>,
        mode: Mode,
        /// The start's id.
        start: Cow<'a, str>,
        step: Cow<'a, Step>,
    },
    /// More is known of an engine start: it is ready, or it ended.
    State {
        cell: Cow<'a, CellId>,
        mode: Mode,
        /// The start as it is now, without steps.
        start: Cow<'a, EngineStart>,
    },
}

impl Entry<'_> {
    fn start_id(&self) -> &str {
        match self {
            Self::Begin { start, .. } | Self::State { start, .. } => &start.id,
            Self::Step { start, .. } => start,
        }
    }

    /// The cell and mode it is about.
    pub(crate) fn key(&self) -> (CellId, Mode) {
        match self {
            Self::Begin { record, .. } => (record.cell.id.clone(), record.cell.mode),
            Self::Step { cell, mode, .. } | Self::State { cell, mode, .. } => {
                (cell.clone().into_owned(), *mode)
            }
        }
    }
}

/// The writing end.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes that are known to be whole lines.
    length: u64,
}

impl Journal {
    /// A new, empty journal of `session`, by whose names the `number`s are in order.
    pub(crate) fn create(dir: &Path, session: &str, number: u32) -> io::Result<Self> {
        Self::create_at(dir.join(format!("{session}.{number:06}.jsonl")))
    }

    /// A new, empty journal at `path`.
    pub(crate) fn create_at(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(Self {
            path,
            file,
            length: 0,
        })
    }

    /// Appends one line; returns when it is on the disk. After an error this journal must not be used again:
    /// whether a failed sync wrote something cannot be known.
    pub(crate) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self
            .file
            .write_all(line)
            .and_then(|()| self.file.sync_data());
        if written.is_err() {
            let _ = self.file.set_len(self.length);
        } else {
            self.length += line.len() as u64;
        }
        written
    }

    /// Appends all that is known of a start of the cell with this `head`.
    pub(crate) fn append_start(
        &mut self,
        head: &CellRecord,
        start: &EngineStart,
    ) -> io::Result<()> {
        let without_steps = start.with_steps(Vec::new());
        self.append(&line(&Entry::Begin {
            record: Cow::Borrowed(head),
            start: Cow::Borrowed(&without_steps),
        }))?;
        for step in &start.steps {
            self.append(&line(&Entry::Step {
                cell: Cow::Borrowed(&head.cell.id),
                mode: head.cell.mode,
                start: Cow::Borrowed(&start.id),
                step: Cow::Borrowed(step),
            }))?;
        }
        if start.status == StartStatus::Running {
            return Ok(());
        }
        // An older journal may know it as running.
        self.append(&line(&Entry::State {
            cell: Cow::Borrowed(&head.cell.id),
            mode: head.cell.mode,
            start: Cow::Owned(without_steps),
        }))
    }

    /// Removes it.
    pub(crate) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// An entry as a journal has it, its end included.
pub(crate) fn line(entry: &Entry<'_>) -> Vec<u8> {
    let mut line = serde_json::to_vec(entry).expect("records are plain data");
    line.push(b'\n');
    line
}

/// The entries of one journal, and whether a whole line of it is none.
pub(crate) fn read(path: &Path) -> io::Result<(Vec<Entry<'static>>, bool)> {
    Ok(parse(&super::read_regular(path)?))
}

/// What is in the journals of a folder.
#[derive(Debug, Default)]
pub(crate) struct Leftover {
    /// The files, oldest generation first.
    pub(crate) files: Vec<PathBuf>,
    /// All whole lines.
    pub(crate) entries: Vec<Entry<'static>>,
    /// Files with a whole line that is no entry: damaged, or of another version.
    pub(crate) damaged: Vec<PathBuf>,
}

/// Reads all journals in `dir`; a folder that does not exist has none.
pub(crate) fn read_leftover(dir: &Path) -> io::Result<Leftover> {
    let mut leftover = Leftover::default();
    let listing = match fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(leftover),
        Err(error) => return Err(error),
    };
    for entry in listing {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "jsonl") {
            leftover.files.push(path);
        }
    }
    leftover.files.sort();
    for path in &leftover.files {
        let (entries, damaged) = match read(path) {
            Ok(read) => read,
            // Folded into its record meanwhile, which a reader looks at after this.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        leftover.entries.extend(entries);
        if damaged {
            leftover.damaged.push(path.clone());
        }
    }
    Ok(leftover)
}

/// The entries of a journal's bytes, and whether a whole line is no entry. A line counts only with its end: the last
/// one may have been cut short, and then it was never acknowledged.
fn parse(bytes: &[u8]) -> (Vec<Entry<'static>>, bool) {
    let mut entries = Vec::new();
    let mut damaged = false;
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else {
            break;
        };
        match serde_json::from_slice(line) {
            Ok(entry) => entries.push(entry),
            Err(_) => damaged = true,
        }
    }
    (entries, damaged)
}

/// Puts one journal entry into its record. Doing it again changes nothing: a start is known by its id, a step by its
/// index and beginning (an index is measured twice if its first try was suspended).
pub(crate) fn apply(record: &mut CellRecord, entry: Entry<'_>) {
    match entry {
        Entry::Begin { start, .. } => {
            if !record.starts.iter().any(|s| s.id == start.id) {
                record.starts.push(start.into_owned());
            }
        }
        Entry::Step { start, step, .. } => {
            if let Some(known) = record.starts.iter_mut().find(|s| s.id == *start) {
                add_step(known, step);
            }
        }
        Entry::State { start, .. } => {
            let Some(known) = record.starts.iter_mut().find(|s| s.id == start.id) else {
                return;
            };
            let steps = std::mem::take(&mut known.steps);
            *known = EngineStart {
                steps,
                ..start.into_owned()
            };
            if let Some(facts) = known.engine.as_ref().filter(|_| known.is_complete()) {
                record.fingerprint.engine = resume::engine_fingerprint(facts);
            }
        }
    }
}

/// Puts a whole start into its record, once.
pub(crate) fn apply_start(record: &mut CellRecord, start: Cow<'_, EngineStart>) {
    if let Some(facts) = start.engine.as_ref().filter(|_| start.is_complete()) {
        record.fingerprint.engine = resume::engine_fingerprint(facts);
    }
    let start = start.into_owned();
    match record.starts.iter_mut().find(|s| s.id == start.id) {
        Some(known) => *known = start,
        None => record.starts.push(start),
    }
}

/// Adds a step unless it is there already.
pub(crate) fn add_step(start: &mut EngineStart, step: Cow<'_, Step>) {
    let same = |s: &Step| s.index == step.index && s.begin_mono_ns == step.begin_mono_ns;
    if !start.steps.iter().any(same) {
        start.steps.push(step.into_owned());
    }
}

/// The entries by cell and session. Journals of several sessions lie together where one was rescued and brought back
/// late; what one of them says must not pass for another's.
pub(crate) fn by_session(
    entries: Vec<Entry<'static>>,
) -> BTreeMap<(CellId, Mode, String), Vec<Entry<'static>>> {
    let begun = entries.iter().filter_map(|entry| match entry {
        Entry::Begin { record, start } => Some((start.id.clone(), record.session.id.clone())),
        _ => None,
    });
    let sessions: BTreeMap<String, String> = begun.collect();
    let mut parted: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for entry in entries {
        let (cell, mode) = entry.key();
        // Without a beginning, which only damage can take, it belongs to no session.
        let session = sessions.get(entry.start_id()).cloned().unwrap_or_default();
        parted.entry((cell, mode, session)).or_default().push(entry);
    }
    parted
}

/// The record, without starts, that the entries begin with.
pub(crate) fn first_head(entries: &[Entry<'_>]) -> Option<CellRecord> {
    entries.iter().find_map(|entry| match entry {
        Entry::Begin { record, .. } => Some(record.clone().into_owned()),
        _ => None,
    })
}

/// Closes what a dead session left open: a start without an end was interrupted.
pub(crate) fn interrupt_running(record: &mut CellRecord) {
    for start in &mut record.starts {
        if start.status == StartStatus::Running {
            start.status = StartStatus::Interrupted;
        }
    }
    if record.status != CellStatus::Skipped && !record.starts.is_empty() {
        record.status = record.derived_status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Role, builder};
    use proptest::prelude::*;

    /// A journal's bytes: two starts of three steps, the first one ended.
    fn bytes() -> Vec<u8> {
        let record = builder::planned("demo", "bf16");
        let mut bytes = Vec::new();
        let mut write = |entry: &Entry<'_>| {
            bytes.extend(serde_json::to_vec(entry).unwrap());
            bytes.push(b'\n');
        };
        for block in 0..2 {
            let mut start = builder::start(&record, block, &[]);
            start.status = StartStatus::Running;
            write(&Entry::Begin {
                record: Cow::Borrowed(&record),
                start: Cow::Borrowed(&start),
            });
            for index in 0..3 {
                write(&Entry::Step {
                    cell: Cow::Borrowed(&record.cell.id),
                    mode: Mode::Offline,
                    start: Cow::Borrowed(&start.id),
                    step: Cow::Owned(builder::step(index, Role::Measured, 1.0)),
                });
            }
            start.status = StartStatus::Complete;
            if block == 0 {
                write(&Entry::State {
                    cell: Cow::Borrowed(&record.cell.id),
                    mode: Mode::Offline,
                    start: Cow::Borrowed(&start),
                });
            }
        }
        bytes
    }

    fn replayed(into: &CellRecord, bytes: &[u8]) -> CellRecord {
        let mut record = into.clone();
        for entry in parse(bytes).0 {
            apply(&mut record, entry);
        }
        interrupt_running(&mut record);
        record
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn cut_at_any_byte_it_replays_to_a_prefix_and_twice_is_once(cut in 0..=bytes().len()) {
            let whole = bytes();
            let lines = memchr::memchr_iter(b'\n', &whole[..cut]).count();
            let (entries, damaged) = parse(&whole[..cut]);
            prop_assert!(!damaged);
            prop_assert_eq!(&entries[..], &parse(&whole).0[..lines]);

            let empty = builder::planned("demo", "bf16");
            let once = replayed(&empty, &whole[..cut]);
            prop_assert_eq!(&replayed(&once, &whole[..cut]), &once);
            // Going on after the cut, as a second generation of the journal does, ends where the whole one does.
            let all = replayed(&empty, &whole);
            let after = replayed(&once, &whole);
            let steps = |r: &CellRecord| r.starts.iter().map(|s| s.steps.clone()).collect::<Vec<_>>();
            prop_assert_eq!(steps(&after), steps(&all));
        }
    }

    #[test]
    fn a_whole_line_that_is_no_entry_is_damage_and_hides_nothing_else() {
        let mut damaged = b"{\"unknown\":{}}\n".to_vec();
        damaged.extend(bytes());
        let (entries, flag) = parse(&damaged);
        assert!(flag);
        assert_eq!(entries, parse(&bytes()).0);
    }

    #[test]
    fn sessions_are_told_apart_also_where_an_entry_names_only_its_start() {
        let mut entries = Vec::new();
        for session in ["a", "b"] {
            let mut record = builder::planned("demo", "bf16");
            record.session.id = session.to_owned();
            let start = builder::start(&record, 0, &[]);
            let step = Entry::Step {
                cell: Cow::Owned(record.cell.id.clone()),
                mode: Mode::Offline,
                start: Cow::Owned(start.id.clone()),
                step: Cow::Owned(builder::step(0, Role::Measured, 1.0)),
            };
            let begin = Entry::Begin {
                record: Cow::Owned(record),
                start: Cow::Owned(start),
            };
            entries.extend([begin, step]);
        }
        let lost = entries.remove(2);
        let parted = by_session(entries.clone());
        let seen: Vec<(&str, usize)> = parted
            .iter()
            .map(|((_, _, session), entries)| (session.as_str(), entries.len()))
            .collect();
        assert_eq!(seen, [("", 1), ("a", 2)]);
        entries.push(lost);
        let sizes: Vec<usize> = by_session(entries).values().map(Vec::len).collect();
        assert_eq!(sizes, [2, 2]);
    }
}
