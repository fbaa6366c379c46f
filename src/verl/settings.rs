//! A verl run's settings, looked up by name, and what becomes of each of them.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::{Entry, ImportError, Read, Unknown};

/// What is said, and which of it was written into the configuration so far.
pub(super) struct Settings<'a> {
    read: &'a Read,
    /// Places in `read.entries`.
    written: RefCell<BTreeSet<usize>>,
}

/// Where a setting ends that the configuration does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// It was said again later, on this line.
    SaidAgain(usize),
    /// `null` is as if nothing were said.
    Null,
    /// Nothing read it.
    Unread,
}

impl<'a> Settings<'a> {
    pub(super) fn new(read: &'a Read) -> Self {
        Self {
            read,
            written: RefCell::default(),
        }
    }

    /// The last one wins, as with Hydra; `null` is as if nothing were said.
    pub(super) fn get(&self, key: &str) -> Option<&'a Entry> {
        self.last(key).filter(|entry| !entry.is_null())
    }

    fn last(&self, key: &str) -> Option<&'a Entry> {
        self.read.entries.iter().rev().find(|e| e.key == key)
    }

    /// The settings below `prefix` that win, in the order of the file.
    pub(super) fn below(&self, prefix: &str) -> impl Iterator<Item = &'a Entry> {
        let wins = |entry: &&'a Entry| self.get(&entry.key) == Some(*entry);
        self.read
            .entries
            .iter()
            .filter(|entry| entry.key.starts_with(prefix))
            .filter(wins)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Whether `key` is said to be true.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.get(key).is_some_and(|entry| is_true(&entry.value))
    }

    /// A number of 1 at least, and where it comes from.
    pub(super) fn count(&self, key: &str) -> Result<Option<(u64, String)>, ImportError> {
        let Some(entry) = self.get(key) else {
            return Ok(None);
        };
        match entry.value.parse::<u64>() {
            Ok(number) if number > 0 => Ok(Some((number, self.origin(entry)))),
            _ => Err(ImportError::Number {
                line: entry.line,
                key: entry.key.clone(),
                value: entry.value.clone(),
            }),
        }
    }

    /// The first of `keys` that is said, else verl's default.
    pub(super) fn count_or(
        &self,
        keys: &[&str],
        default: u64,
    ) -> Result<(u64, String), ImportError> {
        for key in keys {
            if let Some(found) = self.count(key)? {
                return Ok(found);
            }
        }
        let key = keys.last().copied().unwrap_or_default();
        Ok((default, self.by_default(key)))
    }

    /// Where `entry` comes from. To say so is to write it into the configuration: it counts as written from here on.
    pub(super) fn origin(&self, entry: &Entry) -> String {
        let place = self.read.entries.iter().position(|e| e == entry);
        self.written.borrow_mut().extend(place);
        format!("{}, line {}", entry.key, entry.line)
    }

    /// Where a default comes from. What the file says and cannot be followed must not look like what it does not say.
    pub(super) fn by_default(&self, key: &str) -> String {
        let unknown = self.unknown().iter().rev().find(|u| u.entry.key == key);
        match unknown {
            Some(Unknown { entry, .. }) => {
                let line = entry.line;
                format!("CHECK: {key}, line {line}, cannot be followed; verl's default stands here")
            }
            None => format!("{key}: verl's default"),
        }
    }

    /// Settings whose value could not be followed.
    pub(super) fn unknown(&self) -> &'a [Unknown] {
        &self.read.unknown
    }

    /// All that the configuration does not have, and where it ends instead.
    pub(super) fn left(&self) -> Vec<(&'a Entry, Elsewhere)> {
        let written = self.written.borrow();
        let elsewhere = |(place, entry): (usize, &'a Entry)| {
            if written.contains(&place) {
                return None;
            }
            let last = self.last(&entry.key).filter(|last| *last != entry);
            let end = match last {
                Some(last) => Elsewhere::SaidAgain(last.line),
                None if entry.is_null() => Elsewhere::Null,
                None => Elsewhere::Unread,
            };
            Some((entry, end))
        };
        self.read
            .entries
            .iter()
            .enumerate()
            .filter_map(elsewhere)
            .collect()
    }
}

impl Entry {
    /// Said, but to say nothing.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.value.as_str(), "null" | "None" | "~")
    }
}

/// As Hydra reads it.
pub(super) fn is_true(value: &str) -> bool {
    value.eq_ignore_ascii_case("true")
}
