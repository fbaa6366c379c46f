//! Holds the statistics to what they promise, over simulated sessions: `cargo bench --bench coverage` prints the
//! table, `cargo bench --bench coverage -- outliers` the thresholds of `src/stats/outliers.rs`.

use rollbench::testing::stats::simulate::{Design, Machine, outlier_thresholds, simulate};

const SESSIONS: u32 = 10_000;
const STEIN_HALF_WIDTH: f64 = 0.02;

fn main() {
    if std::env::args().any(|arg| arg == "outliers") {
        print_thresholds();
    } else {
        print_coverage();
    }
}

fn print_coverage() {
    let typical = Machine::TYPICAL;
    let machines = [
        (
            "independent starts and steps",
            Machine {
                block_sd: 0.0,
                step_correlation: 0.0,
                ..typical
            },
        ),
        ("block effects, AR(1) steps", typical),
        (
            "the same, quiet starts",
            Machine {
                start_sd: 0.003,
                ..typical
            },
        ),
        (
            "the same, drift 0.3 % a start",
            Machine {
                drift_per_start: 0.003,
                ..typical
            },
        ),
        (
            "the same, heavy-tailed starts",
            Machine {
                heavy_tails: true,
                ..typical
            },
        ),
    ];
    let designs = [
        Design {
            blocks: 3,
            steps: 3,
            comparisons: 1,
            true_ratio: 1.0,
        },
        Design {
            blocks: 6,
            steps: 3,
            comparisons: 1,
            true_ratio: 1.0,
        },
        Design {
            blocks: 6,
            steps: 3,
            comparisons: 3,
            true_ratio: 1.1,
        },
        Design {
            blocks: 20,
            steps: 3,
            comparisons: 1,
            true_ratio: 1.0,
        },
    ];
    println!(
        "{SESSIONS} simulated sessions a line; meant: t 93-97 % (more with several comparisons), A/A wrong at most 5.5 %, two-stage at least 94 %"
    );
    println!(
        "{:<32} {:>6} {:>5} {:>7} {:>9} {:>9} {:>9} {:>11} {:>8}",
        "machine",
        "blocks",
        "cells",
        "truth",
        "t covers",
        "A/A wrong",
        "two-stage",
        "its blocks",
        "BCa"
    );
    for (name, machine) in machines {
        for (seed, design) in designs.into_iter().enumerate() {
            let found = simulate(machine, design, SESSIONS, STEIN_HALF_WIDTH, seed as u64);
            let only = |shown: bool, value: f64| {
                if shown {
                    format!("{:.2} %", 100.0 * value)
                } else {
                    "-".to_owned()
                }
            };
            println!(
                "{name:<32} {:>6} {:>5} {:>6.2}x {:>9} {:>9} {:>9} {:>11.1} {:>8}",
                design.blocks,
                design.comparisons,
                design.true_ratio,
                only(true, found.t_covers),
                only(design.comparisons == 1, found.difference_claimed),
                only(true, found.stein_covers),
                found.stein_blocks,
                only(found.bca_covers.is_finite(), found.bca_covers),
            );
        }
    }
}

fn print_thresholds() {
    let rates = [1, 2, 4, 8, 16, 32].map(|sets| 0.01 / f64::from(sets));
    for n in 6..=25 {
        let row: Vec<String> = outlier_thresholds(n, &rates, 4_000_000, n as u64)
            .into_iter()
            .map(|t| format!("{t:.2}"))
            .collect();
        println!("    [{}], // {n}", row.join(", "));
    }
}
