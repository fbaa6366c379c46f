//! What rollbench itself costs: `cargo bench --bench overhead` runs the real binary before the fake vLLM of
//! `tests/fakes`, prints what was measured beside its limit, and fails if a limit is exceeded.
//! `-- supervision` (or `binary`, `cells`, `big_step`) is one part of it.
//!
//! Times inside a session come from its records: an engine's start (launch to ready), its steps and its stop are the
//! engine's; what is left of the wall time is rollbench's. On a busy machine these are upper bounds.

mod lease;
mod world;

use std::fmt::Display;
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use rollbench::testing::record::{EngineStart, Step};
use serde_json::json;

use crate::world::{World, path, rollbench};

/// Sequences of the big step: as many prompts, the most that its memory can be asked for.
const SEQUENCES: u32 = 20_000;

/// Its name and what it does.
type Part = (&'static str, fn(&mut Table));

fn main() -> ExitCode {
    println!("{:<76} {:>8} {:>9}", "what", "limit", "measured");
    let mut table = Table::default();
    let parts: [Part; 4] = [
        ("binary", binary),
        ("cells", cells),
        ("big_step", big_step),
        ("supervision", lease::supervision),
    ];
    // cargo adds `--bench`.
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    for (name, part) in parts {
        if wanted.as_ref().is_none_or(|wanted| wanted == name) {
            part(&mut table);
        }
    }
    table.verdict()
}

/// An engine so fast that what is not the engine's shows.
fn fast() -> serde_json::Value {
    json!({"speed": 2_000_000})
}

fn binary(table: &mut Table) {
    let size = fs::metadata(path()).expect("the binary is there").len();
    table.row("size of the binary, MB", 20.0, size as f64 / 1e6);
    let help = |_| {
        let begin = Instant::now();
        let output = rollbench().arg("--help").output();
        assert!(output.expect("it starts").status.success());
        ms(begin.elapsed())
    };
    // The least is what it costs; more is what else the machine did.
    let fastest = (0..50).map(help).fold(f64::INFINITY, f64::min);
    table.row("rollbench --help, ms (least of 50)", 10.0, fastest);
}

/// Five engine starts of each of two cells, three measured steps each.
fn cells(table: &mut Table) {
    let world = World::new(&fast());
    let begin = Instant::now();
    world.run(&["--blocks", "5", "--steps", "3"]);
    let wall = begin.elapsed();
    let records = ["bf16", "w8a8"].map(|precision| world.record(precision));
    let mut starts: Vec<&EngineStart> = records.iter().flat_map(|record| &record.starts).collect();
    starts.sort_by_key(|start| start.clock.mono_ns);
    assert_eq!(starts.len(), 10, "every start is complete");

    let engines: Duration = starts.iter().map(|start| engine_time(start)).sum();
    let own = wall.saturating_sub(engines) / 10;
    table.row("own time per cell, s", 1.0, own.as_secs_f64());
    let between = starts.iter().flat_map(|start| gaps(&start.steps));
    table.row(
        "step's end to the next one's begin, ms (median)",
        50.0,
        median(between),
    );
    let handed = starts
        .windows(2)
        .map(|pair| between_engines(pair[0], pair[1]));
    table.row(
        "cell's stop to the next one's spawn, ms (median)",
        100.0,
        median(handed),
    );
}

/// A warm-up and three measured steps of 20,000 prompts of 512 tokens.
fn big_step(table: &mut Table) {
    let world = World::new(&fast());
    let sequences = SEQUENCES.to_string();
    let workload = "--quants bf16 -n 1 --output-len 2 --steps 3 --num-prompts";
    let args: Vec<&str> = workload.split(' ').chain([&*sequences]).collect();
    let seen = world.run(&args);
    let record = world.record("bf16");
    let start = &record.starts[0];
    let peak = seen.peak_bytes as f64 / 1e6;
    table.row("20,000 sequences: rollbench's peak memory, MB", 200.0, peak);
    let written: Vec<Duration> = seen.journal.iter().map(|at| since(start, *at)).collect();
    let slowest = start.steps.iter().map(|step| {
        let end = Duration::from_nanos(step.begin_mono_ns + step.makespan_ns);
        let later = written.iter().find(|at| **at > end);
        let later = later.expect("every step is journalled");
        ms(later.saturating_sub(end))
    });
    table.row(
        "20,000 sequences: step's end to its line in the journal, ms (most)",
        1000.0,
        slowest.fold(0.0, f64::max),
    );
    let whole = fs::metadata(world.record_path("bf16")).and_then(|file| file.modified());
    let whole = since(start, whole.expect("the record is there"));
    table.row(
        "20,000 sequences x 4 steps: engine's end to the whole record, ms",
        1000.0,
        ms(whole.saturating_sub(stopped(start))),
    );
}

/// What the engine took: launch to ready, steps, stop.
fn engine_time(start: &EngineStart) -> Duration {
    let facts = start.engine.as_ref().expect("it was ready");
    let steps: u64 = start.steps.iter().map(|step| step.makespan_ns).sum();
    let stop = start.stop.as_ref().expect("it was stopped").ms;
    Duration::from_secs_f64(facts.load_s)
        + Duration::from_nanos(steps)
        + Duration::from_millis(stop)
}

fn gaps(steps: &[Step]) -> impl Iterator<Item = f64> {
    steps.windows(2).map(|pair| {
        let end = pair[0].begin_mono_ns + pair[0].makespan_ns;
        ms(Duration::from_nanos(pair[1].begin_mono_ns - end))
    })
}

/// From the end of the last step, without the stop, to the first step of the next start, without its load: gates,
/// records, the spawn and the laying out of requests.
fn between_engines(before: &EngineStart, after: &EngineStart) -> f64 {
    let begin = Duration::from_nanos(after.steps[0].begin_mono_ns);
    let load = after.engine.as_ref().expect("it was ready").load_s;
    ms(begin.saturating_sub(Duration::from_secs_f64(load) + stopped(before)))
}

/// When the engine was gone, on the monotonic clock.
fn stopped(start: &EngineStart) -> Duration {
    let last = start.steps.last().expect("it has steps");
    let stop = start.stop.as_ref().expect("it was stopped").ms;
    Duration::from_nanos(last.begin_mono_ns + last.makespan_ns) + Duration::from_millis(stop)
}

/// The monotonic clock at `wall`; what was before the start counts as then.
fn since(start: &EngineStart, wall: SystemTime) -> Duration {
    let begun = SystemTime::try_from(start.clock.wall).expect("after 1970");
    let later = wall.duration_since(begun).unwrap_or_default();
    Duration::from_nanos(start.clock.mono_ns) + later
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ms(time: Duration) -> f64 {
    1000.0 * time.as_secs_f64()
}

/// What was measured, and whether all of it is within its limit.
#[derive(Default)]
struct Table {
    exceeded: u32,
}

impl Table {
    fn row(&mut self, what: impl Display, limit: f64, measured: f64) {
        let within = measured < limit;
        self.exceeded += u32::from(!within);
        let mark = if within { "" } else { "  EXCEEDED" };
        println!("{what:<76} {limit:>8.0} {measured:>9.2}{mark}");
    }

    fn verdict(&self) -> ExitCode {
        if self.exceeded == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
