//! A verl run's settings, looked up by name, and what becomes of each of them.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::defaults::Defaults;
use super::{Entry, ImportError, Read, State};

/// What is said, and which of it was written into the configuration so far.
pub(super) struct Settings<'a> {
    read: &'a Read,
    defaults: &'a Defaults,
    /// Places in `read.entries`.
    written: RefCell<BTreeSet<usize>>,
    /// What the configuration needs and only a person can say, each as `line 3: ...`.
    questions: RefCell<Vec<String>>,
}

/// What is worth writing about one setting.
#[derive(Debug, Clone)]
pub(super) struct Setting<V = String> {
    /// Absent where it cannot be known.
    pub(super) value: Option<V>,
    pub(super) origin: String,
    /// The file says it.
    pub(super) said: bool,
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
    pub(super) fn new(read: &'a Read, defaults: &'a Defaults) -> Self {
        Self {
            read,
            defaults,
            written: RefCell::default(),
            questions: RefCell::default(),
        }
    }

    /// The last one wins, as with Hydra; `null` is as if nothing were said.
    pub(super) fn get(&self, key: &str) -> Option<&'a Entry> {
        let known = |entry: &&Entry| entry.state == State::Known && !entry.is_null();
        self.last(key).filter(known)
    }

    /// Whatever is known of it.
    pub(super) fn last(&self, key: &str) -> Option<&'a Entry> {
        self.read.entries.iter().rev().find(|e| e.key == key)
    }

    /// The settings below `prefix` that win, in the order of the file.
    pub(super) fn below(&self, prefix: &str) -> Vec<&'a Entry> {
        let wins = |entry: &&'a Entry| {
            self.last(&entry.key)
                .is_some_and(|last| std::ptr::eq(last, *entry))
        };
        let entries = self.read.entries.iter();
        entries
            .filter(|e| e.key.starts_with(prefix) && !(e.is_null() && e.others.is_empty()))
            .filter(wins)
            .collect()
    }

    /// Whether `key` is said to be true.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.get(key).is_some_and(|entry| is_true(&entry.value))
    }

    pub(super) fn streams(&self) -> bool {
        self.read.streams
    }

    /// The first of `keys` that is said, else verl's default of the last; absent where verl has none. To ask is to write it
    /// into the configuration: what is said counts as written from here on, and what is open becomes a question.
    pub(super) fn value(&self, keys: &[&str]) -> Option<Setting> {
        let said = |entry: &&Entry| !entry.is_null() || !entry.others.is_empty();
        let found = keys.iter().find_map(|key| self.last(key).filter(said));
        if let Some(entry) = found.filter(|entry| entry.state != State::Elsewhere) {
            return Some(self.said(entry));
        }
        let default = self.defaults.get(keys.last()?);
        let (value, origin) = match default {
            Some(default) => (
                Some(default.value),
                format!("{}: verl's default, {}", keys.last()?, default.place),
            ),
            None => (None, "verl says nothing else".to_owned()),
        };
        match found {
            None => value.map(|value| Setting {
                value: Some(value),
                origin,
                said: false,
            }),
            Some(entry) => Some(Setting {
                value,
                origin: format!("{}; otherwise {origin}", self.origin(entry)),
                said: true,
            }),
        }
    }

    /// What `entry` says.
    pub(super) fn said(&self, entry: &Entry) -> Setting {
        let known = entry.state == State::Known && !entry.is_null();
        Setting {
            value: known.then(|| entry.value.clone()),
            origin: self.origin(entry),
            said: true,
        }
    }

    /// As [`value`](Self::value), where it must be a number of 1 at least.
    pub(super) fn count(&self, keys: &[&str]) -> Result<Setting<u64>, ImportError> {
        let Some(Setting {
            value,
            origin,
            said,
        }) = self.value(keys)
        else {
            let key = keys.last().copied().unwrap_or_default();
            let origin = format!("CHECK: {key} is not said, and this verl has no default for it");
            self.ask(origin.clone());
            return Ok(Setting {
                value: None,
                origin,
                said: false,
            });
        };
        let number = match &value {
            None => None,
            Some(text) => match text.parse::<u64>() {
                Ok(number) if number > 0 => Some(number),
                _ => {
                    let entry = keys
                        .iter()
                        .find_map(|key| self.get(key))
                        .cloned()
                        .unwrap_or_default();
                    return Err(ImportError::Number {
                        line: entry.line,
                        key: entry.key,
                        value: text.clone(),
                    });
                }
            },
        };
        Ok(Setting {
            value: number,
            origin,
            said,
        })
    }

    /// Where `entry` comes from, with everything else that it may be.
    pub(super) fn origin(&self, entry: &Entry) -> String {
        let place = self
            .read
            .entries
            .iter()
            .position(|e| std::ptr::eq(e, entry));
        self.written.borrow_mut().extend(place);
        let said = format!("{}, line {}", entry.key, entry.line);
        let all = one_line(
            &[vec![entry.value.clone()], entry.others.clone()]
                .concat()
                .join(" or "),
        );
        match &entry.state {
            State::Known if entry.others.is_empty() => return said,
            _ => self.ask(one_line(&entry.to_string())),
        }
        match &entry.state {
            State::Known => format!("CHECK: {said}: {all} by the branch"),
            State::Unknown(why) => format!("CHECK: {said}: {all}: {}", one_line(why)),
            State::Elsewhere => format!("CHECK: {said}: {all} on some branches"),
        }
    }

    pub(super) fn ask(&self, question: String) {
        let mut questions = self.questions.borrow_mut();
        if !questions.contains(&question) {
            questions.push(question);
        }
    }

    pub(super) fn questions(&self) -> Vec<String> {
        self.questions.borrow().clone()
    }

    /// All that the configuration does not have, and where it ends instead.
    pub(super) fn left(&self) -> Vec<(&'a Entry, Elsewhere)> {
        let written = self.written.borrow();
        let overridden = |entry: &Entry| {
            let keys = self.read.overridden.as_ref();
            keys.is_none_or(|keys| keys.contains(&entry.key))
        };
        let elsewhere = |(place, entry): (usize, &'a Entry)| {
            if written.contains(&place) || !overridden(entry) {
                return None;
            }
            let last = self
                .last(&entry.key)
                .filter(|last| !std::ptr::eq(*last, entry));
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

/// Text for a comment or a line of output.
pub(super) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// As Hydra reads it.
pub(super) fn is_true(value: &str) -> bool {
    value.eq_ignore_ascii_case("true")
}
