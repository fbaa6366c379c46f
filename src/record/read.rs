//! Reading a results folder as it is found: what cannot be read is named with its reason and passed over, the rest
//! is taken. Nothing is changed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};

use super::fidelity::FIDELITY_SUFFIX;
use super::import::{self, Foreign};
use super::journal::{self, Entry};
use super::layout::{journal_dir, record_name, sweep_name};
use super::tokens::{read_sidecar, read_tokens};
use super::{CellRecord, CellStatus, SCHEMA, StartStatus, lock};
use crate::error::PathError;

/// One readable file.
#[derive(Debug)]
pub(crate) enum Found {
    /// A record of rollbench.
    Record(Box<CellRecord>),
    /// A result of another program.
    Foreign(Foreign),
}

/// A file that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Its name in the results folder.
    pub file: String,
    /// Why.
    pub reason: String,
}

/// Applies `derive` to everything readable in the results folder `results`, in the order of the file names, and
/// names the rest. Files are read in parallel; of each only what `derive` returns is kept.
///
/// What a journal holds beyond the records is taken into account: as running while the session lives, as
/// interrupted after its death.
pub(crate) fn read_results<T: Send>(
    results: &Path,
    derive: impl Fn(Found) -> T + Sync,
) -> Result<(Vec<T>, Vec<PassedOver>), PathError> {
    let journal = Overlay::read(results)?;
    let (files, mut passed_over) = candidates(results, &journal)?;
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(files.len()));
    let work = || {
        while let Some(name) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = read_one(results, name, &journal).map(&derive);
            done.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push((name.clone(), outcome));
        }
    };
    let threads = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(8);
    thread::scope(|scope| {
        for _ in 1..threads.min(files.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut done = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by(|a, b| a.0.cmp(&b.0));
    let mut read = Vec::new();
    for (file, outcome) in done {
        match outcome {
            Ok(derived) => read.push(derived),
            Err(reason) => passed_over.push(PassedOver { file, reason }),
        }
    }
    Ok((read, passed_over))
}

/// The names of all files that may hold a result, sorted, those that only a journal knows too; and what has a name
/// that no result has.
fn candidates(
    results: &Path,
    journal: &Overlay,
) -> Result<(Vec<String>, Vec<PassedOver>), PathError> {
    let mut nameless = Vec::new();
    let mut names: Vec<String> = journal.entries.keys().cloned().collect();
    for entry in fs::read_dir(results).map_err(PathError::on("read", results))? {
        let entry = entry.map_err(PathError::on("read", results))?;
        let path = entry.path();
        if path.is_dir() {
            names.extend(of_sweep(&path));
            continue;
        }
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        match entry.file_name().into_string() {
            Ok(name)
                if name == "summary.json"
                    || name.starts_with('.')
                    || name.ends_with(FIDELITY_SUFFIX) => {}
            Ok(name) => names.push(name),
            Err(name) => nameless.push(PassedOver {
                file: name.to_string_lossy().into_owned(),
                reason: "its name is not UTF-8".to_owned(),
            }),
        }
    }
    names.sort();
    names.dedup();
    Ok((names, nameless))
}

/// The results in a folder of `vllm bench sweep`, relative to the folder above; `summary.json` there repeats them.
fn of_sweep(folder: &Path) -> Vec<String> {
    let name = folder.file_name().and_then(|name| name.to_str());
    let Some(name) = name.filter(|name| sweep_name(name).is_some()) else {
        return Vec::new();
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|file| file != "summary.json")
        .filter(|file| Path::new(file).extension().is_some_and(|e| e == "json"))
        .map(|file| format!("{name}/{file}"))
        .collect()
}

/// The name of the folder that the file called `name` lies in.
fn folder_of(results: &Path, name: &str) -> String {
    let path = results
        .canonicalize()
        .unwrap_or_else(|_| results.to_owned());
    let path = path.join(name);
    let folder = path.parent().and_then(Path::file_name);
    folder.map_or_else(String::new, |folder| folder.to_string_lossy().into_owned())
}

fn read_one(results: &Path, name: &str, journal: &Overlay) -> Result<Found, String> {
    let bytes = match super::read_regular(&results.join(name)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return journal
                .only(name)
                .map(|record| Found::Record(Box::new(record)))
                .ok_or_else(|| "has gone away".to_owned());
        }
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    let mut found = parse(results, name, &bytes)?;
    if let Found::Record(record) = &mut found {
        journal.add_to(name, record);
        record.validate()?;
        read_details(results, record);
    }
    Ok(found)
}

/// What lies beside the record: token times, and what profiles tell. Gaps between tokens are absent where their file is gone or is another one.
fn read_details(results: &Path, record: &mut CellRecord) {
    for step in record.starts.iter_mut().flat_map(|start| &mut start.steps) {
        step.tokens = step
            .detail
            .as_ref()
            .and_then(|sidecar| read_tokens(results, sidecar));
    }
    for profile in record
        .starts
        .iter_mut()
        .filter_map(|start| start.profile.as_mut())
    {
        let read = profile
            .digest
            .as_ref()
            .and_then(|sidecar| read_sidecar(results, sidecar));
        let digests = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        profile.digests = digests.unwrap_or_default();
    }
}

/// What the bytes of a file called `name` are; `Err` says why they are nothing.
fn parse(results: &Path, name: &str, bytes: &[u8]) -> Result<Found, String> {
    #[derive(Deserialize)]
    struct Probe {
        schema: Option<String>,
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8 (at byte {})", error.valid_up_to()))?;
    if text.trim().is_empty() {
        return Err("empty".to_owned());
    }
    // Our own writer puts the schema first; only for other files is it searched for.
    let ours = text.starts_with(&format!("{{\"schema\":\"{SCHEMA}\""));
    if !ours {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Probe>();
        match values.next() {
            Some(Ok(Probe {
                schema: Some(schema),
            })) if schema == SCHEMA => {}
            Some(Ok(Probe {
                schema: Some(schema),
            })) => return Err(other_schema(&schema)),
            Some(Err(error)) if error.is_syntax() || error.is_eof() => {
                return Err(syntax(text, &error));
            }
            _ => return import::import(name, &folder_of(results, name), text).map(Found::Foreign),
        }
    }
    let record: CellRecord = serde_json::from_str(text).map_err(|error| syntax(text, &error))?;
    let right = record_name(&record.cell.id, record.cell.mode);
    if right == name {
        Ok(Found::Record(Box::new(record)))
    } else {
        Err(format!("holds the record that belongs into {right}"))
    }
}

fn other_schema(schema: &str) -> String {
    let version =
        |schema: &str| -> Option<u32> { schema.strip_prefix("rollbench.cell/")?.parse().ok() };
    match (version(schema), version(SCHEMA)) {
        (Some(theirs), Some(ours)) if theirs > ours => {
            format!("written by a newer rollbench ({schema}; this one reads {SCHEMA})")
        }
        _ => format!("schema {schema:?} is unknown (this rollbench reads {SCHEMA})"),
    }
}

/// A JSON error in words that say what happened to the file.
fn syntax(text: &str, error: &serde_json::Error) -> String {
    if error.is_eof() {
        return format!("cut short: {error}");
    }
    let line = text
        .lines()
        .nth(error.line().saturating_sub(1))
        .unwrap_or_default();
    let from = error.column().saturating_sub(2);
    let near: String = line.bytes().skip(from).take(12).map(char::from).collect();
    if error.is_syntax() && (near.contains("NaN") || near.contains("Inf")) {
        return format!("holds NaN or Infinity, which no measurement gives: {error}");
    }
    let what = if error.is_syntax() {
        "not JSON"
    } else {
        "not a valid record"
    };
    format!("{what}: {error}")
}

/// What the journals hold, by the name of the record that it belongs to, one list a session.
struct Overlay {
    entries: BTreeMap<String, Vec<Vec<Entry<'static>>>>,
    live: bool,
}

impl Overlay {
    fn read(results: &Path) -> Result<Self, PathError> {
        let dir: PathBuf = journal_dir(results);
        let leftover = journal::read_leftover(&dir).map_err(PathError::on("read", &dir))?;
        let mut entries: BTreeMap<String, Vec<Vec<Entry<'static>>>> = BTreeMap::new();
        for ((cell, mode, _), of_session) in journal::by_session(leftover.entries) {
            let name = record_name(&cell, mode);
            entries.entry(name).or_default().push(of_session);
        }
        let live = !entries.is_empty() && lock::holder(&dir).is_some();
        Ok(Self { entries, live })
    }

    /// Adds what the record's own session said. What another left beside a newer record is set aside by the next one to
    /// open the folder.
    fn add_to(&self, name: &str, record: &mut CellRecord) {
        let session = record.session.id.clone();
        let own = |entries: &&Vec<Entry<'static>>| {
            journal::first_head(entries).is_none_or(|head| head.session.id == session)
        };
        let Some(all) = self.entries.get(name) else {
            return;
        };
        for entry in all.iter().filter(own).flatten() {
            journal::apply(record, entry.clone());
        }
        if !self.live {
            journal::interrupt_running(record);
        } else if record.status != CellStatus::Skipped
            && record
                .starts
                .iter()
                .any(|start| start.status != StartStatus::Running)
        {
            record.status = record.derived_status();
        }
    }

    fn only(&self, name: &str) -> Option<CellRecord> {
        let mut heads = self.entries.get(name)?.iter();
        let mut record = heads.find_map(|entries| journal::first_head(entries))?;
        self.add_to(name, &mut record);
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RESULTS, Role, Store, builder};
    use super::*;

    fn write(dir: &Path, name: &str, bytes: &[u8]) {
        fs::write(dir.join(name), bytes).unwrap();
    }

    #[test]
    fn bad_files_are_named_with_a_reason_and_the_rest_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let good = builder::done("demo", "bf16", &[&[1.0]]);
        let json = serde_json::to_string(&good).unwrap();
        let put = |name: &str, text: &str| write(dir.path(), name, text.as_bytes());
        put("demo_bf16.json", &json);
        put("a_empty.json", "");
        put("a_truncated.json", &json[..json.len() / 2]);
        put("a_future.json", &json.replace("cell/1", "cell/2"));
        put("a_older.json", &json.replace("rollbench.cell/1", "else/1"));
        put("a_foreign.json", r#"{"hello": "world"}"#);
        put("a_list.json", "[1, 2]");
        put("a_text.json", "Results follow\n");
        put(
            "a_nan.json",
            &json.replace("\"load_s\":40.0", "\"load_s\":NaN"),
        );
        put(
            "a_negative.json",
            &json.replacen("\"makespan_ns\":", "\"makespan_ns\":-", 1),
        );
        put("a_copy.json", &json);
        put("a_missing.json", r#"{"schema":"rollbench.cell/1"}"#);
        write(dir.path(), "a_bytes.json", b"{\"schema\":\"\xff\"}");
        write(dir.path(), "summary.json", b"");
        write(dir.path(), "steps.csv", b"");
        write(dir.path(), ".demo_bf16.json.1.tmp", b"");
        fs::create_dir(dir.path().join("folder.json")).unwrap();
        let before: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();

        let (read, passed_over) = read_results(dir.path(), |found| match found {
            Found::Record(record) => *record,
            Found::Foreign(foreign) => panic!("{foreign:?}"),
        })
        .unwrap();
        assert_eq!(read, [good]);
        // Where in the file is true of this version of the record only.
        let place = |reason: &str| reason.find(" at line").unwrap_or(reason.len());
        let lines: Vec<String> = passed_over
            .iter()
            .map(|p| format!("{}: {}", p.file, &p.reason[..place(&p.reason)]))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        a_bytes.json: not UTF-8 (at byte 11)
        a_copy.json: holds the record that belongs into demo_bf16.json
        a_empty.json: empty
        a_foreign.json: neither a record nor a result of `vllm bench throughput` or `vllm bench serve`
        a_future.json: written by a newer rollbench (rollbench.cell/2; this one reads rollbench.cell/1)
        a_list.json: neither a record nor a result of `vllm bench throughput` or `vllm bench serve`
        a_missing.json: not a valid record: missing field `session`
        a_nan.json: holds NaN or Infinity, which no measurement gives: expected value
        a_negative.json: not a valid record: invalid value: integer `-2000000000`, expected u64
        a_older.json: schema "else/1" is unknown (this rollbench reads rollbench.cell/1)
        a_text.json: not JSON: expected value
        a_truncated.json: cut short: EOF while parsing a string
        "#);
        let after: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        assert_eq!(before, after);
    }

    #[test]
    fn what_only_the_journal_holds_is_running_while_its_session_lives_and_interrupted_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let record = builder::planned("demo", "bf16");
        let (cell, mode) = (&record.cell.id, record.cell.mode);
        let mut store = Store::open(dir.path(), &record.session).unwrap();
        let _ = store.put_cell(record.clone());
        let start = builder::start(&record, 0, &[]);
        let mut writer = store.begin(cell, mode, start).unwrap();
        let step = builder::step(1, Role::Measured, 1.0);
        let _ = writer.step(step.clone());

        let results = dir.path().join(RESULTS);
        let starts = || {
            let (mut read, passed_over) = read_results(&results, |found| match found {
                Found::Record(record) => record.starts,
                Found::Foreign(foreign) => panic!("{foreign:?}"),
            })
            .unwrap();
            assert_eq!(passed_over, []);
            read.remove(0)
        };
        let live = starts();
        assert_eq!(
            (live[0].status, live[0].steps.len()),
            (StartStatus::Running, 1)
        );
        fs::remove_file(results.join("demo_bf16.json")).unwrap();
        assert_eq!(starts()[0].steps, [step]);
        // As by SIGKILL.
        std::mem::forget(writer);
        drop(store);
        assert_eq!(starts()[0].status, StartStatus::Interrupted);
    }

    #[test]
    fn a_pretty_printed_record_is_read_too() {
        let good = builder::done("demo", "bf16", &[&[1.0]]);
        let text = serde_json::to_string_pretty(&good).unwrap();
        assert!(
            matches!(parse(Path::new("results"), "demo_bf16.json", text.as_bytes()), Ok(Found::Record(r)) if *r == good)
        );
    }
}
