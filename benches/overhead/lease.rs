//! What supervision costs an engine: steps of fixed work (rounds of hashing, the same in every step) with the lease and
//! without it, engine starts in turn, and what the guard does meanwhile.
//!
//! The lease is what `ROLLBENCH_LEASE` names to the engine's processes; a cell may set any variable of its engine, and
//! without a name there is no lease. `tests/lease.toml` compares the same two on a real vLLM.

use rollbench::testing::record::{Arm, EngineStart};
use rollbench::testing::stats::{block_logs, blocks, paired};
use serde_json::json;

use crate::Table;
use crate::world::{GuardSeen, World};

/// Engine starts of each kind.
const BLOCKS: &str = "24";

/// Two cells of one checkpoint, apart in nothing but the lease.
const MATRIX: &str = r#"schema = 1
[[precision]]
name = "lease"
baseline = true
[[precision]]
name = "none"
env = { ROLLBENCH_LEASE = "" }
[[model]]
name = "m"
checkpoints = { lease = "bf16", none = "bf16" }
"#;

pub(crate) fn supervision(table: &mut Table) {
    // 2048 tokens a step, 20 of them an iteration: a third of a second.
    let world = World::with(MATRIX, &json!({"work": 400, "speed": 4_000}));
    let args = "--num-prompts 8 -n 8 --input-len 16 --output-len 32 --steps 3 --blocks";
    let args: Vec<&str> = args.split(' ').chain([BLOCKS]).collect();
    let seen = world.run(&args);
    let [lease, none] = ["lease", "none"].map(|cell| world.record(cell));

    let logs = |record| block_logs(record, Arm::Main);
    let differences = blocks::differences(&logs(&lease), &logs(&none));
    let differences: Vec<f64> = differences.into_iter().map(|(_, d)| d).collect();
    let estimate = paired(&differences, 1).expect("every block has both");
    let interval = estimate.interval.expect("of many blocks");
    let percent = |ratio: f64| 100.0 * (ratio - 1.0);
    table.row(
        "makespan with the lease over without it, % more (interval's lower end)",
        0.0,
        percent(interval.low),
    );
    println!(
        "  {:.4}, 95 % interval {:.4} to {:.4}, {} pairs of engine starts, 3 steps each: 1 is {} it",
        estimate.ratio,
        interval.low,
        interval.high,
        estimate.blocks,
        if interval.excludes_one() {
            "outside"
        } else {
            "in"
        },
    );

    let starts: Vec<&EngineStart> = [&lease, &none].iter().flat_map(|r| &r.starts).collect();
    let within = |start: &EngineStart| {
        let (first, last) = (start.steps.first()?, start.steps.last()?);
        let steps = first.begin_mono_ns..last.begin_mono_ns + last.makespan_ns;
        let mut looks = seen
            .guards
            .iter()
            .filter(|look| steps.contains(&look.at_ns));
        let first = looks.next()?;
        Some((first, looks.next_back()?))
    };
    let looks: Vec<_> = starts.iter().filter_map(|start| within(start)).collect();
    assert_eq!(looks.len(), starts.len(), "every guard was looked at");
    let spans = looks.iter().map(|(first, last)| last.at_ns - first.at_ns);
    let seconds = spans.sum::<u64>() as f64 / 1e9;
    let spent: u64 = looks
        .iter()
        .map(|(first, last)| last.cpu_ns - first.cpu_ns)
        .sum();
    table.row(
        format!("the guard's processor time in {seconds:.0} s of steps, ms"),
        1.0,
        spent as f64 / 1e6,
    );
    let most = |of: fn(&GuardSeen) -> u64| {
        let looks = seen.guards.iter().map(of);
        looks.max().expect("there were guards") as f64 / 1e6
    };
    table.row(
        "the guard's share of memory, MB (most)",
        5.0,
        most(|look| look.share_bytes),
    );
    println!(
        "  {:.1} MB with the pages of the binary and the C library that other processes have too",
        most(|look| look.resident_bytes)
    );
}
