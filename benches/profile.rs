//! What reading a trace costs, beside `python3`'s `json.load` and HolisticTraceAnalysis (where `ROLLBENCH_HTA_PYTHON` names
//! a Python that has it) on the same file in the same minutes: processor seconds, as ratios.
//!
//! `cargo bench --bench profile`, or `-- --megabytes 1000`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use rollbench::testing::profile::digest_file;

#[path = "../tests/support/trace.rs"]
mod trace;

/// Each reader reads so often; the best counts, as the others were disturbed.
const ROUNDS: usize = 3;
const JSON: &str = "import json, sys; json.load(open(sys.argv[1]))";
const HTA: &str =
    "import sys; from hta.common.trace_parser import parse_trace_dataframe as p; p(sys.argv[1])";

fn main() {
    let megabytes = std::env::args()
        .skip_while(|arg| arg != "--megabytes")
        .nth(1);
    let megabytes: usize = megabytes.and_then(|n| n.parse().ok()).unwrap_or(100);
    let folder = tempfile::tempdir().expect("a folder");
    let (plain, zipped, table) = files(folder.path(), megabytes);
    let size = fs::metadata(&plain).expect("there").len() as f64 / 1e6;

    let ours = cpu_s(UsageWho::RUSAGE_SELF, || read(&plain));
    println!(
        "{:34} {ours:8.3} CPU s  {:7.0} MB/s",
        "rollbench, plain",
        size / ours
    );
    let gzip = cpu_s(UsageWho::RUSAGE_SELF, || read(&zipped));
    println!(
        "{:34} {gzip:8.3} CPU s  {:7.0} MB/s inflated, two threads",
        "rollbench, gzip",
        size / gzip
    );
    let rows = fs::metadata(&table).expect("there").len() as f64 / 1e6;
    let csv = cpu_s(UsageWho::RUSAGE_SELF, || read(&table));
    println!(
        "{:34} {csv:8.3} CPU s  {:7.0} MB/s",
        "rollbench, kernel_details.csv",
        rows / csv
    );
    let mut others = vec![("python3 json.load", "python3".to_owned(), JSON)];
    if let Ok(python) = std::env::var("ROLLBENCH_HTA_PYTHON") {
        others.push(("HolisticTraceAnalysis, parse only", python, HTA));
    }
    for (name, python, code) in others {
        let theirs = cpu_s(UsageWho::RUSAGE_CHILDREN, || {
            let run = Command::new(&python)
                .args(["-c", code])
                .arg(&plain)
                .output();
            assert!(run.is_ok_and(|run| run.status.success()), "{name} failed");
        });
        println!(
            "{name:34} {theirs:8.3} CPU s  {:7.0} MB/s  {:.0}x ours",
            size / theirs,
            theirs / ours
        );
    }
    let peak = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = peak
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or("")
        .to_owned();
    println!("peak of rollbench's readers: {peak}");
}

fn read(path: &Path) {
    let (calls, ns) = digest_file(path).expect("readable");
    assert!(
        calls > 0 && ns > 0,
        "nothing was found in {}",
        path.display()
    );
}

/// The least processor time of a few rounds.
fn cpu_s(who: UsageWho, mut work: impl FnMut()) -> f64 {
    let now = || {
        let usage = getrusage(who).expect("always known");
        (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6
    };
    let round = |_| {
        let begin = now();
        work();
        now() - begin
    };
    (0..ROUNDS).map(round).fold(f64::MAX, f64::min)
}

/// A trace of about so many megabytes, the same compressed, and a table as large.
fn files(folder: &Path, megabytes: usize) -> (PathBuf, PathBuf, PathBuf) {
    let model = trace::Model::w8a8();
    let model = trace::Model {
        layers: 28,
        ..model
    };
    let for_size =
        |one: usize| u64::try_from((megabytes * 1_000_000).div_ceil(one)).expect("small");
    let chrome = model.chrome(for_size(model.chrome(10, 256).len() / 11), 256);
    let (plain, zipped, table) = (
        folder.join("a.json"),
        folder.join("a.json.gz"),
        folder.join("kernel_details.csv"),
    );
    fs::write(&plain, &chrome).expect("written");
    let file = fs::File::create(&zipped).expect("made");
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    encoder
        .write_all(chrome.as_bytes())
        .and_then(|()| encoder.finish().map(drop))
        .expect("written");
    drop(chrome);
    let rows = model.ascend(for_size(model.ascend(10, 256).len() / 11), 256);
    fs::write(&table, rows).expect("written");
    (plain, zipped, table)
}
