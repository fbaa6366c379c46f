//! The store: keeps what is measured on the disk as it arrives, or says that it cannot.

mod error;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use self::error::StoreError;
use super::atomic::{create_private_dir, remove_stale_temporaries, sync_dir};
use super::files::{Unread, read_record, set_aside, write_record};
use super::journal::{self, Entry, Journal};
use super::layout::{self, journal_dir, record_name};
use super::lock::{LockError, ResultsLock};
use super::replay::replay;
use super::resume::{self, ResumeState};
use super::tokens::write_tokens;
use super::{CellRecord, CellStatus, EngineFacts, EngineStart, Session, StartStatus, Step};
use crate::error::PathError;
use crate::units::{CellId, Mode};

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

/// A cell in one mode.
pub(super) type Key = (CellId, Mode);

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

    /// Moves the token times of `step`, if it has any, into a file beside the record, before the step is appended.
    pub fn keep_tokens(
        &self,
        cell: &CellId,
        start: &str,
        step: &mut Step,
    ) -> Result<(), PathError> {
        if let Some(tokens) = step.tokens.take() {
            let file = format!("{cell}.{start}.{}.tokens", step.index);
            step.detail = Some(write_tokens(&self.results, &file, &tokens)?);
        }
        Ok(())
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

    /// More is known of a running engine start, such as the devices it got and what the engine said of itself: a death
    /// from now on does not lose it. The steps of `start` are not looked at.
    pub fn update_start(
        &mut self,
        cell: &CellId,
        mode: Mode,
        start: &EngineStart,
    ) -> Result<Saved, StoreError> {
        let mut known = start.clone();
        known.session.clone_from(&self.session.id);
        known.steps.clear();
        let running = self.running(cell, mode, &start.id)?;
        let steps = std::mem::take(&mut running.steps);
        *running = EngineStart {
            steps,
            ..known.clone()
        };
        Ok(self.log(&Entry::State {
            cell: Cow::Borrowed(cell),
            mode,
            start: Cow::Owned(known),
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
        let _ = self.log(&Entry::State {
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
                start: Cow::Owned(start.with_steps(Vec::new())),
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
                journal.append(&Entry::State {
                    cell: Cow::Borrowed(cell),
                    mode: *mode,
                    start: Cow::Owned(start.with_steps(Vec::new())),
                })?;
            }
        }
    }
    Ok(())
}
