//! Who can be hit, how, and that nothing is left each time.

use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::processes::Bystander;
use crate::rig::Rig;
use crate::table::{self, Tally};

/// Within this nothing may be left, where no polite stop is part of the scenario.
const SOON: Duration = Duration::from_secs(5);

struct Scenario {
    name: &'static str,
    options: &'static [&'static str],
    /// Hits, and waits for rollbench's end if that is part of it.
    hit: fn(&mut Rig),
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "SIGKILL rollbench",
        options: &["--daemons"],
        hit: |rig| {
            rig.kill();
            rig.reap();
        },
    },
    Scenario {
        name: "SIGKILL the guard",
        options: &["--daemons"],
        hit: |rig| {
            rig.signal("guard", Signal::SIGKILL);
            let (report, status) = rig.end();
            assert!(status.success());
            assert_eq!(report["guard_lost"], true);
        },
    },
    Scenario {
        name: "SIGKILL rollbench and the guard",
        options: &["--daemons"],
        hit: both,
    },
    Scenario {
        name: "SIGKILL the engine's leader",
        options: &["--daemons"],
        hit: |rig| {
            rig.signal("leader", Signal::SIGKILL);
            let (report, status) = rig.end();
            assert!(status.success());
            assert_eq!(report["exit"]["signal"], 9);
            assert!(names(&report).contains(&"sleep".to_owned()), "{report}");
        },
    },
    Scenario {
        name: "SIGKILL the engine core",
        options: &[],
        hit: |rig| {
            rig.signal("core", Signal::SIGKILL);
            let (report, _) = rig.end();
            assert_eq!(report["exit"]["code"], 3);
        },
    },
    Scenario {
        name: "SIGKILL a worker, then SIGTERM",
        options: &[],
        hit: |rig| {
            rig.signal("worker", Signal::SIGKILL);
            stop(rig, Signal::SIGTERM);
        },
    },
    Scenario {
        name: "Ctrl-C",
        options: &[],
        hit: |rig| {
            stop(rig, Signal::SIGINT);
        },
    },
    Scenario {
        name: "the terminal hangs up, daemons",
        options: &["--daemons"],
        hit: |rig| {
            let report = stop(rig, Signal::SIGHUP);
            // The daemons have left the group: SIGTERM does not reach them.
            assert_eq!(names(&report), ["py-daemon", "sleep"], "{report}");
        },
    },
    Scenario {
        name: "a daemon, twice forked, with setsid, SIGTERM",
        options: &["--daemons"],
        hit: |rig| {
            stop(rig, Signal::SIGTERM);
        },
    },
    Scenario {
        name: "a worker ignores SIGTERM",
        options: &["--stubborn"],
        hit: |rig| {
            let report = stop(rig, Signal::SIGTERM);
            assert!(
                names(&report).iter().any(|name| name == "VLLM::Worker_TP"),
                "{report}"
            );
        },
    },
    Scenario {
        name: "Ctrl-C twice, all stubborn",
        options: &["--stubborn", "--daemons"],
        hit: |rig| {
            rig.signal("leader", Signal::SIGSTOP);
            rig.signal("rollbench", Signal::SIGINT);
            sleep(Duration::from_millis(50));
            rig.signal("rollbench", Signal::SIGINT);
            let (_, status) = rig.end();
            assert_eq!(status.code(), Some(130));
        },
    },
    Scenario {
        name: "a burst of 200 forks, SIGKILL rollbench",
        options: &["--burst", "200"],
        hit: |rig| {
            rig.kill();
            rig.reap();
        },
    },
    Scenario {
        name: "an engine prints without end, SIGTERM",
        options: &["--noise"],
        hit: |rig| {
            stop(rig, Signal::SIGTERM);
        },
    },
];

/// Both at once: stopped first, or one could act on the other's death.
fn both(rig: &mut Rig) {
    rig.signal("guard", Signal::SIGSTOP);
    rig.signal("rollbench", Signal::SIGSTOP);
    rig.signal("guard", Signal::SIGKILL);
    rig.kill();
    rig.reap();
    // The lease ends every Python process; a daemon that is none is beyond it, and has to be listed.
    let daemon = rig.pid("foreign-daemon");
    rig.until("only the daemon is left", |rig| rig.survivors() == [daemon]);
    let (code, text) = rig.clean(&[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("pid {daemon} ")), "{text}");
    let (code, text) = rig.clean(&["--yes"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("ended 1 of 1 processes"), "{text}");
}

fn stop(rig: &mut Rig, signal: Signal) -> serde_json::Value {
    rig.signal("rollbench", signal);
    let (report, status) = rig.end();
    assert_eq!(status.code(), Some(128 + signal as i32));
    report
}

fn names(report: &serde_json::Value) -> Vec<String> {
    let leaks = report["leaks"].as_array().expect("a list");
    let mut names: Vec<String> = leaks
        .iter()
        .map(|leak| leak["name"].as_str().expect("a name").to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn nothing_survives_and_no_stranger_is_harmed() {
    let _alone = crate::ALONE.blocking_lock();
    let runs = if crate::soak() { 50 } else { 1 };
    let bystander = Bystander::start();
    table::head();
    let (mut bad, mut medians) = (0, Vec::new());
    let wanted = std::env::var("ROLLBENCH_SCENARIO").unwrap_or_default();
    for scenario in SCENARIOS.iter().filter(|s| s.name.contains(&wanted)) {
        let (mut tally, mut times) = (Tally::default(), Vec::new());
        for _ in 0..runs {
            let mut rig = Rig::start(scenario.options);
            (scenario.hit)(&mut rig);
            match rig.until_gone(SOON) {
                Ok(took) => times.push(took),
                Err(alive) => tally.survivors += alive.len(),
            }
            let left = rig.files();
            if !left.is_empty() {
                println!("{}: left {left:?}", scenario.name);
            }
            tally.files += left.len();
            tally.runs += 1;
        }
        tally.strangers = bystander.harmed();
        bad += tally.print(scenario.name);
        times.sort();
        medians.extend(
            times
                .get(times.len() / 2)
                .map(|time| (scenario.name, *time)),
        );
    }
    println!("\nfrom the end of the blow to nothing left, median:");
    for (name, median) in medians {
        println!("{name:<52} {:>8.1} ms", median.as_secs_f64() * 1e3);
    }
    assert_eq!(bad, 0, "survivors, strangers and files, see the table");
}

#[test]
fn sigkill_at_any_instant_of_the_start_leaves_nothing() {
    let _alone = crate::ALONE.blocking_lock();
    let runs: u64 = if crate::soak() { 200 } else { 8 };
    let bystander = Bystander::start();
    let mut tally = Tally::default();
    for run in 0..runs {
        let mut rig = Rig::launch(&["--daemons"]);
        // Over the whole start, from exec to the last worker.
        sleep(Duration::from_micros(run * 1_000_000 / runs));
        rig.kill();
        rig.reap();
        tally.survivors += rig.until_gone(SOON).map_or_else(|alive| alive.len(), |_| 0);
        rig.until("the run's files can be cleaned", |rig| {
            rig.files().is_empty() || {
                rig.clean(&["--yes"]);
                rig.files().is_empty()
            }
        });
        tally.files += rig.files().len();
        tally.runs += 1;
    }
    tally.strangers = bystander.harmed();
    table::head();
    assert_eq!(
        tally.print("SIGKILL rollbench at any instant of its start"),
        0
    );
}
