//! The store: keeps what is measured on the disk as it arrives, or says that it cannot.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::atomic::{create_private_dir, remove_stale_temporaries, sync_dir, write_atomic};
use super::journal::{self, Entry, Journal};
use super::layout::{self, journal_dir, record_name};
use super::lock::{LockError, LockHolder, ResultsLock};
use super::resume::{self, Change, ResumeState};
use super::{CellRecord, CellStatus, EngineFacts, EngineStart, SCHEMA, Session, StartStatus, Step};
use crate::error::PathError;
use crate::units::{CellId, Mode};

/// Why the store refuses.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder cannot be used.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Another rollbench is at work there.
    #[error("another rollbench uses {}{}", results.display(), describe(holder.as_ref()))]
    Busy {
        /// The results folder.
        results: PathBuf,
        /// Who it is; absent if the lock does not say.
        holder: Option<LockHolder>,
    },
    /// `resume` would put numbers side by side that were not measured alike.
    #[error("{cell} cannot be resumed: {}", list(changes))]
    Changed {
        /// The cell.
        cell: CellId,
        /// What differs.
        changes: Vec<Change>,
    },
    /// The engine that is ready is not the one of the cell's complete engine starts.
    #[error("{cell} cannot be resumed: {}", list(changes))]
    OtherEngine {
        /// The cell.
        cell: CellId,
        /// What differs.
        changes: Vec<Change>,
    },
    /// The record on the disk cannot be gone on with.
    #[error("{} cannot be resumed: {reason}", path.display())]
    Unreadable {
        /// The record.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The caller names a cell or an engine start that was not announced: a defect of rollbench.
    #[error("the store does not know {0}")]
    Unknown(String),
}

impl StoreError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Path(_) => Some("choose another folder with --out DIR".to_owned()),
            Self::Busy { .. } => {
                Some("wait until it has ended, or choose another folder with --out DIR".to_owned())
            }
            Self::Changed { .. } => Some(
                "--resume=force measures the cell anew and keeps the earlier record under previous/"
                    .to_owned(),
            ),
            Self::OtherEngine { .. } => Some(
                "use the engine of before, or measure everything anew without --resume (earlier records are kept under previous/)"
                    .to_owned(),
            ),
            Self::Unreadable { .. } => Some(
                "--resume=force measures the cell anew and keeps the file under previous/"
                    .to_owned(),
            ),
            Self::Unknown(_) => None,
        }
    }
}

fn list(changes: &[Change]) -> String {
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    changes.join("; ")
}

fn describe(holder: Option<&LockHolder>) -> String {
    holder.map_or_else(String::new, |h| {
        format!(" (pid {} on {}, since {})", h.pid, h.host, h.since)
    })
}

/// Whether what was handed over is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Saved {
    /// It is on the disk, synced.
    Synced,
    /// The disk did not take it: it is kept in memory, see [`Store::pending`], until [`Store::retry`] succeeds.
    Pending,
}

/// A disk fault that is not over.
#[derive(Debug)]
pub struct Fault<'a> {
    /// What failed last.
    pub error: &'a PathError,
    /// Steps that are only in memory.
    pub steps: usize,
}

/// What [`Store::open`] found of a session that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Engine starts without an end.
    pub starts: usize,
    /// Steps that only the journal had.
    pub steps: usize,
}

type Key = (CellId, Mode);

/// What the store keeps of a cell: starts only until they are in its file.
#[derive(Debug)]
struct Cell {
    /// The record without starts.
    header: CellRecord,
    /// Whether starts in the file stay when it is written.
    keep: bool,
    /// Whether the file is older than the header.
    stale: bool,
    /// Starts that the file does not have yet, the running one included.
    fresh: Vec<EngineStart>,
}

/// The records of one results folder, held exclusively by one session.
#[derive(Debug)]
pub struct Store {
    results: PathBuf,
    session: Session,
    lock: ResultsLock,
    journal: Option<Journal>,
    generation: u32,
    cells: BTreeMap<Key, Cell>,
    fault: Option<PathError>,
    recovered: Recovered,
}

impl Store {
    /// Opens `out`'s results folder for `session`: creates it, locks it, and replays what a dead session left.
    pub fn open(out: &Path, session: &Session) -> Result<Self, StoreError> {
        Self::open_results(&out.join(layout::RESULTS), session)
    }

    /// The same for the results folder itself (`diagnostic` has one of its own).
    pub fn open_results(results: &Path, session: &Session) -> Result<Self, StoreError> {
        let dir = journal_dir(results);
        create_private_dir(&dir)?;
        let lock = ResultsLock::acquire(&dir, &session.id).map_err(|error| match error {
            LockError::Io(source) => PathError::on("lock", dir.join("lock"))(source).into(),
            LockError::Held(holder) => StoreError::Busy {
                results: results.to_owned(),
                holder,
            },
        })?;
        sync_dir(results)?;
        remove_stale_temporaries(results);
        let recovered = replay(results, &dir)?;
        let journal = Journal::create(&dir, &session.id, 0)
            .map_err(PathError::on("create a file in", &dir))?;
        Ok(Self {
            results: results.to_owned(),
            session: session.clone(),
            lock,
            journal: Some(journal),
            generation: 0,
            cells: BTreeMap::new(),
            fault: None,
            recovered,
        })
    }

    /// The results folder.
    pub fn results(&self) -> &Path {
        &self.results
    }

    /// What was left by a session that died.
    pub fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// Announces a cell (planned, skipped or failed alike). An earlier record of another session is set aside into
    /// `previous/<its session's start>/`; one of this session keeps its starts and takes the new head.
    pub fn put_cell(&mut self, record: CellRecord) -> Saved {
        self.put(record, false)
    }

    /// Announces a cell whose earlier record is gone on with; ask [`Store::resume_state`] first.
    pub fn resume_cell(&mut self, record: CellRecord) -> Saved {
        self.put(record, true)
    }

    fn put(&mut self, mut record: CellRecord, keep: bool) -> Saved {
        let key = (record.cell.id.clone(), record.cell.mode);
        let starts = std::mem::take(&mut record.starts);
        let cell = self.cells.entry(key.clone()).or_insert_with(|| Cell {
            header: record.clone(),
            keep,
            stale: true,
            fresh: Vec::new(),
        });
        cell.header = record;
        cell.stale = true;
        for start in starts {
            if !cell.fresh.iter().any(|s| s.id == start.id) {
                cell.fresh.push(start);
            }
        }
        self.save(&key)
    }

    /// What the record on the disk holds of this cell, if starts of `planned` may stand beside it.
    pub fn resume_state(&self, planned: &CellRecord) -> Result<ResumeState, StoreError> {
        let Some(before) = self.earlier(&planned.cell.id, planned.cell.mode)? else {
            return Ok(ResumeState::default());
        };
        let changes = resume::changes(&before, planned);
        if changes.is_empty() {
            Ok(ResumeState::of(&before))
        } else {
            Err(StoreError::Changed {
                cell: planned.cell.id.clone(),
                changes,
            })
        }
    }

    /// Refuses if the engine that is ready now is not the one of the record's complete starts.
    pub fn check_engine(
        &self,
        cell: &CellId,
        mode: Mode,
        now: &EngineFacts,
    ) -> Result<(), StoreError> {
        let changes = self
            .earlier(cell, mode)?
            .map(|before| resume::engine_changes(&before, now))
            .unwrap_or_default();
        if changes.is_empty() {
            Ok(())
        } else {
            Err(StoreError::OtherEngine {
                cell: cell.clone(),
                changes,
            })
        }
    }

    fn earlier(&self, cell: &CellId, mode: Mode) -> Result<Option<CellRecord>, StoreError> {
        let path = self.results.join(record_name(cell, mode));
        match read_record(&path) {
            Ok(record) => Ok(Some(record)),
            Err(Unread::Missing) => Ok(None),
            Err(Unread::Io(source)) => Err(PathError::on("read", path)(source).into()),
            Err(Unread::Damaged(reason)) => Err(StoreError::Unreadable { path, reason }),
        }
    }

    /// An engine start begins. `start` has no steps; its `session` is filled in.
    pub fn begin_start(
        &mut self,
        cell: &CellId,
        mode: Mode,
        mut start: EngineStart,
    ) -> Result<Saved, StoreError> {
        start.session.clone_from(&self.session.id);
        start.status = StartStatus::Running;
        start.steps.clear();
        let known = self.cell(cell, mode)?;
        let header = known.header.clone();
        known.fresh.push(start.clone());
        Ok(self.log(&Entry::Begin {
            record: Cow::Owned(header),
            start: Cow::Owned(start),
        }))
    }

    /// A step ended. `Saved::Synced` is the acknowledgement: it survives whatever happens now.
    pub fn append_step(
        &mut self,
        cell: &CellId,
        mode: Mode,
        start: &str,
        step: &Step,
    ) -> Result<Saved, StoreError> {
        journal::add_step(self.running(cell, mode, start)?, Cow::Borrowed(step));
        Ok(self.log(&Entry::Step {
            cell: Cow::Borrowed(cell),
            mode,
            start: Cow::Borrowed(start),
            step: Cow::Borrowed(step),
        }))
    }

    /// An engine start ended as `ended` says (its steps are those that were appended): the record is rewritten.
    pub fn end_start(
        &mut self,
        cell: &CellId,
        mode: Mode,
        mut ended: EngineStart,
    ) -> Result<Saved, StoreError> {
        ended.session.clone_from(&self.session.id);
        ended.steps.clear();
        let start = self.running(cell, mode, &ended.id)?;
        let steps = std::mem::take(&mut start.steps);
        *start = EngineStart {
            steps,
            ..ended.clone()
        };
        let known = self.cell(cell, mode)?;
        known.stale = true;
        if let Some(facts) = ended.engine.as_ref().filter(|_| ended.is_complete()) {
            known.header.fingerprint.engine = resume::engine_fingerprint(facts);
        }
        // The line is small and may fit where the record does not.
        let _ = self.log(&Entry::End {
            cell: Cow::Borrowed(cell),
            mode,
            start: Cow::Owned(ended),
        });
        Ok(self.save(&(cell.clone(), mode)))
    }

    /// The fault that keeps data in memory; absent if everything is on the disk.
    pub fn pending(&self) -> Option<Fault<'_>> {
        let starts = self.cells.values().flat_map(|cell| &cell.fresh);
        Some(Fault {
            error: self.fault.as_ref()?,
            steps: starts.map(|start| start.steps.len()).sum(),
        })
    }

    /// Tries to write everything that is only in memory. To be called every few seconds while something is pending.
    pub fn retry(&mut self) -> Saved {
        if self.fault.is_none() {
            return Saved::Synced;
        }
        match self.write_everything() {
            Ok(()) => {
                self.fault = None;
                Saved::Synced
            }
            Err(error) => self.failed(error),
        }
    }

    /// Writes what is only in memory to a new file in `folder`, on another disk: a journal, which the next one to open
    /// (or read) the results takes over once it lies in [`Store::journal_folder`].
    pub fn rescue(&self, folder: &Path) -> Result<PathBuf, PathError> {
        // Sorts behind the session's own journals, whose lines are older.
        let path = folder.join(format!("rescued-{}.jsonl", self.session.id));
        let mut journal =
            Journal::create_at(path.clone()).map_err(PathError::on("create", &path))?;
        if let Err(error) = log_unsaved(&mut journal, &self.cells) {
            let _ = journal.remove();
            return Err(PathError::on("write", path)(error));
        }
        Ok(path)
    }

    /// Where journals lie.
    pub fn journal_folder(&self) -> PathBuf {
        journal_dir(&self.results)
    }

    /// Writes what is left, drops the journal, and gives the folder back.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.write_everything()?;
        if let Some(journal) = self.journal.take() {
            let path = journal.path().to_owned();
            // A start that still runs is only in the journal: the next one to open the folder takes it over.
            if self.cells.values().all(|cell| cell.fresh.is_empty()) {
                journal.remove().map_err(PathError::on("remove", path))?;
            }
        }
        Ok(())
    }

    fn cell(&mut self, cell: &CellId, mode: Mode) -> Result<&mut Cell, StoreError> {
        self.cells
            .get_mut(&(cell.clone(), mode))
            .ok_or_else(|| StoreError::Unknown(format!("cell {cell} ({mode})")))
    }

    fn running(
        &mut self,
        cell: &CellId,
        mode: Mode,
        start: &str,
    ) -> Result<&mut EngineStart, StoreError> {
        self.cell(cell, mode)?
            .fresh
            .iter_mut()
            .find(|s| s.id == start)
            .ok_or_else(|| StoreError::Unknown(format!("engine start {start} of {cell}")))
    }

    /// Appends to the journal, unless a fault is open: then the order of lines could not be kept, and `retry` writes
    /// them all anew.
    fn log(&mut self, entry: &Entry<'_>) -> Saved {
        if self.fault.is_some() {
            return Saved::Pending;
        }
        let dir = journal_dir(&self.results);
        let Some(journal) = &mut self.journal else {
            return self.failed(PathError::on("write", dir)(io::ErrorKind::NotFound.into()));
        };
        let path = journal.path().to_owned();
        // A folder that was removed takes writes to its open files all the same.
        let written = if self.lock.is_in_place() {
            journal.append(entry)
        } else {
            Err(io::ErrorKind::NotFound.into())
        };
        match written {
            Ok(()) => Saved::Synced,
            Err(error) => self.failed(PathError::on("write", path)(error)),
        }
    }

    fn failed(&mut self, error: PathError) -> Saved {
        self.fault = Some(error);
        Saved::Pending
    }

    fn save(&mut self, key: &Key) -> Saved {
        if self.fault.is_some() {
            return Saved::Pending;
        }
        match self.write_cell(key) {
            Ok(()) => Saved::Synced,
            Err(error) => self.failed(error),
        }
    }

    fn write_everything(&mut self) -> Result<(), PathError> {
        let dir = journal_dir(&self.results);
        create_private_dir(&dir)?;
        if !self.lock.is_in_place() {
            self.lock = ResultsLock::acquire(&dir, &self.session.id).map_err(|error| {
                PathError::on("lock", dir.join("lock"))(match error {
                    LockError::Io(error) => error,
                    LockError::Held(_) => io::ErrorKind::ResourceBusy.into(),
                })
            })?;
        }
        let keys: Vec<Key> = self.cells.keys().cloned().collect();
        for key in &keys {
            self.write_cell(key)?;
        }
        if self.fault.is_some() {
            self.renew_journal(&dir)?;
        }
        Ok(())
    }

    /// A new journal with all that the records do not have, in place of one that failed.
    fn renew_journal(&mut self, dir: &Path) -> Result<(), PathError> {
        self.generation += 1;
        let mut journal = Journal::create(dir, &self.session.id, self.generation)
            .map_err(PathError::on("create a file in", dir))?;
        if let Err(error) = log_unsaved(&mut journal, &self.cells) {
            let path = journal.path().to_owned();
            let _ = journal.remove();
            return Err(PathError::on("write", path)(error));
        }
        if let Some(broken) = self.journal.replace(journal) {
            let _ = broken.remove();
        }
        Ok(())
    }

    /// Brings a cell's file up to date: its head, the starts in the file if they stay, and the ended ones.
    fn write_cell(&mut self, key: &Key) -> Result<(), PathError> {
        let Some(cell) = self.cells.get_mut(key) else {
            return Ok(());
        };
        if !cell.stale {
            return Ok(());
        }
        let path = self.results.join(record_name(&key.0, key.1));
        let mut record = cell.header.clone();
        match read_record(&path) {
            Ok(earlier) if cell.keep || earlier.session.id == self.session.id => {
                record.starts = earlier.starts;
                let resumed = if earlier.session.id == record.session.id {
                    earlier.session.resumes
                } else {
                    Some(earlier.session.id)
                };
                record.session.resumes = record.session.resumes.or(resumed);
                if record.fingerprint.engine.is_empty() {
                    record.fingerprint.engine = earlier.fingerprint.engine;
                }
            }
            Ok(earlier) => set_aside(&self.results, &path, Some(&earlier))?,
            Err(Unread::Missing) => {}
            Err(Unread::Damaged(_)) => set_aside(&self.results, &path, None)?,
            Err(Unread::Io(source)) => return Err(PathError::on("read", path)(source)),
        }
        let ended = |start: &EngineStart| start.status != StartStatus::Running;
        record
            .starts
            .retain(|old| !cell.fresh.iter().any(|new| ended(new) && new.id == old.id));
        let (done, running): (Vec<_>, Vec<_>) =
            std::mem::take(&mut cell.fresh).into_iter().partition(ended);
        let earlier = record.starts.len();
        record.starts.extend(done);
        if record.status != CellStatus::Skipped && !record.starts.is_empty() {
            record.status = record.derived_status();
        }
        let written = write_record(&path, &record);
        if written.is_ok() {
            cell.stale = false;
        } else {
            cell.fresh = record.starts.split_off(earlier);
        }
        cell.fresh.extend(running);
        written?;
        if self.cells.values().all(|c| c.fresh.is_empty() && !c.stale)
            && let Some(journal) = &mut self.journal
        {
            journal.clear();
        }
        Ok(())
    }
}

/// Writes every start that the records do not have.
fn log_unsaved(journal: &mut Journal, cells: &BTreeMap<Key, Cell>) -> io::Result<()> {
    for ((cell, mode), known) in cells {
        for start in &known.fresh {
            journal.append(&Entry::Begin {
                record: Cow::Borrowed(&known.header),
                start: Cow::Owned(bare(start)),
            })?;
            for step in &start.steps {
                journal.append(&Entry::Step {
                    cell: Cow::Borrowed(cell),
                    mode: *mode,
                    start: Cow::Borrowed(&start.id),
                    step: Cow::Borrowed(step),
                })?;
            }
            // An older journal may know it as running.
            if start.status != StartStatus::Running {
                journal.append(&Entry::End {
                    cell: Cow::Borrowed(cell),
                    mode: *mode,
                    start: Cow::Owned(bare(start)),
                })?;
            }
        }
    }
    Ok(())
}

/// The start without its steps.
fn bare(start: &EngineStart) -> EngineStart {
    EngineStart {
        id: start.id.clone(),
        session: start.session.clone(),
        host: start.host.clone(),
        devices: start.devices.clone(),
        env: start.env.clone(),
        neighbours: start.neighbours.clone(),
        clock: start.clock.clone(),
        gate: start.gate.clone(),
        engine: start.engine.clone(),
        steps: Vec::new(),
        profile: start.profile.clone(),
        stop: start.stop.clone(),
        failure: start.failure.clone(),
        ..*start
    }
}

/// Why a record could not be had.
enum Unread {
    Missing,
    Io(io::Error),
    Damaged(String),
}

fn read_record(path: &Path) -> Result<CellRecord, Unread> {
    let bytes = fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unread::Missing,
        _ => Unread::Io(error),
    })?;
    let record: CellRecord =
        serde_json::from_slice(&bytes).map_err(|error| Unread::Damaged(error.to_string()))?;
    if record.schema == SCHEMA {
        Ok(record)
    } else {
        Err(Unread::Damaged(format!("schema {}", record.schema)))
    }
}

fn write_record(path: &Path, record: &CellRecord) -> Result<(), PathError> {
    write_atomic(path, |file| {
        serde_json::to_writer(&mut *file, record)?;
        file.write_all(b"\n")
    })
}

/// Moves an earlier record, and the files beside it that it names, to where nothing writes.
fn set_aside(results: &Path, path: &Path, record: Option<&CellRecord>) -> Result<(), PathError> {
    let dir = match record {
        Some(record) => layout::previous_dir(results, record.session.started),
        None => results.join(layout::PREVIOUS).join("unreadable"),
    };
    let sidecars = record
        .into_iter()
        .flat_map(|r| &r.starts)
        .flat_map(|s| &s.steps)
        .filter_map(|s| s.detail.as_ref())
        .map(|sidecar| results.join(&sidecar.file));
    for file in sidecars.filter(|f| f.exists()).chain([path.to_owned()]) {
        let target = free_name(&dir, &file);
        if let Some(parent) = target.parent() {
            create_private_dir(parent)?;
        }
        fs::rename(&file, target).map_err(PathError::on("set aside", &file))?;
    }
    sync_dir(&results.join(layout::PREVIOUS))?;
    sync_dir(results)
}

/// `DIR/NAME`, or `DIR.2/NAME` and so on if that is taken.
fn free_name(dir: &Path, file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default();
    let mut target = dir.join(name);
    let mut number = 2;
    while target.symlink_metadata().is_ok() {
        let mut numbered = dir.as_os_str().to_owned();
        numbered.push(format!(".{number}"));
        target = Path::new(&numbered).join(name);
        number += 1;
    }
    target
}

/// Puts what the journals of dead sessions hold into the records, then removes the journals.
fn replay(results: &Path, dir: &Path) -> Result<Recovered, StoreError> {
    let mut leftover = journal::read_leftover(dir).map_err(PathError::on("read", dir))?;
    let mut recovered = Recovered::default();
    let mut by_cell: BTreeMap<Key, Vec<Entry<'static>>> = BTreeMap::new();
    for entry in std::mem::take(&mut leftover.entries) {
        by_cell.entry(entry.key()).or_default().push(entry);
    }
    for ((cell, mode), entries) in by_cell {
        let mut path = results.join(record_name(&cell, mode));
        let mut record = match (read_record(&path), journal::first_head(&entries)) {
            // Rescued, and brought back only after the cell was measured by another session: never side by side.
            (Ok(record), Some(head)) if record.session.id != head.session.id => {
                path = free_name(&layout::previous_dir(results, head.session.started), &path);
                create_private_dir(path.parent().unwrap_or(results))?;
                head
            }
            (Ok(record), _) => record,
            (Err(Unread::Io(source)), _) => return Err(PathError::on("read", path)(source).into()),
            (Err(unread), Some(head)) => {
                if matches!(unread, Unread::Damaged(_)) {
                    set_aside(results, &path, None)?;
                }
                head
            }
            // Only a journal whose beginning was damaged has steps without a start.
            (Err(_), None) => {
                leftover.damaged.clone_from(&leftover.files);
                continue;
            }
        };
        let count = |r: &CellRecord| r.starts.iter().map(|s| s.steps.len()).sum::<usize>();
        let steps = count(&record);
        for entry in entries {
            journal::apply(&mut record, entry);
        }
        let running = |s: &&EngineStart| s.status == StartStatus::Running;
        recovered.starts += record.starts.iter().filter(running).count();
        recovered.steps += count(&record) - steps;
        journal::interrupt_running(&mut record);
        write_record(&path, &record)?;
    }
    for file in &leftover.files {
        if leftover.damaged.contains(file) {
            set_aside(results, file, None)?;
        } else {
            fs::remove_file(file).map_err(PathError::on("remove", file))?;
        }
    }
    Ok(recovered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Arm, Role, StepStatus, builder};
    use std::os::unix::fs::PermissionsExt;

    const OFFLINE: Mode = Mode::Offline;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }
        fn open(&self, session: &str) -> Store {
            Store::open(self.0.path(), &builder::session(session)).unwrap()
        }
        fn results(&self) -> PathBuf {
            self.0.path().join(layout::RESULTS)
        }
        fn record(&self, name: &str) -> CellRecord {
            serde_json::from_slice(&fs::read(self.results().join(name)).unwrap()).unwrap()
        }
        fn journals(&self) -> Vec<PathBuf> {
            journal::read_leftover(&journal_dir(&self.results()))
                .unwrap()
                .files
        }
    }

    fn planned(session: &str) -> CellRecord {
        CellRecord {
            session: builder::session(session),
            ..builder::planned("demo", "bf16")
        }
    }

    fn begin(store: &mut Store, record: &CellRecord, block: u32) -> EngineStart {
        let start = builder::start(record, block, &[]);
        let saved = store
            .begin_start(&record.cell.id, OFFLINE, start.clone())
            .unwrap();
        assert_eq!(saved, Saved::Synced);
        start
    }

    fn add(store: &mut Store, record: &CellRecord, start: &EngineStart, index: u32) -> Saved {
        let step = builder::step(index, Role::Measured, 1.0);
        store
            .append_step(&record.cell.id, OFFLINE, &start.id, &step)
            .unwrap()
    }

    #[test]
    fn a_run_leaves_a_private_record_and_an_empty_journal_folder() {
        let folder = Folder::new();
        let record = planned("s1");
        let mut store = folder.open("s1");
        assert_eq!(store.put_cell(record.clone()), Saved::Synced);
        assert_eq!(folder.record("demo_bf16.json").status, CellStatus::Planned);
        let start = begin(&mut store, &record, 0);
        for index in 0..3 {
            assert_eq!(add(&mut store, &record, &start, index), Saved::Synced);
        }
        assert!(folder.record("demo_bf16.json").starts.is_empty());
        assert_eq!(
            store.end_start(&record.cell.id, OFFLINE, start).unwrap(),
            Saved::Synced
        );
        store.close().unwrap();

        let read = folder.record("demo_bf16.json");
        assert_eq!(read.status, CellStatus::Done);
        assert_eq!(read.starts[0].steps.len(), 3);
        assert_eq!(read.starts[0].session, "s1");
        assert!(!read.fingerprint.engine.is_empty());
        assert!(folder.journals().is_empty());
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.results()), 0o700);
        assert_eq!(mode(&folder.results().join("demo_bf16.json")), 0o600);
    }

    #[test]
    fn a_second_session_is_refused_while_the_first_lives() {
        let folder = Folder::new();
        let first = folder.open("s1");
        let error = Store::open(folder.0.path(), &builder::session("s2")).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, StoreError::Busy { .. }));
        assert!(
            message.contains(&format!("pid {}", std::process::id())),
            "{message}"
        );
        drop(first);
        folder.open("s2");
    }

    #[test]
    fn steps_of_a_session_that_died_are_there_as_interrupted() {
        let folder = Folder::new();
        let record = planned("s1");
        let mut store = folder.open("s1");
        let _ = store.put_cell(record.clone());
        let start = begin(&mut store, &record, 0);
        let _ = add(&mut store, &record, &start, 0);
        let _ = add(&mut store, &record, &start, 1);
        drop(store); // as by SIGKILL: nothing is closed

        let store = folder.open("s2");
        assert_eq!(
            store.recovered(),
            Recovered {
                starts: 1,
                steps: 2
            }
        );
        let read = folder.record("demo_bf16.json");
        assert_eq!(read.starts[0].status, StartStatus::Interrupted);
        assert_eq!(read.starts[0].steps.len(), 2);
        drop(store);
        assert_eq!(folder.open("s3").recovered(), Recovered::default());
        assert_eq!(folder.record("demo_bf16.json"), read);
    }

    #[test]
    fn a_record_that_vanished_is_made_again_from_the_journal() {
        let folder = Folder::new();
        let record = planned("s1");
        let mut store = folder.open("s1");
        let _ = store.put_cell(record.clone());
        let start = begin(&mut store, &record, 0);
        let _ = add(&mut store, &record, &start, 0);
        drop(store);
        fs::remove_file(folder.results().join("demo_bf16.json")).unwrap();
        assert_eq!(folder.open("s2").recovered().steps, 1);
        assert_eq!(folder.record("demo_bf16.json").starts[0].steps.len(), 1);
    }

    #[test]
    fn a_new_run_sets_the_earlier_record_aside_whole() {
        let folder = Folder::new();
        let earlier = builder::done("demo", "bf16", &[&[1.0, 1.1, 0.9]]);
        let mut store = folder.open("s1");
        let _ = store.put_cell(earlier.clone());
        store.close().unwrap();
        let before = fs::read(folder.results().join("demo_bf16.json")).unwrap();

        let mut store = folder.open("s2");
        let _ = store.put_cell(planned("s2"));
        store.close().unwrap();
        let aside = folder
            .results()
            .join("previous/20260801T000000Z/demo_bf16.json");
        assert_eq!(fs::read(aside).unwrap(), before);
        assert!(folder.record("demo_bf16.json").starts.is_empty());
    }

    #[test]
    fn a_damaged_record_is_set_aside_too() {
        let folder = Folder::new();
        fs::create_dir(folder.results()).unwrap();
        fs::write(folder.results().join("demo_bf16.json"), b"{\"schema\":").unwrap();
        let mut store = folder.open("s1");
        assert_eq!(store.put_cell(planned("s1")), Saved::Synced);
        let aside = folder.results().join("previous/unreadable/demo_bf16.json");
        assert_eq!(fs::read(aside).unwrap(), b"{\"schema\":");
    }

    #[test]
    fn a_resumed_cell_keeps_its_complete_starts_and_their_session() {
        let folder = Folder::new();
        let mut store = folder.open("s1");
        let mut two = planned("s1");
        two.session.plan.blocks = 2;
        let _ = store.put_cell(two.clone());
        let start = begin(&mut store, &two, 0);
        let _ = add(&mut store, &two, &start, 0);
        let _ = store.end_start(&two.cell.id, OFFLINE, start).unwrap();
        let cut = begin(&mut store, &two, 1);
        let _ = add(&mut store, &two, &cut, 0);
        drop(store);

        let mut store = folder.open("s2");
        let mut now = planned("s2");
        now.session.plan.blocks = 2;
        let state = store.resume_state(&now).unwrap();
        assert!(state.has(Arm::Main, 0) && !state.has(Arm::Main, 1));
        assert_eq!(state.attempts[&(Arm::Main, 1)], 1);
        let _ = store.resume_cell(now.clone());
        let start = begin(&mut store, &now, 1);
        let _ = add(&mut store, &now, &start, 0);
        let _ = store.end_start(&now.cell.id, OFFLINE, start).unwrap();
        store.close().unwrap();

        let read = folder.record("demo_bf16.json");
        let facts: Vec<_> = read
            .starts
            .iter()
            .map(|s| (s.session.as_str(), s.block, s.status))
            .collect();
        assert_eq!(
            facts,
            [
                ("s1", 0, StartStatus::Complete),
                ("s1", 1, StartStatus::Interrupted),
                ("s2", 1, StartStatus::Complete)
            ]
        );
        assert_eq!(read.status, CellStatus::Done);
        assert_eq!(read.session.resumes.as_deref(), Some("s1"));
        assert!(!folder.results().join("previous").exists());
    }

    #[test]
    fn resume_refuses_what_was_not_measured_alike_and_says_what_differs() {
        let folder = Folder::new();
        let set = |record: &mut CellRecord, steps: u32, digest: &str| {
            record.settings.insert(
                "run.steps".to_owned(),
                crate::record::Setting {
                    value: steps.into(),
                    origin: "default".to_owned(),
                },
            );
            record.fingerprint.config = digest.to_owned();
        };
        let mut store = folder.open("s1");
        let mut record = builder::done("demo", "bf16", &[&[1.0]]);
        set(&mut record, 3, "a");
        let _ = store.put_cell(record);
        let mut now = planned("s2");
        set(&mut now, 5, "b");
        now.cell.checkpoint.as_mut().unwrap().bytes = Some(1);
        now.fingerprint.checkpoint = "other".to_owned();
        let error = store.resume_state(&now).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("run.steps: 3 -> 5"), "{message}");
        assert!(message.contains("checkpoint: "), "{message}");
        assert!(error.hint().unwrap().contains("--resume=force"));

        let mut facts = builder::start(&now, 0, &[]).engine.unwrap();
        facts
            .versions
            .insert("vllm".to_owned(), "0.33.0".to_owned());
        let message = store
            .check_engine(&now.cell.id, OFFLINE, &facts)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("engine vllm: 0.32.0+cpu -> 0.33.0"),
            "{message}"
        );
    }

    #[test]
    fn a_suspended_step_and_its_repetition_are_both_kept() {
        let folder = Folder::new();
        let record = planned("s1");
        let mut store = folder.open("s1");
        let _ = store.put_cell(record.clone());
        let start = begin(&mut store, &record, 0);
        let mut suspended = builder::step(1, Role::Measured, 9.0);
        suspended.status = StepStatus::Invalid;
        suspended.begin_mono_ns = 5;
        let append = |store: &mut Store, step: &Step| {
            store
                .append_step(&record.cell.id, OFFLINE, &start.id, step)
                .unwrap()
        };
        let _ = append(&mut store, &suspended);
        let _ = append(&mut store, &builder::step(1, Role::Measured, 1.0));
        drop(store);
        assert_eq!(folder.open("s2").recovered().steps, 2);
    }

    #[test]
    fn a_folder_that_goes_away_costs_nothing_once_it_can_be_made_again() {
        let folder = Folder::new();
        let record = planned("s1");
        let mut store = folder.open("s1");
        let _ = store.put_cell(record.clone());
        let start = begin(&mut store, &record, 0);
        assert_eq!(add(&mut store, &record, &start, 0), Saved::Synced);
        fs::remove_dir_all(folder.results()).unwrap();
        fs::write(folder.results(), b"in the way").unwrap();

        assert_eq!(add(&mut store, &record, &start, 1), Saved::Pending);
        assert_eq!(store.pending().unwrap().steps, 2);
        assert_eq!(store.retry(), Saved::Pending);
        fs::remove_file(folder.results()).unwrap();
        assert_eq!(
            store.end_start(&record.cell.id, OFFLINE, start).unwrap(),
            Saved::Pending
        );
        assert_eq!(store.retry(), Saved::Synced);
        assert!(store.pending().is_none());
        assert_eq!(folder.record("demo_bf16.json").starts[0].steps.len(), 2);
        store.close().unwrap();
        assert!(folder.journals().is_empty());
    }

    #[test]
    fn after_a_fault_the_running_start_is_journalled_anew() {
        let folder = Folder::new();
        let record = planned("s1");
        let mut store = folder.open("s1");
        let _ = store.put_cell(record.clone());
        let start = begin(&mut store, &record, 0);
        let _ = add(&mut store, &record, &start, 0);
        fs::remove_dir_all(folder.results()).unwrap();
        assert_eq!(add(&mut store, &record, &start, 1), Saved::Pending);
        assert_eq!(store.retry(), Saved::Synced);
        assert_eq!(add(&mut store, &record, &start, 2), Saved::Synced);
        drop(store);
        assert_eq!(
            folder.open("s2").recovered(),
            Recovered {
                starts: 1,
                steps: 3
            }
        );
    }

    #[test]
    fn an_unknown_start_is_a_defect() {
        let folder = Folder::new();
        let mut store = folder.open("s1");
        let record = planned("s1");
        let step = builder::step(0, Role::Measured, 1.0);
        let error = store
            .append_step(&record.cell.id, OFFLINE, "x", &step)
            .unwrap_err();
        assert!(matches!(error, StoreError::Unknown(_)));
    }
}
