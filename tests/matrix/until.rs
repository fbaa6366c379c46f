//! `--until`: a second stage whose size is computed once, from the first.

use serde_json::{Value, json};

use crate::world::{TWO_CELLS, World};

#[test]
fn a_noisy_machine_gets_a_second_stage_and_the_interval_of_the_first() {
    let world = World::new(TWO_CELLS);
    // No two starts of a real process agree to a thousandth of a percent.
    let args = ["--until", "0.001%", "--max-blocks", "7", "--steps", "1"];
    let outcome = world.run(&json!({"speed": 4000}), &args);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("7 are run (--max-blocks), and the intervals will be wider"),
        "{}",
        outcome.stderr
    );
    for precision in ["bf16", "w8a8"] {
        let record = world.record(precision);
        let blocks: Vec<u32> = record.starts.iter().map(|start| start.block).collect();
        assert_eq!(blocks, [0, 1, 2, 3, 4, 5, 6], "the first stage is kept");
        assert!(
            record.starts[..6]
                .iter()
                .all(|s| s.session == record.starts[0].session)
        );
        assert_eq!(record.session.inference.first_stage, Some(6));
        assert_eq!(record.settings["run.blocks"].value, 7);
    }
    let summary = std::fs::read(world.result("summary.json")).expect("there");
    let summary: Value = serde_json::from_slice(&summary).expect("JSON");
    let estimate = &summary["cells"][1]["comparison"]["estimate"];
    assert_eq!(estimate["blocks"], 7);
    assert_eq!(
        estimate["interval"]["df"], 5.0,
        "of the first stage's spread"
    );
}

#[test]
fn a_wide_aim_needs_no_second_stage() {
    let world = World::new(TWO_CELLS);
    let outcome = world.run(
        &json!({"speed": 400}),
        &["--until", "95%", "--steps", "1", "--warmup", "0"],
    );
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("need 6 blocks in all"),
        "{}",
        outcome.stderr
    );
    assert_eq!(world.record("bf16").starts.len(), 6);
}

#[test]
fn two_rules_for_the_number_of_blocks_are_one_too_many() {
    let world = World::new(TWO_CELLS);
    let outcome = world.run(&json!({}), &["--until", "2%", "--blocks", "3"]);
    assert_eq!(outcome.code, 2);
    assert!(
        outcome
            .stderr
            .contains("--until decides how many engine starts there are")
    );
}
