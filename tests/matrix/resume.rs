//! `--resume`: complete engine starts are kept, the rest is measured, and nothing is put beside what is unlike it.

use std::fs;

use nix::sys::signal::Signal;
use rollbench::testing::record::{CellRecord, CellStatus, StartStatus};
use serde_json::json;

use crate::world::{TWO_CELLS, World};

fn statuses(record: &CellRecord) -> Vec<(StartStatus, u32, bool)> {
    record
        .starts
        .iter()
        .map(|start| (start.status, start.attempt, start.split))
        .collect()
}

#[test]
fn after_any_death_the_complete_starts_are_kept_and_the_rest_is_measured() {
    for (signal, code) in [
        (Signal::SIGINT, 130),
        (Signal::SIGTERM, 143),
        (Signal::SIGHUP, 129),
        (Signal::SIGKILL, 137),
    ] {
        let world = World::new(TWO_CELLS);
        let slow = json!({"speeds": {"w8a8": 40}});
        let mut run = world.start(&slow, &[]);
        run.until_it_says("w8a8: step 1/2:");
        run.signal(signal);
        assert_eq!(run.end().code, code);
        let before = world.record("bf16");
        assert_eq!(before.status, CellStatus::Done);

        let outcome = world.run(&json!({}), &["--resume"]);
        assert_eq!(outcome.code, 0, "{signal}: {}", outcome.stderr);
        let kept = world.record("bf16");
        assert_eq!(kept.starts, before.starts, "{signal}");
        assert_eq!(
            kept.session.resumes,
            Some(before.session.id.clone()),
            "{signal}"
        );
        let resumed = world.record("w8a8");
        assert_eq!(resumed.status, CellStatus::Done, "{signal}");
        // The first cell of the block ran in the session that died.
        assert_eq!(
            statuses(&resumed),
            [
                (StartStatus::Interrupted, 0, false),
                (StartStatus::Complete, 1, true)
            ],
            "{signal}"
        );
        assert_eq!(
            resumed.starts[0].steps.len(),
            2,
            "{signal}: what it had measured"
        );
        assert_eq!(resumed.starts[0].session, before.session.id);
        assert_ne!(resumed.starts[1].session, before.session.id);
        // Both steps of one engine start, not four of two.
        let steps = fs::read_to_string(world.result("steps.csv")).expect("there");
        let mut rows = csv::Reader::from_reader(steps.as_bytes());
        let names = rows.headers().expect("a header").clone();
        let column = |name: &str| names.iter().position(|n| n == name).expect("a column");
        let (precision, used) = (column("precision"), column("counted"));
        let counted = rows
            .records()
            .map(|row| row.expect("CSV"))
            .filter(|row| &row[precision] == "w8a8" && &row[used] == "true")
            .count();
        assert_eq!(counted, 2, "{signal}: {steps}");

        // Once more there is nothing to do, and nothing is done.
        let again = world.run(&json!({}), &["--resume"]);
        assert_eq!(again.code, 0, "{}", again.stderr);
        assert!(
            !again.stderr.contains("starting the engine"),
            "{}",
            again.stderr
        );
        assert_eq!(world.record("w8a8").starts, resumed.starts, "{signal}");
    }
}

#[test]
fn a_changed_configuration_is_refused_by_its_keys_and_measured_anew_by_force() {
    let world = World::new(TWO_CELLS);
    assert_eq!(world.run(&json!({}), &["--blocks", "2"]).code, 0);
    let before = fs::read(world.result("tiny_bf16.json")).expect("there");
    let other = TWO_CELLS.replace(
        "name = \"w8a8\"",
        "name = \"w8a8\"\nargs = { max_num_seqs = 4 }",
    );
    world.configure(&other);

    let refused = world.run(&json!({}), &["--blocks", "2", "--resume"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    let key = "tiny_w8a8 cannot be resumed: engine.args.max_num_seqs: (not set) -> 4";
    assert!(refused.stderr.contains(key), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("--resume=force"),
        "{}",
        refused.stderr
    );
    assert_eq!(
        fs::read(world.result("tiny_bf16.json")).expect("there"),
        before
    );

    let earlier = world.record("w8a8");
    let forced = world.run(&json!({}), &["--blocks", "2", "--resume=force"]);
    assert_eq!(forced.code, 0, "{}", forced.stderr);
    let record = world.record("w8a8");
    assert_eq!(record.starts.len(), 2);
    assert!(
        record
            .starts
            .iter()
            .all(|start| start.split && start.session != earlier.session.id)
    );
    assert_eq!(world.record("bf16").starts[0].session, earlier.session.id);
    let day = earlier
        .session
        .started
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string();
    let aside = world.result("previous").join(day).join("tiny_w8a8.json");
    assert_eq!(crate::world::read_record(&aside), earlier);
}

#[test]
fn another_engine_is_refused() {
    let world = World::new(TWO_CELLS);
    let mut run = world.start(&json!({"speeds": {"w8a8": 40}}), &["--blocks", "2"]);
    run.until_it_says("w8a8: step 1/2:");
    run.signal(Signal::SIGTERM);
    assert_eq!(run.end().code, 143);
    let newer = json!({"version": "0.33.0+fake"});
    let refused = world.run(&newer, &["--blocks", "2", "--resume"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    let change = "engine vllm: 0.32.0+fake -> 0.33.0+fake";
    assert!(refused.stderr.contains(change), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("without --resume"),
        "{}",
        refused.stderr
    );
}
