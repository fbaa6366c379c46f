//! Deaths, faults and second sessions, on real folders.

use std::fs;

use super::*;
use crate::record::{Arm, Role, StartStatus, StepStatus, builder};
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

fn begin<'s>(store: &'s mut Store, record: &CellRecord, block: u32) -> StartWriter<'s> {
    let start = builder::start(record, block, &[]);
    store.begin(&record.cell.id, OFFLINE, start).unwrap()
}

fn add(writer: &mut StartWriter<'_>, index: u32) -> Saved {
    writer.step(builder::step(index, Role::Measured, 1.0)).saved
}

/// As by SIGKILL: nothing is closed, and no destructor runs, but the kernel drops the lock.
fn die(writer: StartWriter<'_>) {
    std::mem::forget(writer);
}

#[test]
fn a_run_leaves_a_private_record_and_an_empty_journal_folder() {
    let folder = Folder::new();
    let record = planned("s1");
    let mut store = folder.open("s1");
    assert_eq!(store.put_cell(record.clone()), Saved::Synced);
    assert_eq!(folder.record("demo_bf16.json").status, CellStatus::Planned);
    let mut writer = begin(&mut store, &record, 0);
    for index in 0..3 {
        assert_eq!(add(&mut writer, index), Saved::Synced);
    }
    assert_eq!(writer.end(StartStatus::Complete), Saved::Synced);
    assert!(folder.record("demo_bf16.json").starts.is_empty());
    assert_eq!(folder.journals().len(), 1);
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
    let mut writer = begin(&mut store, &record, 0);
    let _ = add(&mut writer, 0);
    let _ = add(&mut writer, 1);
    die(writer);
    drop(store);

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
    let mut writer = begin(&mut store, &record, 0);
    let _ = add(&mut writer, 0);
    die(writer);
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
    let mut writer = begin(&mut store, &two, 0);
    let _ = add(&mut writer, 0);
    let _ = writer.end(StartStatus::Complete);
    let mut cut = begin(&mut store, &two, 1);
    let _ = add(&mut cut, 0);
    die(cut);
    drop(store);

    let mut store = folder.open("s2");
    let mut now = planned("s2");
    now.session.plan.blocks = 2;
    let state = store.resume_state(&now).unwrap();
    assert!(state.has(Arm::Main, 0) && !state.has(Arm::Main, 1));
    assert_eq!(state.attempts[&(Arm::Main, 1)], 1);
    let _ = store.resume_cell(now.clone());
    let mut writer = begin(&mut store, &now, 1);
    let _ = add(&mut writer, 0);
    let _ = writer.end(StartStatus::Complete);
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
    let message = begin(&mut store, &now, 1)
        .ready(facts)
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
    let mut writer = begin(&mut store, &record, 0);
    let mut suspended = builder::step(1, Role::Measured, 9.0);
    suspended.status = StepStatus::Invalid;
    suspended.begin_mono_ns = 5;
    let _ = writer.step(suspended);
    let _ = add(&mut writer, 1);
    die(writer);
    drop(store);
    assert_eq!(folder.open("s2").recovered().steps, 2);
}

#[test]
fn a_folder_that_goes_away_costs_nothing_once_it_can_be_made_again() {
    let folder = Folder::new();
    let record = planned("s1");
    let mut store = folder.open("s1");
    let _ = store.put_cell(record.clone());
    let mut writer = begin(&mut store, &record, 0);
    assert_eq!(add(&mut writer, 0), Saved::Synced);
    fs::remove_dir_all(folder.results()).unwrap();
    fs::write(folder.results(), b"in the way").unwrap();

    assert_eq!(add(&mut writer, 1), Saved::Pending);
    assert_eq!(writer.pending().unwrap().steps, 2);
    assert!(writer.unwritten_bytes() > 0);
    assert_eq!(writer.retry(), Saved::Pending);
    fs::remove_file(folder.results()).unwrap();
    assert_eq!(writer.end(StartStatus::Complete), Saved::Pending);
    assert_eq!(store.pending().unwrap().steps, 2);
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
    let mut writer = begin(&mut store, &record, 0);
    let _ = add(&mut writer, 0);
    fs::remove_dir_all(folder.results()).unwrap();
    assert_eq!(add(&mut writer, 1), Saved::Pending);
    assert_eq!(writer.retry(), Saved::Synced);
    assert_eq!(writer.unwritten_bytes(), 0);
    assert_eq!(add(&mut writer, 2), Saved::Synced);
    die(writer);
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
fn a_start_that_nobody_ended_ends_with_its_writer() {
    let folder = Folder::new();
    let mut record = planned("s1");
    record.session.plan.blocks = 2;
    let mut store = folder.open("s1");
    let _ = store.put_cell(record.clone());
    let mut left = begin(&mut store, &record, 0);
    let _ = add(&mut left, 0);
    drop(left);
    let mut failed = begin(&mut store, &record, 1);
    let failure = builder::failed("demo", "bf16").starts[0].failure.clone();
    failed.start_mut().failure = failure;
    drop(failed);
    store.close().unwrap();
    let read = folder.record("demo_bf16.json");
    let ends: Vec<_> = read
        .starts
        .iter()
        .map(|start| (start.status, start.steps.len()))
        .collect();
    assert_eq!(
        ends,
        [(StartStatus::Interrupted, 1), (StartStatus::Failed, 0)]
    );
}

#[test]
fn the_end_of_a_start_writes_nothing_but_its_own_journal() {
    let folder = Folder::new();
    let mut record = planned("s1");
    record.session.plan.blocks = 3;
    let mut store = folder.open("s1");
    let _ = store.put_cell(record.clone());
    let file = folder.results().join("demo_bf16.json");
    let announced = fs::read(&file).unwrap();
    for (block, count) in (0..3).zip(1..) {
        let mut writer = begin(&mut store, &record, block);
        let _ = add(&mut writer, 0);
        let _ = writer.end(StartStatus::Complete);
        assert_eq!(fs::read(&file).unwrap(), announced);
        assert_eq!(folder.journals().len(), count);
    }
    assert_eq!(store.fold(), Saved::Synced);
    assert!(folder.journals().is_empty());
    let folded = folder.record("demo_bf16.json");
    assert_eq!(folded.status, CellStatus::Done);
    let blocks: Vec<u32> = folded.starts.iter().map(|start| start.block).collect();
    assert_eq!(blocks, [0, 1, 2]);
    assert!(!folded.fingerprint.engine.is_empty());
}

#[test]
fn what_a_death_left_folds_to_the_record_that_its_end_would_have_made() {
    let made = |die: bool| {
        let folder = Folder::new();
        let mut record = planned("s1");
        record.session.plan.blocks = 2;
        let mut store = folder.open("s1");
        let _ = store.put_cell(record.clone());
        for block in 0..2 {
            let mut writer = begin(&mut store, &record, block);
            let _ = add(&mut writer, 0);
            let _ = writer.end(StartStatus::Complete);
        }
        if die {
            drop(store);
            drop(folder.open("s2"));
        } else {
            store.close().unwrap();
        }
        folder.record("demo_bf16.json")
    };
    assert_eq!(made(true), made(false));
}

#[test]
fn a_cell_that_was_not_announced_is_a_defect() {
    let folder = Folder::new();
    let mut store = folder.open("s1");
    let record = planned("s1");
    let start = builder::start(&record, 0, &[]);
    let error = store.begin(&record.cell.id, OFFLINE, start).unwrap_err();
    assert!(matches!(error, StoreError::Unknown(_)));
}
