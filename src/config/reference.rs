//! The reference of settings, `docs/settings.md`, from their declarations.

use std::fmt::Write as _;

use super::declared::ALL;
use super::setting::{Declaration, Kind, MATRIX};

const HEAD: &str = "\
# Settings

Every setting of `run`, `plan` and `diagnostic`: its key in `rollbench.toml`, its flag and its variable. A flag beats a
variable, and that beats the file; `rollbench plan` shows where each value came from. This page is made by
`rollbench schema settings`; editors complete and check a `rollbench.toml` whose first line is
`#:schema ./rollbench.schema.json`, which `rollbench schema config` prints.
";

/// The page.
pub(crate) fn reference() -> String {
    let mut page = HEAD.to_owned();
    let mut section = None;
    for setting in by_section() {
        let of = section_of(setting);
        if section != Some(of) {
            section = Some(of);
            let _ = match of {
                "" => write!(page, "\n## Only flags and variables\n\n"),
                of => write!(page, "\n## `[{of}]`\n\n"),
            };
            page += "| key | flag | values | default | |\n| --- | --- | --- | --- | --- |\n";
        }
        page += &row(setting);
    }
    page += "\nThe tables `args`, `env`, `unset` and `limits` of `[engine]` can also stand in a `[[model]]`, a \
             `[[precision]]` and a model's `cells`:\neach lies over those before it.\n";
    page
}

/// In the order of declaration, those of one table together.
fn by_section() -> Vec<&'static Declaration> {
    let mut sections: Vec<&str> = Vec::new();
    for setting in ALL {
        if !sections.contains(&section_of(setting)) {
            sections.push(section_of(setting));
        }
    }
    let mut settings = ALL.to_vec();
    settings.sort_by_key(|setting| sections.iter().position(|s| *s == section_of(setting)));
    settings
}

/// The table of a setting; empty where only flags and variables say it.
fn section_of(setting: &Declaration) -> &'static str {
    match setting.key.rsplit_once('.') {
        Some((section, _)) if setting.is_in_file() => section,
        _ => "",
    }
}

fn row(setting: &Declaration) -> String {
    let code = |text: &str| format!("`{text}`");
    let key = if setting.is_in_file() {
        code(setting.last_key())
    } else {
        String::new()
    };
    let mut flag = match setting.kind {
        Kind::Either(of) => {
            let flags: Vec<String> = of.iter().map(|(flag, _)| code(flag)).collect();
            flags.join(", ")
        }
        _ => setting.flag.map(code).unwrap_or_default(),
    };
    if let Some(name) = setting.env {
        let _ = write!(flag, ", variable `{name}`");
    }
    if setting.commands & !MATRIX != 0 {
        flag += &also(setting.commands);
    }
    let mut default = setting
        .default_words
        .or(setting.default)
        .unwrap_or("none")
        .to_owned();
    if let Some(text) = setting.load_default {
        let _ = write!(default, "; of `load` {text}");
    }
    let help = setting.help_cell();
    format!(
        "| {key} | {flag} | {} | {default} | {help} |\n",
        values(setting)
    )
}

fn also(commands: u8) -> String {
    use super::setting::{LOAD, PREDICT};
    let of = [(PREDICT, "predict"), (LOAD, "load")];
    let named = of.iter().filter(|(command, _)| commands & command != 0);
    let names: Vec<String> = named.map(|(_, name)| format!("`{name}`")).collect();
    format!("; also of {}", names.join(", "))
}

/// What can be written.
fn values(setting: &Declaration) -> String {
    let words = |of: &[(&str, &str)]| {
        let words = of
            .iter()
            .map(|(word, _)| format!("`{}`", word.trim_start_matches('-')));
        words.collect::<Vec<_>>().join(", ")
    };
    let one = match setting.kind {
        Kind::Whole(least, greatest) => format!("{least} to {greatest}"),
        // Nothing is less a number than this.
        Kind::Number(fits) => fits(f64::NAN).err().unwrap_or("a number").to_owned(),
        Kind::Share => "a share such as 0.02; a flag also 2%".to_owned(),
        Kind::Switch => "`true`, `false`".to_owned(),
        Kind::Choice(of) | Kind::Either(of) => words(of),
        Kind::Text => "a text".to_owned(),
        Kind::Path => "a path or name".to_owned(),
        Kind::Own(own) => return own.words.to_owned(),
    };
    if setting.many {
        format!("{one}; or a list")
    } else {
        one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_the_repository_is_as_new() {
        assert!(
            include_str!("../../docs/settings.md") == reference(),
            "rollbench schema settings > docs/settings.md"
        );
    }
}
