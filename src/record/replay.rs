//! What a session that died left in its journal goes into the records.

use std::fs;
use std::path::Path;

use super::atomic::create_private_dir;
use super::files::{Unread, free_name, read_record, set_aside, write_record};
use super::journal;
use super::layout::{self, record_name};
use super::store::{Recovered, StoreError};
use super::{CellRecord, EngineStart, StartStatus};
use crate::error::PathError;

/// Puts what the journals of dead sessions hold into the records, then removes the journals.
pub(super) fn replay(results: &Path, dir: &Path) -> Result<Recovered, StoreError> {
    let mut leftover = journal::read_leftover(dir).map_err(PathError::on("read", dir))?;
    let mut recovered = Recovered::default();
    for ((cell, mode, _), entries) in journal::by_session(std::mem::take(&mut leftover.entries)) {
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
