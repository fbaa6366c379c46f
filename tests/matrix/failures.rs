//! Cells that fail, each in its own way, in one matrix: each is recorded and explained, and the rest is measured.

use std::fmt::Write as _;

use rollbench::testing::record::{CellStatus, FailureKind, Phase, StepStatus};
use serde_json::{Value, json};

use crate::world::{TWO_CELLS, World};

struct Case {
    /// The precision's name; the fault's, with hyphens.
    name: &'static str,
    /// Keys of the precision, and of the fault.
    keys: &'static str,
    fault: fn() -> Value,
    phase: Phase,
    kind: FailureKind,
    /// A part of the message.
    message: &'static str,
    /// A part of the diagnosis or the hint.
    told: &'static str,
    /// A part of the tail.
    tail: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "die-in-load",
        keys: "",
        fault: || json!({"fault": "die_in_load"}),
        phase: Phase::Load,
        kind: FailureKind::Exited,
        message: "exit code 1",
        told: "",
        tail: "a made-up death",
    },
    Case {
        name: "hang-before-ready",
        keys: "limits = { start_s = 2, stop_s = 1 }",
        fault: || json!({"fault": "hang_before_ready"}),
        phase: Phase::Load,
        kind: FailureKind::Timeout,
        message: "not ready after 2 s",
        told: "",
        tail: "",
    },
    Case {
        name: "hang-in-step",
        keys: "limits = { stall_s = 2, stop_s = 1 }",
        fault: || json!({"fault": "hang_in_step", "step": 1}),
        phase: Phase::Measure,
        kind: FailureKind::Timeout,
        message: "2 s",
        told: "",
        tail: "",
    },
    Case {
        name: "exit0-without-done",
        keys: "",
        fault: || json!({"fault": "exit0_without_done"}),
        phase: Phase::Warmup,
        kind: FailureKind::Exited,
        message: "ended by itself (exit code 0)",
        told: "",
        tail: "",
    },
    Case {
        name: "garbage",
        keys: "",
        fault: || json!({"fault": "garbage"}),
        phase: Phase::Load,
        kind: FailureKind::Protocol,
        message: "this is no JSON",
        told: "",
        tail: "",
    },
    Case {
        name: "wrong-protocol",
        keys: "",
        fault: || json!({"fault": "wrong_protocol"}),
        phase: Phase::Load,
        kind: FailureKind::Protocol,
        message: "protocol 99",
        told: "",
        tail: "",
    },
    Case {
        name: "oom",
        keys: "",
        fault: || json!({"fault": "oom"}),
        phase: Phase::Load,
        kind: FailureKind::Engine,
        message: "Engine core initialization failed",
        told: "device memory ran out",
        tail: "CUDA out of memory",
    },
    Case {
        name: "no-kernel",
        keys: "",
        fault: || json!({"fault": "no_kernel"}),
        phase: Phase::Load,
        kind: FailureKind::Engine,
        message: "Engine core initialization failed",
        told: "no kernel for this precision",
        tail: "WNA16",
    },
    Case {
        name: "kill-core-in-step",
        keys: "",
        fault: || json!({"fault": "kill_core_in_step", "step": 2}),
        phase: Phase::Measure,
        kind: FailureKind::Exited,
        message: "signal 9",
        told: "SIGKILL",
        tail: "",
    },
    Case {
        name: "unknown-argument",
        keys: "args = { max_num_seq = 8 }",
        fault: || json!({"fault": null}),
        phase: Phase::Load,
        kind: FailureKind::Arguments,
        message: "`max_num_seq` (near: max_num_seqs",
        told: "",
        tail: "",
    },
];

/// Their precisions between two that work and one that only talks too much.
fn matrix() -> String {
    let mut text = TWO_CELLS
        .split("[[precision]]")
        .next()
        .expect("a head")
        .to_owned();
    let mut checkpoints = String::new();
    let ok = [("bf16", "baseline = true"), ("print-forever", "")];
    let cases = CASES.iter().map(|case| (case.name, case.keys));
    for (name, keys) in ok
        .into_iter()
        .chain(cases)
        .chain([("short-counts", ""), ("w8a8", "")])
    {
        let _ = writeln!(text, "[[precision]]\nname = \"{name}\"\n{keys}");
        let _ = writeln!(checkpoints, "checkpoints.{name} = \"ck/{name}\"");
    }
    text + "[[model]]\nname = \"tiny\"\n" + &checkpoints
}

#[test]
fn each_failing_cell_is_recorded_and_named_and_the_matrix_goes_on() {
    let world = World::new(&matrix());
    let faults = CASES.iter().map(|case| {
        let mut fault = (case.fault)();
        fault["model"] = case.name.into();
        fault
    });
    let more = ["print_forever", "short_counts"]
        .map(|fault| json!({"fault": fault, "model": fault.replace('_', "-")}));
    let fake = json!({"speed": 20_000, "faults": faults.chain(more).collect::<Vec<_>>()});
    let outcome = world.run(&fake, &[]);
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);

    for case in CASES {
        let record = world.record(case.name);
        assert_eq!(record.status, CellStatus::Failed, "{}", case.name);
        assert_eq!(record.starts.len(), 1, "{}", case.name);
        let start = &record.starts[0];
        let failure = start.failure.as_ref().expect("a failure");
        let shown = format!("{}: {failure:#?}\n{}", case.name, outcome.stderr);
        assert_eq!(
            (failure.phase, failure.kind),
            (case.phase, case.kind),
            "{shown}"
        );
        assert!(failure.message.contains(case.message), "{shown}");
        let told = format!("{:?} {:?}", failure.diagnosis, failure.hint);
        assert!(told.contains(case.told), "{shown}");
        assert!(failure.tail.join("\n").contains(case.tail), "{shown}");
        assert!(std::path::Path::new(&failure.log).is_file(), "{shown}");
        assert!(start.stop.is_some(), "{shown}");
        // Both while it runs and at the end.
        let named = format!("tiny {}: failed", case.name);
        assert!(outcome.stderr.contains(&named), "{shown}");
        assert!(outcome.stdout.contains(case.name), "{}", outcome.stdout);
    }
    // Steps that were measured before the failure are kept.
    assert_eq!(world.record("kill-core-in-step").starts[0].steps.len(), 2);
    assert_eq!(world.record("hang-in-step").starts[0].steps.len(), 1);

    for ok in ["bf16", "print-forever", "w8a8"] {
        let record = world.record(ok);
        assert_eq!(record.status, CellStatus::Done, "{ok}");
        assert_eq!(record.starts[0].steps.len(), 3, "{ok}");
    }
    // A step with wrong counts is no measurement, and the summary has no number for it.
    let short = world.record("short-counts");
    let warmup = &short.starts[0].steps[0];
    assert_eq!(warmup.status, StepStatus::Invalid);
    assert!(
        warmup.reasons[0].contains("7 of 8 tokens"),
        "{:?}",
        warmup.reasons
    );
}

#[test]
fn a_matrix_of_skips_alone_runs_nothing() {
    let world = World::new(TWO_CELLS);
    std::fs::remove_dir_all(world.path("ck")).expect("removed");
    let outcome = world.run(&json!({}), &[]);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("every selected cell is skipped"),
        "{}",
        outcome.stderr
    );
    assert!(!world.path("benchmark_results").exists());
}

#[test]
fn a_skipped_cell_has_a_record_and_a_line_with_its_reason() {
    let world = World::new(TWO_CELLS);
    std::fs::remove_dir_all(world.path("ck/w8a8")).expect("removed");
    let outcome = world.run(&json!({}), &[]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(world.record("w8a8").status, CellStatus::Skipped);
    assert!(
        outcome.stdout.contains("checkpoint does not exist"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn ray_is_refused_before_anything_starts_and_when_vllm_chooses_it_by_itself() {
    let ray = "args = { distributed_executor_backend = \"ray\" }";
    let asked = TWO_CELLS.replace("name = \"tiny\"", &format!("name = \"tiny\"\n{ray}"));
    let world = World::new(&asked);
    let refused = world.run(&json!({}), &[]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("allow_ray"), "{}", refused.stderr);
    assert!(!world.path("benchmark_results").exists());

    world.configure(&asked.replace("[run]", "[engine]\nallow_ray = true\n[run]"));
    let allowed = world.run(&json!({}), &["--quants", "bf16"]);
    assert_eq!(allowed.code, 0, "{}", allowed.stderr);
    assert!(
        allowed.stderr.contains("note: Ray is allowed"),
        "{}",
        allowed.stderr
    );

    world.configure(TWO_CELLS);
    let chosen = world.run(&json!({"executor": "ray"}), &["--quants", "bf16"]);
    assert_eq!(chosen.code, 1, "{}", chosen.stderr);
    let record = world.record("bf16");
    let failure = record.starts[0].failure.as_ref().expect("a failure");
    assert!(failure.message.contains("Ray"), "{failure:?}");
    assert_eq!(failure.kind, FailureKind::Arguments);
}
