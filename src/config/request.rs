//! What a configuration is loaded from besides its file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Given;
use crate::device::Platform;
use crate::workload::Observed;

/// Everything that [`super::load()`] looks at, so that it depends on nothing else.
#[derive(Debug, Clone)]
pub(crate) struct LoadRequest {
    /// The flags.
    pub flags: Given,
    /// What the files of `--lengths-from` hold.
    pub lengths: Option<Observed>,
    /// The environment: the variables of settings, `HOME`, and what `${VAR}` names.
    pub env: BTreeMap<String, String>,
    /// The current directory.
    pub cwd: PathBuf,
    /// The accelerator found on this machine, or that of the machine that is planned for.
    pub platform: Platform,
    /// Whether the plan is for another machine, whose files are not here.
    pub elsewhere: bool,
}

impl LoadRequest {
    /// A variable that is set and not empty.
    pub(crate) fn var(&self, name: &str) -> Option<&str> {
        self.env
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }
}
