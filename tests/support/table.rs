//! The one table of the fault suite: a line a scenario, whichever test looped it. `tests/soak` collects the lines.

/// What was left, harmed or lost over all runs of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) runs: usize,
    /// Processes of ours that were alive at the end.
    pub(crate) survivors: usize,
    /// Processes of others that were not.
    pub(crate) strangers: usize,
    /// Acknowledged steps that are in no record; absent where nothing was measured.
    pub(crate) lost: Option<usize>,
    /// Complete engine starts of one cell and block beyond the first; absent likewise.
    pub(crate) doubled: Option<usize>,
    /// Shared memory, run folders and temporary files that were left.
    pub(crate) files: usize,
}

impl Tally {
    /// Prints the line; the number of everything that should not be.
    #[must_use]
    pub(crate) fn print(&self, scenario: &str) -> usize {
        let steps = |count: Option<usize>| count.map_or("-".to_owned(), |count| count.to_string());
        println!(
            "| {scenario:<52} | {:>4} | {:>9} | {:>9} | {:>4} | {:>7} | {:>5} |",
            self.runs,
            self.survivors,
            self.strangers,
            steps(self.lost),
            steps(self.doubled),
            self.files
        );
        let bad = [self.survivors, self.strangers, self.files];
        bad.into_iter().chain(self.lost).chain(self.doubled).sum()
    }
}

/// Its head, on a line of its own, whatever was printed before.
pub(crate) fn head() {
    println!(
        "\n| {:<52} | runs | survivors | strangers | lost | doubled | files |",
        "scenario"
    );
    println!(
        "| {:-<52} | ---: | --------: | --------: | ---: | ------: | ----: |",
        ""
    );
}
