//! One engine start being written: begun, made ready, its steps, its end.

use std::borrow::Cow;
use std::path::PathBuf;

use super::{Cell, Fault, Key, Saved, Store, StoreError};
use crate::error::PathError;
use crate::profile::Digest;
use crate::record::journal::{self, Entry, Journal};
use crate::record::tokens::{write_sidecar, write_tokens};
use crate::record::{EngineFacts, EngineStart, Sidecar, StartStatus, Step};
use crate::units::{CellId, Mode};

/// An engine start that is being measured. It ends in every case: dropped, it was interrupted, or failed if it has a
/// failure.
#[derive(Debug)]
pub struct StartWriter<'s> {
    store: &'s mut Store,
    key: Key,
    start: EngineStart,
    /// Absent while the disk has not taken what it had to: then all of it is written anew.
    journal: Option<Journal>,
    /// A journal that failed, until all of it is written anew.
    broken: Option<PathBuf>,
    /// Bytes of steps that are only in memory.
    unwritten_bytes: u64,
    ended: bool,
}

/// How a step was taken.
#[derive(Debug)]
#[must_use]
pub struct Kept {
    /// Whether the step itself is safe.
    pub saved: Saved,
    /// Why its token times, which lie in a file of their own, are lost; absent if they are kept.
    pub tokens_lost: Option<PathError>,
}

impl Store {
    /// An engine start of an announced cell begins. What `head` says of session, status and steps is filled in.
    pub fn begin(
        &mut self,
        cell: &CellId,
        mode: Mode,
        head: EngineStart,
    ) -> Result<StartWriter<'_>, StoreError> {
        let key = (cell.clone(), mode);
        if !self.cells.contains_key(&key) {
            return Err(StoreError::Unknown(format!("cell {cell} ({mode})")));
        }
        let mut writer = StartWriter {
            start: EngineStart {
                session: self.session.id.clone(),
                status: StartStatus::Running,
                steps: Vec::new(),
                ..head
            },
            store: self,
            key,
            journal: None,
            broken: None,
            unwritten_bytes: 0,
            ended: false,
        };
        if writer.store.fault.is_none()
            && let Err(error) = writer.write_anew()
        {
            let _ = writer.store.failed(error);
        }
        Ok(writer)
    }
}

impl StartWriter<'_> {
    /// The start as it is known.
    pub fn start(&self) -> &EngineStart {
        &self.start
    }

    /// The same to be filled in. It is on the disk with the next call of [`StartWriter::ready`] or
    /// [`StartWriter::end`].
    pub fn start_mut(&mut self) -> &mut EngineStart {
        &mut self.start
    }

    /// The store, which is busy with this start.
    pub fn store(&mut self) -> &mut Store {
        self.store
    }

    /// The engine is ready: a death from now on does not lose what it said of itself. Refuses if it is not the engine of
    /// the cell's complete starts.
    pub fn ready(&mut self, facts: EngineFacts) -> Result<Saved, StoreError> {
        self.store.check_engine(&self.key, &facts)?;
        self.start.engine = Some(facts);
        Ok(self.log_state())
    }

    /// A step ended. `Saved::Synced` is the acknowledgement: it survives whatever happens now.
    pub fn step(&mut self, mut step: Step) -> Kept {
        let tokens_lost = self.move_tokens(&mut step).err();
        let line = journal::line(&Entry::Step {
            cell: Cow::Borrowed(&self.key.0),
            mode: self.key.1,
            start: Cow::Borrowed(&self.start.id),
            step: Cow::Borrowed(&step),
        });
        journal::add_step(&mut self.start, Cow::Owned(step));
        let saved = self.log(&line);
        if saved == Saved::Pending {
            self.unwritten_bytes += line.len() as u64;
        }
        Kept { saved, tokens_lost }
    }

    /// The start ended like this.
    pub fn end(mut self, status: StartStatus) -> Saved {
        self.finish(status)
    }

    /// See [`Store::pending`]; the steps of this start are among them.
    pub fn pending(&self) -> Option<Fault<'_>> {
        let fault = self.store.pending()?;
        Some(Fault {
            steps: fault.steps + self.start.steps.len(),
            ..fault
        })
    }

    /// Bytes of steps that are only in memory.
    pub fn unwritten_bytes(&self) -> u64 {
        self.unwritten_bytes
    }

    /// See [`Store::retry`].
    pub fn retry(&mut self) -> Saved {
        if self.store.retry() == Saved::Pending {
            return Saved::Pending;
        }
        if self.journal.is_some() {
            return Saved::Synced;
        }
        match self.write_anew() {
            Ok(()) => Saved::Synced,
            Err(error) => self.store.failed(error),
        }
    }

    fn cell(&mut self) -> &mut Cell {
        self.store
            .cells
            .get_mut(&self.key)
            .expect("a start is begun for an announced cell, and cells stay")
    }

    /// Moves the token times of `step`, if it has any, into a file beside the record.
    fn move_tokens(&self, step: &mut Step) -> Result<(), PathError> {
        if let Some(tokens) = step.tokens.take() {
            let file = format!("{}.{}.{}.tokens", self.key.0, self.start.id, step.index);
            step.detail = Some(write_tokens(&self.store.results, &file, &tokens)?);
        }
        Ok(())
    }

    /// Writes what the profile tells beside the record.
    pub(crate) fn keep_profile(&self, digests: &[Digest]) -> Result<Sidecar, PathError> {
        let file = format!("{}.{}.profile", self.key.0, self.start.id);
        let bytes = serde_json::to_vec(digests).unwrap_or_default();
        write_sidecar(&self.store.results, &file, &bytes)
    }

    fn log_state(&mut self) -> Saved {
        let line = journal::line(&Entry::State {
            cell: Cow::Borrowed(&self.key.0),
            mode: self.key.1,
            start: Cow::Owned(self.start.with_steps(Vec::new())),
        });
        self.log(&line)
    }

    /// Appends to the journal, unless a fault is open: then the order of lines could not be kept, and `retry` writes them
    /// all anew.
    fn log(&mut self, line: &[u8]) -> Saved {
        let Some(journal) = &mut self.journal else {
            return Saved::Pending;
        };
        // A folder that was removed takes writes to its open files all the same.
        let written = if self.store.lock.is_in_place() {
            journal.append(line)
        } else {
            Err(std::io::ErrorKind::NotFound.into())
        };
        let Err(error) = written else {
            return Saved::Synced;
        };
        let path = journal.path().to_owned();
        self.journal = None;
        self.broken = Some(path.clone());
        self.store.failed(PathError::on("write", path)(error))
    }

    /// Writes all of the start into a new journal.
    fn write_anew(&mut self) -> Result<(), PathError> {
        let mut journal = self.store.new_journal()?;
        let header = &self.store.cells[&self.key].header;
        if let Err(error) = journal.append_start(header, &self.start) {
            let path = journal.path().to_owned();
            let _ = journal.remove();
            return Err(PathError::on("write", path)(error));
        }
        self.journal = Some(journal);
        self.unwritten_bytes = 0;
        // Only now: it held what was acknowledged.
        if let Some(broken) = self.broken.take() {
            let _ = std::fs::remove_file(broken);
        }
        Ok(())
    }

    fn finish(&mut self, status: StartStatus) -> Saved {
        self.ended = true;
        self.start.status = status;
        let saved = self.log_state();
        let facts = self.start.engine.clone();
        let steps = std::mem::take(&mut self.start.steps);
        let start = self.start.with_steps(steps);
        let journal = self.journal.take();
        self.store.broken.extend(self.broken.take());
        let cell = self.cell();
        match journal {
            Some(journal) => cell.journals.push(journal.path().to_owned()),
            None => cell.unwritten.push(start),
        }
        if status == StartStatus::Complete && facts.is_some() {
            cell.engine = facts;
        }
        saved
    }
}

impl Drop for StartWriter<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let status = match self.start.failure {
                Some(_) => StartStatus::Failed,
                None => StartStatus::Interrupted,
            };
            let _ = self.finish(status);
        }
    }
}
