//! Every help text.

use crate::support::{Differences, transcript};

const COMMANDS: &[&str] = &[
    "run",
    "plan",
    "diagnostic",
    "summarize",
    "compare",
    "load",
    "fidelity",
    "predict",
    "profile",
    "ops",
    "import-verl",
    "setup",
    "clean",
    "schema",
    "completions",
];

#[test]
fn every_help_text_is_as_it_was() {
    let site = tempfile::tempdir().expect("a folder");
    let mut differences = Differences::default();
    let whole = transcript(site.path(), &["--help"]);
    let listed = whole
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // A description goes on in a line that is indented further.
        .filter_map(|line| {
            line.strip_prefix("  ")
                .filter(|rest| !rest.starts_with(' '))
        })
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help");
    assert!(
        listed.eq(COMMANDS.iter().copied()),
        "a command is not in this test's list"
    );
    differences.compare("help/rollbench.txt", whole.as_bytes());
    for command in COMMANDS {
        let long = transcript(site.path(), &[command, "--help"]);
        differences.compare(&format!("help/{command}.txt"), long.as_bytes());
    }
    differences.none();
}
