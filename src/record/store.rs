//! The store: keeps what is measured on the disk as it arrives, or says that it cannot.
//!
//! Each engine start is a journal of its own, which costs what that start costs. A cell's record is folded from them after
//! its last start, when the run ends, or by whoever opens the folder after a death; readers fold in memory.

mod error;
mod start_writer;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use self::error::StoreError;
pub(crate) use self::start_writer::StartWriter;
use super::atomic::{create_private_dir, remove_stale_temporaries, sync_dir};
use super::files::{Unread, read_record, set_aside, write_record};
use super::journal::{self, Journal};
use super::layout::{self, journal_dir, record_name};
use super::lock::{LockError, ResultsLock};
use super::replay::replay;
use super::resume::{self, ResumeState};
use super::{CellRecord, CellStatus, EngineFacts, EngineStart, Session};
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

/// What the store keeps of a cell.
#[derive(Debug)]
struct Cell {
    /// The record without starts.
    header: CellRecord,
    /// Whether starts in the file stay when it is written.
    keep: bool,
    /// Whether the file is to be written: its head is older, or it is to have every start.
    stale: bool,
    /// The journals of starts that have ended and are not in the file yet.
    journals: Vec<PathBuf>,
    /// Starts that have ended and of which no whole journal could be written.
    unwritten: Vec<EngineStart>,
    /// The engine of the last complete start of this session.
    engine: Option<EngineFacts>,
}

impl Cell {
    fn is_to_have_every_start(&mut self) {
        self.stale |= !self.journals.is_empty();
    }
}

/// The records of one results folder, held exclusively by one session.
#[derive(Debug)]
pub struct Store {
    results: PathBuf,
    session: Session,
    lock: ResultsLock,
    /// How many journals this session has begun.
    generation: u32,
    cells: BTreeMap<Key, Cell>,
    fault: Option<PathError>,
    /// Journals that failed, of starts that are unwritten.
    broken: Vec<PathBuf>,
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
        Ok(Self {
            results: results.to_owned(),
            session: session.clone(),
            lock,
            generation: 0,
            cells: BTreeMap::new(),
            fault: None,
            broken: Vec::new(),
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
            journals: Vec::new(),
            unwritten: Vec::new(),
            engine: None,
        });
        cell.header = record;
        cell.stale = true;
        cell.unwritten.extend(starts);
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

    /// Refuses if the engine that is ready now is not the one of the cell's complete starts.
    fn check_engine(&self, key: &Key, now: &EngineFacts) -> Result<(), StoreError> {
        let (cell, mode) = key;
        let in_this_session = self.cells.get(key).and_then(|cell| cell.engine.clone());
        let earlier = match in_this_session {
            Some(facts) => Some(facts),
            None => self.earlier(cell, *mode)?.and_then(|mut record| {
                let mut complete = record.starts.iter_mut().rev().filter(|s| s.is_complete());
                complete.find_map(|start| start.engine.take())
            }),
        };
        let changes =
            earlier.map_or_else(Vec::new, |earlier| resume::engine_changes(&earlier, now));
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

    /// The fault that keeps data in memory; absent if everything is on the disk.
    pub fn pending(&self) -> Option<Fault<'_>> {
        let starts = self.cells.values().flat_map(|cell| &cell.unwritten);
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

    /// Brings the records up to date with all engine starts that have ended.
    pub fn fold(&mut self) -> Saved {
        self.cells
            .values_mut()
            .for_each(Cell::is_to_have_every_start);
        let keys: Vec<Key> = self.cells.keys().cloned().collect();
        let written = keys.iter().all(|key| self.save(key) == Saved::Synced);
        if written {
            Saved::Synced
        } else {
            Saved::Pending
        }
    }

    /// The same for one cell: to be done after its last engine start, since it costs all of them.
    pub fn fold_cell(&mut self, cell: &CellId, mode: Mode) -> Saved {
        let key = (cell.clone(), mode);
        if let Some(cell) = self.cells.get_mut(&key) {
            cell.is_to_have_every_start();
        }
        self.save(&key)
    }

    /// Writes what is only in memory to a new file in `folder`, on another disk: a journal, which the next one to open
    /// (or read) the results takes over once it lies in [`Store::journal_folder`].
    pub fn rescue(&self, folder: &Path) -> Result<PathBuf, PathError> {
        // Sorts behind the session's own journals, whose lines are older.
        let path = folder.join(format!("rescued-{}.jsonl", self.session.id));
        let mut journal =
            Journal::create_at(path.clone()).map_err(PathError::on("create", &path))?;
        for cell in self.cells.values() {
            for start in &cell.unwritten {
                if let Err(error) = journal.append_start(&cell.header, start) {
                    let _ = journal.remove();
                    return Err(PathError::on("write", path)(error));
                }
            }
        }
        Ok(path)
    }

    /// Where journals lie.
    pub fn journal_folder(&self) -> PathBuf {
        journal_dir(&self.results)
    }

    /// Writes what is left into the records, and gives the folder back.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.cells
            .values_mut()
            .for_each(Cell::is_to_have_every_start);
        Ok(self.write_everything()?)
    }

    /// A journal for a start that begins, or that has to be written anew.
    fn new_journal(&mut self) -> Result<Journal, PathError> {
        let dir = journal_dir(&self.results);
        // A folder that was removed takes writes to its open files all the same.
        if !self.lock.is_in_place() {
            return Err(PathError::on("write", dir)(io::ErrorKind::NotFound.into()));
        }
        self.generation += 1;
        Journal::create(&dir, &self.session.id, self.generation)
            .map_err(PathError::on("create a file in", dir))
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

    /// Everything but a start that is running, which its writer writes anew.
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
        for broken in self.broken.drain(..) {
            let _ = std::fs::remove_file(broken);
        }
        Ok(())
    }

    /// Brings a cell's file up to date: its head, the starts in the file if they stay, and those that have ended since.
    fn write_cell(&mut self, key: &Key) -> Result<(), PathError> {
        let Some(cell) = self.cells.get_mut(key) else {
            return Ok(());
        };
        // What is only in memory does not wait for the fold.
        if !cell.stale && cell.unwritten.is_empty() {
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
        for file in &cell.journals {
            let (entries, _) = journal::read(file).map_err(PathError::on("read", file))?;
            for entry in entries {
                journal::apply(&mut record, entry);
            }
        }
        for start in &cell.unwritten {
            journal::apply_start(&mut record, Cow::Borrowed(start));
        }
        if record.status != CellStatus::Skipped && !record.starts.is_empty() {
            record.status = record.derived_status();
        }
        write_record(&path, &record)?;
        cell.stale = false;
        cell.unwritten.clear();
        for file in cell.journals.drain(..) {
            // If it stays, it is read once more, to no effect.
            let _ = std::fs::remove_file(file);
        }
        Ok(())
    }
}
