//! Records of each kind, rendered by everything that renders records.

use std::fs;
use std::path::Path;

use crate::support::{Differences, goldens, transcript};

/// A kind of records, and the kind that it is compared with.
const KINDS: &[(&str, &str)] = &[
    ("offline", "offline"),
    ("offline-slower", "offline"),
    ("fan-out-n", "fan-out-n"),
    ("sweep", "sweep"),
    ("duration", "duration"),
    ("load", "load"),
    ("calibrated", "split"),
    ("split", "calibrated"),
    ("failed", "offline"),
    ("foreign", "foreign"),
];

#[test]
fn records_of_every_kind_are_rendered_as_they_were() {
    let site = tempfile::tempdir().expect("a folder");
    for (kind, _) in KINDS {
        copy(
            &goldens().join(kind).join("records"),
            &site.path().join(kind).join("benchmark_results"),
        );
    }
    let mut differences = Differences::default();
    for (kind, base) in KINDS {
        let mut keep = |file: &str, args: &[&str]| {
            let made = transcript(site.path(), args);
            differences.compare(&format!("{kind}/{file}"), made.as_bytes());
        };
        keep("summarize.txt", &["summarize", kind]);
        if *kind == "foreign" {
            keep("summarize-write.txt", &["summarize", kind, "--write"]);
        }
        keep("compare.txt", &["compare", base, kind]);
        keep("compare.md", &["compare", base, kind, "--markdown"]);
        keep("compare.json.txt", &["compare", base, kind, "--json"]);
        keep("predict.txt", &["predict", kind, "--num-prompts", "3"]);
        keep("predict-other-sharing.txt", &["predict", kind, "-n", "4"]);
        keep(
            "predict.json.txt",
            &["predict", kind, "--num-prompts", "3", "--json"],
        );
        let results = site.path().join(kind).join("benchmark_results");
        for file in [
            "summary.txt",
            "summary.md",
            "summary.csv",
            "summary.json",
            "steps.csv",
        ] {
            let written = fs::read(results.join(file)).unwrap_or_default();
            differences.compare(&format!("{kind}/{file}"), &written);
        }
        // Pages are long: one of each mode.
        if matches!(*kind, "calibrated" | "sweep") {
            let page = fs::read(results.join("summary.html")).unwrap_or_default();
            differences.compare(&format!("{kind}/summary.html"), &page);
        }
    }
    differences.none();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("records") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}
