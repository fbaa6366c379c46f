//! What every step from text to settings looks at: the request, the document, the matrix as written, and what was
//! said about each setting on the layers file < environment < flag.

use std::path::{Path, PathBuf};

use super::LoadRequest;
use super::declared::ALL;
use super::diagnostic::Diagnostics;
use super::document::{Document, Name};
use super::raw::Raw;
use super::setting::{Declaration, Kind};
use super::values::{Said, Values};
use super::walk::Table;
use super::{Given, Origin, layer};

pub(super) struct Context<'a> {
    pub(super) request: &'a LoadRequest,
    pub(super) document: &'a Document,
    pub(super) raw: Raw,
    pub(super) values: Values,
}

impl<'a> Context<'a> {
    /// Reads everything; every mistake is noted.
    pub(super) fn read(
        request: &'a LoadRequest,
        document: &'a Document,
        root: &Table<'_>,
        found: &mut Diagnostics,
    ) -> Self {
        let mut values = Values::default();
        section(root, "", document, &mut values, found);
        for setting in ALL {
            variable(setting, request, &mut values, found);
            flag(setting, &request.flags, &mut values, found);
        }
        Self {
            request,
            document,
            raw: Raw::read(root, document.made.as_ref(), found),
            values,
        }
    }

    /// The folder that relative paths of the document start from: the file's own.
    pub(super) fn base(&self) -> PathBuf {
        let cwd = &self.request.cwd;
        match &self.document.name {
            Name::File(path) => cwd
                .join(path)
                .parent()
                .map_or_else(|| cwd.clone(), Path::to_owned),
            Name::BuiltIn(_) => cwd.clone(),
        }
    }
}

/// What flags alone say.
pub(super) fn said_by_flags(flags: &Given, found: &mut Diagnostics) -> Values {
    let mut values = Values::default();
    for setting in ALL {
        flag(setting, flags, &mut values, found);
    }
    values
}

/// The declared keys directly below a section (empty: the document), in the order of their declaration.
fn keys_below(path: &str) -> Vec<&'static str> {
    let mut keys: Vec<&str> = Vec::new();
    for setting in ALL.iter().filter(|setting| setting.is_in_file()) {
        let below = match path {
            "" => Some(setting.key),
            path => setting
                .key
                .strip_prefix(path)
                .and_then(|rest| rest.strip_prefix('.')),
        };
        let key = below.and_then(|below| below.split('.').next());
        if let Some(key) = key.filter(|key| !keys.contains(key)) {
            keys.push(key);
        }
    }
    keys
}

/// Reads the declared settings of a section and of those below it, and notes every other key.
fn section(
    table: &Table<'_>,
    path: &str,
    document: &Document,
    values: &mut Values,
    found: &mut Diagnostics,
) {
    let keys = keys_below(path);
    // What the matrix has, and keys that have a mistake of their own.
    let (before, after): (&[&str], &[&str]) = match path {
        "" => (&["schema"], &["precision", "model", "workloads"]),
        "select" => (&[], &["quants"]),
        _ => (&[], &[]),
    };
    table.only(&[before, &keys, after].concat(), found);
    for key in keys {
        let path = table.path_of(key);
        let Some(setting) = super::declared::declaration(&path) else {
            if table.get(key).is_some()
                && !layer::KEYS.contains(&key)
                && let Some(below) = table.table(key, found)
            {
                section(&below, &path, document, values, found);
            }
            continue;
        };
        if setting.layered || table.get(key).is_none() {
            continue;
        }
        let said = match setting.kind {
            Kind::Own(own) => (own.read)(table, key, found),
            _ => table.setting(setting, key, found),
        };
        if let Some(said) = said {
            let said = Said {
                origin: document.origin(&said.span),
                value: said.value,
                span: Some(said.span),
            };
            values.insert(setting, said);
        }
    }
}

fn variable(
    setting: &Declaration,
    request: &LoadRequest,
    values: &mut Values,
    found: &mut Diagnostics,
) {
    let Some((name, text)) = setting
        .env
        .and_then(|name| Some((name, request.var(name)?)))
    else {
        return;
    };
    match setting.read_text(name, text) {
        Ok(value) => values.insert(
            setting,
            Said {
                value,
                origin: Origin::Env(name),
                span: None,
            },
        ),
        Err(message) => {
            found.plain(message);
        }
    }
}

fn flag(setting: &Declaration, flags: &Given, values: &mut Values, found: &mut Diagnostics) {
    let texts = flags.texts(setting);
    let (Some(flag), Some(first)) = (setting.flag_name(), texts.first()) else {
        return;
    };
    let mut read = |text: &String| match setting.read_text(flag, text) {
        Ok(value) => Some(value),
        Err(message) => {
            let mistake = found.plain(message);
            if let Some(hint) = setting.hint {
                mistake.help(hint);
            }
            None
        }
    };
    let value = if setting.many {
        let each: Vec<_> = texts.iter().map(&mut read).collect();
        each.into_iter().collect::<Option<Vec<_>>>().map(Into::into)
    } else {
        read(first)
    };
    match value {
        None => values.cannot_read(setting),
        Some(value) => {
            let origin = Origin::Flag(match setting.kind {
                Kind::Either(choices) => choices
                    .iter()
                    .map(|(flag, _)| *flag)
                    .find(|flag| flag.trim_start_matches('-') == first)
                    .unwrap_or(flag),
                _ => flag,
            });
            values.insert(
                setting,
                Said {
                    value,
                    origin,
                    span: None,
                },
            );
        }
    }
}
