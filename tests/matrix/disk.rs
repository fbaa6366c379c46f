//! A results folder that does not take writes in mid-run. Nothing that was measured is lost, and nothing new begins.
//!
//! A full and a read-only disk are a small tmpfs, which only root may mount: for anyone else those two tests say so and
//! check nothing. A file in the folder's place makes writing fail for everybody, root too.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use rollbench::testing::record::{CellStatus, StartStatus};
use serde_json::{Value, json};

use crate::kills::{acknowledged, steps_of};
use crate::processes::Bystander;
use crate::table::{self, Tally};
use crate::world::{Outcome, Running, TWO_CELLS, World, read_record};

/// 64 tokens a step: each takes a second.
fn slow() -> Value {
    json!({"speed": 64})
}

const WAITS: &str = "no further engine starts before they are on disk";
const GOES_ON: &str = "everything measured is on disk; going on";

/// The results folder out of reach, until [`Away::back`].
struct Away {
    results: PathBuf,
    aside: PathBuf,
}

impl Away {
    fn take(world: &World) -> Self {
        let away = Self {
            results: world.path("benchmark_results"),
            aside: world.path("aside"),
        };
        fs::rename(&away.results, &away.aside).expect("renamed");
        fs::write(&away.results, "in the way").expect("written");
        away
    }

    fn back(self) {
        fs::remove_file(&self.results).expect("removed");
        fs::rename(&self.aside, &self.results).expect("renamed");
    }
}

/// Something mounted over the results folder; gone with this value. Absent without root.
struct Mounted(PathBuf);

impl Mounted {
    fn small_disk(world: &World) -> Option<Self> {
        let folder = world.path("benchmark_results");
        fs::create_dir(&folder).expect("made");
        Self::with(
            &["-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs"],
            &folder,
        )
    }

    fn bind(folder: &Path) -> Option<Self> {
        let itself = folder.to_str().expect("UTF-8");
        Self::with(&["--bind", itself], folder)
    }

    fn with(args: &[&str], folder: &Path) -> Option<Self> {
        let mounted = mount(args, folder);
        if !mounted {
            eprintln!("not checked: mounting needs root");
        }
        mounted.then(|| Self(folder.to_owned()))
    }

    fn fill(&self) {
        let error = fs::write(self.0.join("filler"), vec![0; 1 << 20]).expect_err("too much");
        assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::ENOSPC as i32));
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).expect("removed");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(args: &[&str], folder: &Path) -> bool {
    let mount = Command::new("mount").args(args).arg(folder).output();
    mount.is_ok_and(|output| output.status.success())
}

/// Both cells, each with a warm-up and two measured steps in one engine start.
fn all_is_there(world: &World) {
    for precision in ["bf16", "w8a8"] {
        let record = world.record(precision);
        assert_eq!(record.status, CellStatus::Done, "{precision}");
        assert_eq!(record.starts.len(), 1, "{precision}");
        let indices: Vec<u32> = record.starts[0]
            .steps
            .iter()
            .map(|step| step.index)
            .collect();
        assert_eq!(indices, [0, 1, 2], "{precision}");
    }
}

fn waits(run: &mut Running) {
    run.until_it_says("step 2/2:");
    run.until_it_says(WAITS);
    run.until("the first engine start is over", |run| {
        run.said().contains("done after")
    });
}

fn goes_on_to_the_end(world: &World, run: Running) -> Outcome {
    let outcome = run.end();
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stderr.contains(GOES_ON), "{}", outcome.stderr);
    all_is_there(world);
    world.is_empty();
    outcome
}

#[test]
fn on_a_full_disk_the_next_cell_waits_and_the_last_complete_record_stays_whole() {
    let world = World::new(TWO_CELLS);
    let Some(disk) = Mounted::small_disk(&world) else {
        return;
    };
    let mut run = world.start(&slow(), &[]);
    run.until_it_says("warm-up 1/1:");
    disk.fill();
    waits(&mut run);
    assert!(
        run.said().contains("No space left on device"),
        "{}",
        run.said()
    );
    assert!(
        !run.said().contains("[2/2]"),
        "the second cell has not begun: {}",
        run.said()
    );
    let whole = read_record(&world.result("tiny_bf16.json"));
    assert_eq!(whole.status, CellStatus::Planned);
    disk.make_room();
    goes_on_to_the_end(&world, run);
}

/// The disk is full from each of these on, for as long as it takes to be told so.
#[test]
fn whenever_the_disk_is_full_no_step_is_lost() {
    let instants = [
        "starting the engine",
        "warm-up 1/1:",
        "step 1/2:",
        "step 2/2:",
        "done after",
    ];
    let rounds = if crate::soak() { 2 } else { 1 };
    let bystander = Bystander::start();
    let mut tally = Tally::default();
    for instant in instants.iter().cycle().take(rounds * instants.len()) {
        let world = World::new(TWO_CELLS);
        let Some(disk) = Mounted::small_disk(&world) else {
            return;
        };
        let mut run = world.start(&json!({"speed": 200}), &[]);
        run.until_it_says(instant);
        disk.fill();
        run.until_it_says(WAITS);
        disk.make_room();
        let outcome = run.end();
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        tally.runs += 1;
        tally.survivors += world.survivors().len();
        tally.files += world.litter().len();
        for (precision, said) in acknowledged(&outcome.stderr) {
            assert_eq!(said, 3, "{precision}: {}", outcome.stderr);
            let record = world.record(precision);
            let complete = record.starts.iter().filter(|start| start.is_complete());
            *tally.doubled.get_or_insert_default() += complete.count().saturating_sub(1);
            let kept = steps_of(&record).count();
            *tally.lost.get_or_insert_default() += said.saturating_sub(kept);
        }
    }
    tally.strangers = bystander.harmed();
    table::head();
    let bad = tally.print("a disk that is full from any write on");
    assert_eq!(bad, 0, "see the table");
}

#[test]
fn a_record_that_a_read_only_folder_refuses_is_waited_for_while_the_journal_holds_its_steps() {
    let world = World::new(TWO_CELLS);
    let mut run = world.start(&slow(), &["--quants", "bf16"]);
    run.until_it_says("warm-up 1/1:");
    let results = world.path("benchmark_results");
    // Over itself: what is open stays writable, as on a disk that turns read-only, and every new open is refused.
    let Some(cover) = Mounted::bind(&results) else {
        run.signal(Signal::SIGINT);
        run.end();
        return;
    };
    assert!(mount(&["-o", "remount,bind,ro"], &results));
    waits(&mut run);
    assert!(
        run.said().contains("Read-only file system"),
        "{}",
        run.said()
    );
    let journal = fs::read_dir(results.join(".journal")).expect("there");
    let lines: usize = journal
        .map(|file| file.expect("reads").path())
        .filter(|file| file.extension().is_some_and(|e| e == "jsonl"))
        .map(|file| fs::read_to_string(file).expect("there").lines().count())
        .sum();
    assert_eq!(lines, 6, "begin, ready, three steps, end");
    drop(cover);
    let outcome = run.end();
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stderr.contains(GOES_ON), "{}", outcome.stderr);
    assert_eq!(world.record("bf16").starts[0].steps.len(), 3);
    world.is_empty();
}

#[test]
fn a_results_folder_out_of_reach_is_waited_for() {
    let world = World::new(TWO_CELLS);
    let mut run = world.start(&slow(), &[]);
    run.until_it_says("warm-up 1/1:");
    let away = Away::take(&world);
    waits(&mut run);
    assert!(!run.said().contains("[2/2]"), "{}", run.said());
    away.back();
    goes_on_to_the_end(&world, run);
}

#[test]
fn after_the_last_cell_it_waits_too_and_a_signal_then_puts_the_results_elsewhere() {
    let world = World::new(TWO_CELLS);
    let mut run = world.start(&slow(), &["--quants", "bf16"]);
    run.until_it_says("step 1/2:");
    let away = Away::take(&world);
    waits(&mut run);
    run.signal(Signal::SIGTERM);
    let outcome = run.end();
    assert_eq!(outcome.code, 143, "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("3 measured steps are not in the results"),
        "{}",
        outcome.stderr
    );
    let rescued = world.litter();
    assert_eq!(rescued.len(), 1, "{rescued:?}\n{}", outcome.stderr);
    let mode = fs::metadata(&rescued[0])
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        outcome.stderr.contains(&rescued[0].display().to_string()),
        "{}",
        outcome.stderr
    );

    // The command that it names brings it back.
    away.back();
    let command = outcome
        .stderr
        .split_once("written again: ")
        .and_then(|(_, rest)| rest.lines().next())
        .unwrap_or_else(|| panic!("no command in {}", outcome.stderr));
    let status = Command::new("sh")
        .arg("-c")
        .arg(command)
        .status()
        .expect("runs");
    assert!(status.success(), "{command}");
    let resumed = world.run(&slow(), &["--quants", "bf16", "--resume"]);
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    assert!(
        !resumed.stderr.contains("starting the engine"),
        "{}",
        resumed.stderr
    );
    let record = world.record("bf16");
    assert_eq!(record.starts.len(), 1);
    assert_eq!(record.starts[0].status, StartStatus::Complete);
    assert_eq!(record.starts[0].steps.len(), 3);
}

#[test]
fn a_signal_in_a_step_saves_elsewhere_what_is_complete() {
    let world = World::new(TWO_CELLS);
    let mut run = world.start(&slow(), &["--quants", "bf16"]);
    run.until_it_says("warm-up 1/1:");
    let away = Away::take(&world);
    run.until_it_says("step 1/2:");
    run.signal(Signal::SIGINT);
    let outcome = run.end();
    assert_eq!(outcome.code, 130, "{}", outcome.stderr);
    let rescued = world.litter();
    away.back();
    let journal = world
        .result(".journal")
        .join(rescued[0].file_name().expect("a file"));
    fs::rename(&rescued[0], &journal).expect("moved");
    let shown = Running::of(world.command(&json!({}), &["summarize", "."])).end();
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let resumed = world.run(&json!({}), &["--quants", "bf16", "--resume"]);
    assert_eq!(resumed.code, 0, "{}", resumed.stderr);
    let record = world.record("bf16");
    let seen: Vec<(StartStatus, usize)> = record
        .starts
        .iter()
        .map(|start| (start.status, start.steps.len()))
        .collect();
    assert_eq!(
        seen,
        [(StartStatus::Interrupted, 2), (StartStatus::Complete, 3)]
    );
}

#[test]
fn what_is_brought_back_after_the_cell_was_measured_anew_stands_apart() {
    let world = World::new(TWO_CELLS);
    let mut run = world.start(&slow(), &["--quants", "bf16"]);
    run.until_it_says("step 1/2:");
    let away = Away::take(&world);
    waits(&mut run);
    run.signal(Signal::SIGTERM);
    assert_eq!(run.end().code, 143);
    let rescued = world.litter().remove(0);
    away.back();
    let file = world.path("rescued.jsonl");
    fs::rename(rescued, &file).expect("moved");
    let anew = world.run(&json!({}), &["--quants", "bf16"]);
    assert_eq!(anew.code, 0, "{}", anew.stderr);
    let record = world.record("bf16");
    fs::rename(file, world.result(".journal/rescued.jsonl")).expect("moved");
    let other = world.run(&json!({}), &["--quants", "w8a8"]);
    assert_eq!(other.code, 0, "{}", other.stderr);
    assert_eq!(world.record("bf16"), record);
    let steps: usize = fs::read_dir(world.result("previous"))
        .expect("there")
        .map(|day| read_record(&day.expect("reads").path().join("tiny_bf16.json")))
        .flat_map(|record| record.starts)
        .map(|start| start.steps.len())
        .max()
        .expect("set aside");
    assert_eq!(steps, 3);
}

#[test]
fn a_folder_that_takes_no_results_from_the_first_is_refused_before_anything_starts() {
    let world = World::new(TWO_CELLS);
    fs::write(world.path("benchmark_results"), "in the way").expect("written");
    let outcome = world.run(&json!({}), &[]);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("--out"), "{}", outcome.stderr);
    assert!(
        !outcome.stderr.contains("starting the engine"),
        "{}",
        outcome.stderr
    );
}
