//! `rollbench import-verl FILE`: a configuration made of a verl run script, Hydra overrides or YAML.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{CommandError, Exit, PathError};
use crate::output::{self, note};
use crate::verl::{ImportError, Source, TraceError, import, import_composed, import_traced};

/// Writes the configuration to stdout, or to `out`, which must not exist yet; what is open and what was not understood to
/// stderr. Exit 1 if there was something.
pub(crate) fn run(
    file: &Path,
    trace: bool,
    out: Option<&Path>,
    verl_defaults: Option<&Path>,
) -> Result<Exit, CommandError> {
    let defaults = match verl_defaults {
        Some(path) => Some((path.display().to_string(), read(path)?)),
        None => None,
    };
    let composed = file.is_dir().then(|| hydra_folder(file)).transpose()?;
    let path = composed
        .as_ref()
        .map_or_else(|| file.to_owned(), |folder| folder.join("config.yaml"));
    let text = read(&path)?;
    let source = Source {
        file: &path.display().to_string(),
        text: &text,
        verl_defaults: defaults
            .as_ref()
            .map(|(file, text)| (file.as_str(), text.as_str())),
    };
    let imported = match &composed {
        _ if trace => import_traced(&source),
        Some(folder) => {
            // Old versions of Hydra write none.
            let overrides =
                std::fs::read_to_string(folder.join("overrides.yaml")).unwrap_or_default();
            import_composed(&source, &overrides)
        }
        None => import(&source),
    }
    .map_err(failed)?;
    if let Some(out) = out {
        std::fs::File::create_new(out)
            .and_then(|mut created| created.write_all(imported.toml.as_bytes()))
            .map_err(|source| {
                CommandError::new(Exit::Usage, PathError::on("create", out)(source))
            })?;
        note(format_args!("wrote {}", out.display()));
    } else {
        output::data(&imported.toml)?;
    }
    say("needed, and left open (CHECK):", &imported.open);
    say("not understood:", &imported.not_understood);
    if imported.open.is_empty() && imported.not_understood.is_empty() {
        return Ok(Exit::Done);
    }
    Ok(Exit::Partial)
}

/// Where Hydra keeps what it composed.
fn hydra_folder(folder: &Path) -> Result<PathBuf, CommandError> {
    let candidates = [folder.join(".hydra"), folder.to_owned()];
    let found = candidates
        .into_iter()
        .find(|folder| folder.join("config.yaml").is_file());
    found.ok_or_else(|| {
        CommandError::usage(format!("{} has no .hydra/config.yaml", folder.display()))
            .hint("give the folder of a run that Hydra made, such as outputs/2026-08-22/17-24-24")
    })
}

fn failed(error: ImportError) -> CommandError {
    match error {
        ImportError::Trace(TraceError::Unconfined(_)) => {
            CommandError::new(Exit::Environment, error).hint("leave out --trace: the script is then read without running it")
        }
        ImportError::Trace(_) => CommandError::new(Exit::Internal, error),
        other => CommandError::usage(other)
            .hint("give a run script, lines of Hydra overrides, a .yaml of verl's trainer, its log, or Hydra's folder"),
    }
}

fn say(title: &str, lines: &[String]) {
    if !lines.is_empty() {
        note(title);
    }
    for line in lines {
        note(format_args!("  {line}"));
    }
}

fn read(file: &Path) -> Result<String, CommandError> {
    let bytes = std::fs::read(file)
        .map_err(|source| CommandError::new(Exit::Usage, PathError::on("read", file)(source)))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        CommandError::usage(format!("{} is not UTF-8 (at byte {at})", file.display()))
    })
}
