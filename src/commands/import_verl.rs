//! `rollbench import-verl FILE`: a configuration made of a verl run script, Hydra overrides or YAML.

use std::io::Write as _;
use std::path::Path;

use crate::error::{CommandError, Exit, PathError};
use crate::output::{self, note};
use crate::verl::import;

/// Writes the configuration to stdout, or to `out`, which must not exist yet; what was not understood to stderr. Exit 1
/// if there was something.
pub(crate) fn run(file: &Path, out: Option<&Path>) -> Result<Exit, CommandError> {
    let bytes = std::fs::read(file)
        .map_err(|source| CommandError::new(Exit::Usage, PathError::on("read", file)(source)))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        CommandError::usage(format!("{} is not UTF-8 (at byte {at})", file.display()))
    })?;
    let imported = import(&file.display().to_string(), &text).map_err(|error| {
        CommandError::usage(error)
            .hint("give a run script, lines of Hydra overrides, or a .yaml of verl's trainer")
    })?;
    if let Some(out) = out {
        std::fs::File::create_new(out)
            .and_then(|mut created| created.write_all(imported.toml.as_bytes()))
            .map_err(|source| {
                CommandError::new(Exit::Usage, PathError::on("create", out)(source))
            })?;
        note(format_args!("wrote {}", out.display()));
    } else {
        output::data(&imported.toml).map_err(anyhow::Error::from)?;
    }
    if imported.not_understood.is_empty() {
        return Ok(Exit::Done);
    }
    note("not understood:");
    for line in &imported.not_understood {
        note(format_args!("  {line}"));
    }
    Ok(Exit::Partial)
}
