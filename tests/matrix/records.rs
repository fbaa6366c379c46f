//! What a run leaves on the disk.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rollbench::testing::record::{CellRecord, CellStatus, Role, StepStatus};
use serde_json::json;

use crate::world::{TWO_CELLS, World, read_record};

fn sha(record: &CellRecord) -> &str {
    &record.workloads["main"].sha256
}

#[test]
fn every_cell_is_measured_with_the_same_requests_and_every_token_is_counted() {
    let world = World::new(TWO_CELLS);
    let outcome = world.run(&json!({}), &["--blocks", "2"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let records = [world.record("bf16"), world.record("w8a8")];
    assert_eq!(sha(&records[0]), sha(&records[1]));
    assert_eq!(sha(&records[0]).len(), 64);
    for record in &records {
        assert_eq!(record.status, CellStatus::Done);
        let blocks: Vec<u32> = record.starts.iter().map(|start| start.block).collect();
        assert_eq!(blocks, [0, 1]);
        for start in &record.starts {
            let roles: Vec<Role> = start.steps.iter().map(|step| step.role).collect();
            assert_eq!(roles, [Role::Warmup, Role::Measured, Role::Measured]);
            for step in &start.steps {
                assert_eq!(step.status, StepStatus::Ok, "{:?}", step.reasons);
                assert_eq!(step.sequences.prompt_tokens, [16; 8]);
                assert_eq!(step.sequences.output_tokens, [8; 8]);
                assert_eq!(step.submitted.requests, 8);
                assert_eq!(step.submitted.prompt_tokens, 128);
                assert!(step.makespan_ns > 0);
            }
        }
    }
    for file in [
        "summary.txt",
        "summary.csv",
        "summary.md",
        "summary.json",
        "steps.csv",
    ] {
        assert!(world.result(file).is_file(), "{file}");
    }
    assert_eq!(
        fs::read_to_string(world.result("summary.txt")).expect("there"),
        outcome.stdout
    );
    // 2 cells x 2 blocks x 3 steps, and a header.
    let steps = fs::read_to_string(world.result("steps.csv")).expect("there");
    assert_eq!(steps.lines().count(), 13, "{steps}");
    // Rendering again changes nothing.
    let before = fs::read(world.result("summary.json")).expect("there");
    let again = crate::world::Running::of(world.command(&json!({}), &["summarize", "."])).end();
    assert_eq!((again.code, again.stdout), (0, outcome.stdout));
    assert_eq!(
        fs::read(world.result("summary.json")).expect("there"),
        before
    );
}

#[test]
fn one_request_with_n_samples_gives_as_many_sequences() {
    let world = World::new(TWO_CELLS);
    let outcome = world.run(&json!({}), &["--fan-out", "n", "--quants", "bf16"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let record = world.record("bf16");
    for step in &record.starts[0].steps {
        assert_eq!(step.status, StepStatus::Ok, "{:?}", step.reasons);
        assert_eq!(step.submitted.requests, 4);
        let pairs: BTreeSet<(u32, u32)> = step
            .sequences
            .group
            .iter()
            .copied()
            .zip(step.sequences.sample.iter().copied())
            .collect();
        assert_eq!(pairs.len(), 8, "4 prompts x 2 samples");
        assert_eq!(step.sequences.output_tokens, [8; 8]);
    }
}

#[test]
fn without_the_baseline_there_is_a_note_and_no_ratio() {
    let world = World::new(TWO_CELLS);
    let outcome = world.run(&json!({}), &["--quants", "w8a8"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let said = format!("{}{}", outcome.stderr, outcome.stdout);
    assert!(said.contains("baseline"), "{said}");
    let csv = fs::read_to_string(world.result("summary.csv")).expect("there");
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    let headers = rows.headers().expect("a header").clone();
    let column = headers
        .iter()
        .position(|h| h == "speedup")
        .expect("a column");
    let row = rows.records().next().expect("a row").expect("CSV");
    assert_eq!(&row[column], "");
}

#[test]
fn a_second_run_in_the_same_folder_is_refused_and_told_who_is_there() {
    let world = World::new(TWO_CELLS);
    let slow = json!({"speed": 10});
    let mut first = world.start(&slow, &["--quants", "bf16"]);
    first.until_it_says("engine ready");
    let second = world.start(&json!({}), &[]).end();
    assert_eq!(second.code, 3, "{}", second.stderr);
    let who = format!("pid {}", first.pid());
    assert!(second.stderr.contains(&who), "{}", second.stderr);
    assert!(second.stderr.contains("--out"), "{}", second.stderr);
    first.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(first.end().code, 130);
    world.is_empty();
}

#[test]
fn a_subset_tomorrow_sets_only_its_own_cells_aside_and_one_summary_has_both_days() {
    let world = World::new(TWO_CELLS);
    assert_eq!(world.run(&json!({}), &["--quants", "bf16"]).code, 0);
    let bf16 = fs::read(world.result("tiny_bf16.json")).expect("a record");
    let outcome = world.run(&json!({}), &["--quants", "w8a8"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(
        fs::read(world.result("tiny_bf16.json")).expect("a record"),
        bf16
    );
    assert!(
        outcome.stdout.contains("measured in another session"),
        "{}",
        outcome.stdout
    );
    let cells = world.summary()["cells"].as_array().expect("cells").len();
    assert_eq!(cells, 2);

    // Measured anew, the earlier record is where it says, byte for byte; once more in the same second, too.
    let session = world.record("bf16").session.started;
    for _ in 0..2 {
        assert_eq!(world.run(&json!({}), &["--quants", "bf16"]).code, 0);
    }
    let kept = world
        .result("previous")
        .join(session.strftime("%Y%m%dT%H%M%SZ").to_string())
        .join("tiny_bf16.json");
    assert_eq!(fs::read(&kept).expect("set aside"), bf16);
    let mut sessions = BTreeSet::from([world.record("bf16").session.id]);
    for day in fs::read_dir(world.result("previous")).expect("there") {
        let file = day.expect("reads").path().join("tiny_bf16.json");
        sessions.insert(read_record(&file).session.id);
    }
    assert_eq!(sessions.len(), 3, "none of three is lost");
}

#[test]
fn no_two_prompts_of_a_session_are_alike_and_lengths_repeat() {
    let world = World::new(TWO_CELLS);
    let mut run = world.start(&json!({"speed": 10}), &["--quants", "bf16"]);
    run.until_it_says("engine ready");
    let mut prompts = BTreeSet::new();
    for step in 0..3 {
        let file = find(&world.path("runs"), &format!("{step}.prompts")).expect("a step's prompts");
        let rows = rows(&fs::read(file).expect("reads"));
        assert_eq!(rows.iter().map(Vec::len).collect::<Vec<_>>(), [16; 4]);
        assert!(
            rows.iter().flatten().all(|&id| id < 1000),
            "within the vocabulary"
        );
        prompts.extend(rows);
    }
    assert_eq!(prompts.len(), 12);
    run.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(run.end().code, 143);
}

/// The ids of each prompt, from the file that the driver reads.
fn rows(bytes: &[u8]) -> Vec<Vec<u32>> {
    let words: Vec<u32> = bytes[8..]
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes(word.try_into().expect("4 bytes")))
        .collect();
    let (groups, samples) = (words[0] as usize, words[1] as usize);
    let ids = &words[3 + groups + 3 * samples..];
    let offsets = &words[2..=2 + groups];
    offsets
        .windows(2)
        .map(|edge| ids[edge[0] as usize..edge[1] as usize].to_vec())
        .collect()
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()? {
        let path = entry.ok()?.path();
        if path.ends_with(name) {
            return Some(path);
        }
        if let Some(found) = path.is_dir().then(|| find(&path, name)).flatten() {
            return Some(found);
        }
    }
    None
}
