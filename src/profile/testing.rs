//! The readers, for tests that have bytes or a file and want what comes of them.

use std::io;
use std::path::Path;

use super::digest::digests;
use super::rules::Rules;
use super::window::Window;
use super::{ascend, chrome, files};

/// What is made of a Chrome trace, or of a `kernel_details.csv`: digests as JSON, and notes.
pub fn digest_bytes(bytes: Vec<u8>, table: bool) -> (Vec<String>, Vec<String>) {
    let rules = Rules::new(None).expect("the built-in rules");
    let window = Window::read(io::Cursor::new(bytes));
    let trace = if table {
        ascend::read_window(window, &rules)
    } else {
        chrome::read_window(window, &rules)
    };
    let notes = trace.notes.clone();
    let digests = digests(trace, &rules, "");
    let json = digests
        .iter()
        .filter_map(|digest| serde_json::to_string(digest).ok());
    (json.collect(), notes)
}

/// Reads a file as `rollbench profile` does: how many kernels the listed steps ran, and their time in nanoseconds.
pub fn digest_file(path: &Path) -> io::Result<(u64, u64)> {
    let rules = Rules::new(None).expect("the built-in rules");
    let read = files::read(path, &rules)?;
    let kernels = read.digests.iter().flat_map(|digest| &digest.kernels);
    Ok(kernels.fold((0, 0), |(calls, ns), kernel| {
        (calls + kernel.calls, ns + kernel.ns)
    }))
}
