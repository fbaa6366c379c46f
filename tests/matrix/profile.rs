//! `run --profile`: the profiled session comes after the measured steps, is in no number, and says why.

use std::fs;

use serde_json::{Value, json};

use crate::trace::Model;
use crate::world::{Running, TWO_CELLS, World};

#[test]
fn a_profiled_run_says_why() {
    let world = World::new(TWO_CELLS);
    fs::write(
        world.path("ck/bf16/trace.json"),
        Model::bf16().chrome(20, 8),
    )
    .expect("written");
    fs::write(
        world.path("ck/w8a8/trace.json"),
        Model::w8a8().chrome(20, 8),
    )
    .expect("written");
    let outcome = world.run(&json!({}), &["--profile"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(
        outcome.stdout.contains("why: linear layers 1.46x faster"),
        "{}",
        outcome.stdout
    );

    let record: Value = serde_json::from_slice(
        &fs::read(world.path("benchmark_results/tiny_w8a8.json")).expect("read"),
    )
    .expect("JSON");
    let start = &record["starts"][0];
    let roles: Vec<&str> = start["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter_map(|step| step["role"].as_str())
        .collect();
    assert_eq!(roles, ["warmup", "measured", "measured", "profiled"]);
    assert_eq!(start["profile"]["status"], "complete");
    assert_eq!(start["profile"]["files"][0], "rank0.pt.trace.json.gz");
    assert!(
        world
            .path("benchmark_profiles/tiny_w8a8/rank0.pt.trace.json.gz")
            .exists()
    );
    let summary: Value = serde_json::from_slice(
        &fs::read(world.path("benchmark_results/summary.json")).expect("read"),
    )
    .expect("JSON");
    assert_eq!(
        summary["cells"][1]["why"]["categories"][0]["category"],
        "linear"
    );

    // The traces are not needed any more.
    fs::remove_dir_all(world.path("benchmark_profiles")).expect("removed");
    let again = Running::of(world.command(&json!({}), &["summarize", "."])).end();
    assert!(
        again.stdout.contains("why: linear layers 1.46x faster"),
        "{}",
        again.stdout
    );
}

#[test]
fn an_empty_profile_costs_nothing_but_itself() {
    let world = World::new(TWO_CELLS);
    fs::write(world.path("ck/bf16/trace.json"), "{\"traceEvents\": []}").expect("written");
    let outcome = world.run(&json!({}), &["--profile", "--quants", "bf16"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let record: Value = serde_json::from_slice(
        &fs::read(world.path("benchmark_results/tiny_bf16.json")).expect("read"),
    )
    .expect("JSON");
    assert_eq!(record["starts"][0]["status"], "complete");
    let status = record["starts"][0]["profile"]["status"]
        .as_str()
        .expect("a status");
    assert!(status.contains("no kernels"), "{status}");
}

#[test]
fn a_profiled_step_that_fails_stops_the_profiler_and_leaves_the_measured_steps() {
    let world = World::new(TWO_CELLS);
    // After a warm-up and two measured steps.
    let fake = json!({"fault": "missing_sequence", "step": 3});
    let outcome = world.run(&fake, &["--profile", "--quants", "bf16"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let record = world.record("bf16");
    let start = &record.starts[0];
    assert!(start.is_complete());
    assert_eq!(start.steps.len(), 3);
    let profile = start.profile.as_ref().expect("one was asked for");
    assert!(profile.status != "complete", "{profile:?}");
    // The fake writes when it is stopped.
    assert_eq!(profile.files, ["rank0.pt.trace.json.gz"]);
    assert!(start.stop.as_ref().is_some_and(|stop| stop.polite));
}
