//! rollbench killed at random instants, again and again, and gone on with: nothing survives it, and no step that it had
//! acknowledged is lost or counted twice.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::{RngExt, SeedableRng};
use rollbench::testing::record::{CellRecord, Role, StepStatus};
use serde_json::{Value, json};

use crate::processes::Bystander;
use crate::table::{self, Tally};
use crate::world::{TWO_CELLS, World, read_record};

/// Within this everything that a killed rollbench had started must be gone.
const SOON: Duration = Duration::from_secs(10);
/// So often one matrix is killed before it is gone on with to its end.
const KILLS: usize = 5;
const PRECISIONS: [&str; 2] = ["bf16", "w8a8"];
const BLOCKS: &str = "2";

/// Fast, but with steps long enough to be hit.
fn fake() -> Value {
    json!({"speed": 1_000})
}

/// How many steps each precision has in its record and in the journals, each counted once.
fn on_disk(world: &World) -> BTreeMap<&'static str, usize> {
    let shown = |precision| {
        let name = format!("tiny_{precision}.json");
        let record = world
            .result(&name)
            .exists()
            .then(|| read_record(&world.result(&name)));
        let mut steps: Vec<(String, u64)> = record.iter().flat_map(steps_of).collect();
        for line in journal_lines(world) {
            if let Some(step) = line
                .get("step")
                .filter(|s| s["cell"]["precision"] == precision)
            {
                let start = step["start"].as_str().expect("an id").to_owned();
                steps.push((
                    start,
                    step["step"]["begin_mono_ns"].as_u64().expect("a time"),
                ));
            }
        }
        steps.sort();
        steps.dedup();
        (precision, steps.len())
    };
    PRECISIONS.into_iter().map(shown).collect()
}

pub(crate) fn steps_of(record: &CellRecord) -> impl Iterator<Item = (String, u64)> {
    record.starts.iter().flat_map(|start| {
        let steps = start.steps.iter();
        steps.map(|step| (start.id.clone(), step.begin_mono_ns))
    })
}

/// The whole lines of all journals.
fn journal_lines(world: &World) -> Vec<Value> {
    let Ok(listing) = fs::read_dir(world.result(".journal")) else {
        return Vec::new();
    };
    listing
        .map(|file| file.expect("reads").path())
        .filter(|file| file.extension().is_some_and(|e| e == "jsonl"))
        .flat_map(|file| {
            let text = fs::read_to_string(file).expect("reads");
            let whole = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            whole
                .map(|line| serde_json::from_str(line).expect("JSON"))
                .collect::<Vec<Value>>()
        })
        .collect()
}

/// How many steps of each precision rollbench has said to be done.
pub(crate) fn acknowledged(stderr: &str) -> BTreeMap<&'static str, usize> {
    let count = |precision| {
        let done = stderr.lines().filter(|line| {
            let of = format!("tiny {precision}: ");
            line.split_once(&of)
                .is_some_and(|(_, rest)| rest.starts_with("step ") || rest.starts_with("warm-up "))
        });
        (precision, done.count())
    };
    PRECISIONS.into_iter().map(count).collect()
}

/// Shared memory of the runs of this world.
pub(crate) fn shared_memory(ids: &[String]) -> Vec<PathBuf> {
    fs::read_dir("/dev/shm")
        .expect("there")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            ids.iter()
                .any(|id| path.to_string_lossy().contains(id.as_str()))
        })
        .collect()
}

fn run_ids(world: &World) -> Vec<String> {
    fs::read_dir(world.path("runs"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| Some(name.trim_start_matches('.').split('.').next()?.to_owned()))
        .collect()
}

fn survivors(world: &World) -> usize {
    let begun = Instant::now();
    loop {
        let alive = world.survivors().len();
        if alive == 0 || begun.elapsed() > SOON {
            return alive;
        }
        sleep(Duration::from_millis(10));
    }
}

/// One matrix, killed [`KILLS`] times within `length` of each beginning, then gone on with. How many steps were
/// acknowledged before the kills.
fn matrix(rng: &mut impl rand::Rng, length: Duration, tally: &mut Tally) -> usize {
    let world = World::new(TWO_CELLS);
    let mut said: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut ids = Vec::new();
    let (mut seen, mut lost, mut doubled) = (0, 0, 0);
    for kill in 0..KILLS {
        let resume: &[&str] = if kill == 0 { &[] } else { &["--resume"] };
        let run = world.start(&fake(), &[&["--blocks", BLOCKS], resume].concat());
        sleep(length.mul_f64(rng.random_range(0.0..1.0)));
        run.signal(Signal::SIGKILL);
        let outcome = run.end();
        tally.runs += 1;
        for (precision, steps) in acknowledged(&outcome.stderr) {
            *said.entry(precision).or_default() += steps;
            seen += steps;
        }
        tally.survivors += survivors(&world);
        ids.extend(run_ids(&world));
        for (precision, steps) in on_disk(&world) {
            lost += said[precision].saturating_sub(steps);
        }
    }
    let before = on_disk(&world);
    let outcome = world
        .start(&fake(), &["--blocks", BLOCKS, "--resume"])
        .end();
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    tally.survivors += survivors(&world);
    tally.files += world.litter().len() + shared_memory(&ids).len();
    for (precision, steps) in acknowledged(&outcome.stderr) {
        let record = world.record(precision);
        // What was on the disk is still there, beside what was measured now.
        lost += (before[precision] + steps).saturating_sub(steps_of(&record).count());
        let mut complete: Vec<u32> = Vec::new();
        for start in record.starts.iter().filter(|start| start.is_complete()) {
            complete.push(start.block);
            let counted = start
                .steps
                .iter()
                .filter(|step| step.status == StepStatus::Ok);
            let roles: Vec<Role> = counted.map(|step| step.role).collect();
            assert_eq!(roles, [Role::Warmup, Role::Measured, Role::Measured]);
        }
        complete.sort_unstable();
        let all = complete.len();
        complete.dedup();
        assert_eq!(complete, [0, 1], "{precision}");
        doubled += all - complete.len();
    }
    assert_eq!(journal_lines(&world), [] as [Value; 0]);
    *tally.lost.get_or_insert_default() += lost;
    *tally.doubled.get_or_insert_default() += doubled;
    seen
}

#[test]
fn killed_at_random_instants_and_gone_on_with_nothing_is_lost() {
    let kills = if crate::soak() { 200 } else { 10 };
    let bystander = Bystander::start();
    let begun = Instant::now();
    let whole = World::new(TWO_CELLS);
    assert_eq!(whole.run(&fake(), &["--blocks", BLOCKS]).code, 0);
    let length = begun.elapsed();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(20_261_124);
    let mut tally = Tally::default();
    let mut acknowledged = 0;
    while tally.runs < kills {
        acknowledged += matrix(&mut rng, length, &mut tally);
    }
    tally.strangers = bystander.harmed();
    table::head();
    let bad = tally.print("SIGKILL of a matrix at any instant, then --resume");
    println!("{acknowledged} steps were acknowledged before the kills");
    assert!(acknowledged > 0, "some were killed late enough");
    assert_eq!(bad, 0, "see the table");
}
