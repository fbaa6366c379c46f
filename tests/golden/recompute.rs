//! The numbers of the goldens, computed again by code that shares nothing with rollbench's.

use std::process::{Command, Stdio};

use crate::support::goldens;

#[test]
fn another_program_computes_the_same_numbers() {
    let quiet = || Stdio::null();
    let python = Command::new("python3")
        .arg("--version")
        .stdout(quiet())
        .stderr(quiet())
        .status();
    if !python.is_ok_and(|status| status.success()) {
        return;
    }
    let output = Command::new("python3")
        .arg(goldens().with_file_name("recompute"))
        .args(["offline", "sweep"].map(|kind| goldens().join(kind)))
        .output()
        .expect("python3 starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
