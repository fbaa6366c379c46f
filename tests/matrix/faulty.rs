//! Engines that go wrong, each in a matrix with a second cell: nothing of them is left, no stranger is harmed, no step
//! that was acknowledged is lost, and the second cell is able to start.

use rollbench::testing::record::CellStatus;
use serde_json::json;

use crate::kills::{acknowledged, shared_memory, steps_of};
use crate::processes::Bystander;
use crate::table::{self, Tally};
use crate::world::{TWO_CELLS, World};

struct Scenario {
    name: &'static str,
    /// The fault of the fake vLLM.
    fault: &'static str,
    /// Keys of the first cell's precision.
    keys: &'static str,
    /// How that cell ends.
    status: CellStatus,
}

impl Scenario {
    /// The engine does its work all the same.
    const fn done(name: &'static str, fault: &'static str) -> Self {
        let (keys, status) = ("", CellStatus::Done);
        Self {
            name,
            fault,
            keys,
            status,
        }
    }

    const fn failed(name: &'static str, fault: &'static str, keys: &'static str) -> Self {
        let status = CellStatus::Failed;
        Self {
            name,
            fault,
            keys,
            status,
        }
    }
}

const SCENARIOS: &[Scenario] = &[
    Scenario::done(
        "a worker ignores SIGTERM, in a matrix",
        "ignore_sigterm_worker",
    ),
    Scenario::done(
        "a daemon, twice forked, with setsid, in a matrix",
        "double_fork_daemon",
    ),
    Scenario::done(
        "a grandchild holds the event pipe open, in a matrix",
        "hold_event_pipe",
    ),
    Scenario::done("a burst of 200 forks, in a matrix", "fork_burst"),
    Scenario::done("an engine prints without end, in a matrix", "print_forever"),
    Scenario::failed(
        "an engine hangs before it is ready",
        "hang_before_ready",
        "limits = { start_s = 2, stop_s = 1 }",
    ),
    Scenario::failed(
        "an engine hangs in a step",
        "hang_in_step",
        "limits = { stall_s = 2, stop_s = 1 }",
    ),
    Scenario::failed(
        "an engine core is SIGKILLed in a step",
        "kill_core_in_step",
        "",
    ),
    Scenario::failed("an engine answers garbage", "garbage", ""),
    Scenario::failed(
        "an engine speaks a wrong protocol version",
        "wrong_protocol",
        "",
    ),
    Scenario::failed("an engine exits 0 without `done`", "exit0_without_done", ""),
];

fn once(scenario: &Scenario, tally: &mut Tally) {
    let first = format!("name = \"bf16\"\n{}", scenario.keys);
    let world = World::new(&TWO_CELLS.replace("name = \"bf16\"", &first));
    let fault = json!({"fault": scenario.fault, "model": "bf16", "step": 1});
    let fake = json!({"speed": 2_000, "faults": [fault]});
    let outcome = world.start(&fake, &[]).end();
    tally.runs += 1;
    // At the end, and not some time after it.
    tally.survivors += world.survivors().len();
    let records = ["bf16", "w8a8"].map(|precision| (precision, world.record(precision)));
    let sessions: Vec<String> = records[0]
        .1
        .starts
        .iter()
        .map(|s| s.session.clone())
        .collect();
    tally.files += world.litter().len() + shared_memory(&sessions).len();
    let said = acknowledged(&outcome.stderr);
    for (precision, record) in &records {
        let kept = steps_of(record).count();
        *tally.lost.get_or_insert_default() += said[precision].saturating_sub(kept);
        let complete = record
            .starts
            .iter()
            .filter(|start| start.is_complete())
            .count();
        *tally.doubled.get_or_insert_default() += complete.saturating_sub(1);
    }
    assert_eq!(records[0].1.status, scenario.status, "{}", outcome.stderr);
    assert_eq!(records[1].1.status, CellStatus::Done, "{}", outcome.stderr);
    assert_eq!(said["w8a8"], 3, "the next cell: {}", outcome.stderr);
}

#[test]
fn whatever_an_engine_does_the_next_cell_finds_nothing_of_it() {
    let runs = if crate::soak() { 10 } else { 1 };
    let bystander = Bystander::start();
    table::head();
    let mut bad = 0;
    for scenario in SCENARIOS {
        let mut tally = Tally::default();
        for _ in 0..runs {
            once(scenario, &mut tally);
        }
        tally.strangers = bystander.harmed();
        bad += tally.print(scenario.name);
    }
    assert_eq!(bad, 0, "see the table");
}
