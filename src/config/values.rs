//! What was said about settings, on every layer, and read with its type.

use std::ops::Range;
use std::time::Duration;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::declared::ALL;
use super::setting::{Declaration, Setting, Shown};
use super::{Origin, Sourced};

/// A number that may be infinite.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(from = "NumberOrWord")]
pub(crate) struct Extended(pub f64);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrWord {
    Number(f64),
    Word(String),
}

impl From<NumberOrWord> for Extended {
    fn from(value: NumberOrWord) -> Self {
        Self(match value {
            NumberOrWord::Number(number) => number,
            NumberOrWord::Word(word) => word.parse().unwrap_or(f64::INFINITY),
        })
    }
}

impl Extended {
    /// Absent where it is infinite.
    pub(crate) fn finite(self) -> Option<f64> {
        self.0.is_finite().then_some(self.0)
    }
}

/// A number of seconds that was checked where it was read.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(from = "f64")]
pub(crate) struct Seconds(pub Duration);

impl From<f64> for Seconds {
    fn from(seconds: f64) -> Self {
        Self(Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }
}

/// A value, who said it, and where in the document.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) value: Value,
    pub(super) origin: Origin,
    pub(super) span: Option<Range<usize>>,
}

/// What was said, by key; the layers lie over each other already.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    said: IndexMap<&'static str, Said>,
    /// Keys of flags that could not be read.
    unreadable: Vec<&'static str>,
}

impl Values {
    /// Who said it, and what; absent if nobody did.
    pub(super) fn said<T>(&self, setting: &Setting<T>) -> Option<&Said> {
        self.said.get(setting.declaration.key)
    }

    /// Whether it was said by a flag.
    pub(super) fn is_flag<T>(&self, setting: &Setting<T>) -> bool {
        let said = self.said(setting);
        said.is_some_and(|said| matches!(said.origin, Origin::Flag(_)))
    }

    pub(super) fn origin<T>(&self, setting: &Setting<T>) -> Origin {
        self.origin_of(setting.declaration.key)
    }

    pub(super) fn origin_of(&self, key: &str) -> Origin {
        let said = self.said.get(key);
        said.map_or(Origin::Default, |said| said.origin.clone())
    }

    /// Where the document says it.
    pub(super) fn span<T>(&self, setting: &Setting<T>) -> Option<Range<usize>> {
        self.said(setting)?.span.clone()
    }

    /// What was said, else the default.
    pub(super) fn get<T: DeserializeOwned>(&self, setting: &Setting<T>) -> T {
        let said = self.said(setting).map(|said| &said.value);
        typed(&setting.declaration, said)
    }

    pub(super) fn sourced<T: DeserializeOwned>(&self, setting: &Setting<T>) -> Sourced<T> {
        Sourced::new(self.get(setting), self.origin(setting))
    }

    /// Only what was said.
    pub(super) fn if_said<T: DeserializeOwned>(&self, setting: &Setting<T>) -> Option<Sourced<T>> {
        self.said(setting).map(|_| self.sourced(setting))
    }

    pub(super) fn insert(&mut self, setting: &Declaration, said: Said) {
        self.said.insert(setting.key, said);
    }

    /// Says something else, or says it again with another origin.
    pub(super) fn set<T>(&mut self, setting: &Setting<T>, value: impl Into<Value>, origin: Origin) {
        let said = Said {
            value: value.into(),
            origin,
            span: None,
        };
        self.insert(&setting.declaration, said);
    }

    /// Says what holds where nobody says anything.
    pub(super) fn set_default<T>(&mut self, setting: &Setting<T>, value: impl Into<Value>) {
        if self.said(setting).is_none() {
            self.set(setting, value, Origin::Default);
        }
    }

    /// Says what holds in `load` where nobody says anything.
    pub(super) fn take_defaults_of_load(&mut self) {
        for setting in ALL {
            // A test reads every default.
            let read = setting.load_default.map(|text| setting.read_text("", text));
            if let Some(Ok(value)) = read {
                self.said.entry(setting.key).or_insert(Said {
                    value,
                    origin: Origin::Default,
                    span: None,
                });
            }
        }
    }

    pub(super) fn forget<T>(&mut self, setting: &Setting<T>) {
        self.said.shift_remove(setting.declaration.key);
    }

    /// Notes that a flag could not be read.
    pub(super) fn cannot_read(&mut self, setting: &Declaration) {
        self.unreadable.push(setting.key);
    }

    /// Whether a flag of a section could not be read.
    pub(super) fn is_unreadable(&self, section: &str) -> bool {
        self.unreadable.iter().any(|key| key.starts_with(section))
    }

    /// The flags of a section that were given, read or not, by their names.
    pub(super) fn flags_under(&self, section: &str) -> Vec<&'static str> {
        let given = |key: &str| match self.said.get(key) {
            Some(said) => matches!(said.origin, Origin::Flag(_)),
            None => self.unreadable.contains(&key),
        };
        ALL.iter()
            .filter(|setting| setting.key.starts_with(section) && given(setting.key))
            .filter_map(|setting| setting.flag_name())
            .collect()
    }

    /// The value that `plan` and the record show, if they do.
    pub(super) fn shown(&self, setting: &Declaration) -> Option<Sourced<Value>> {
        match (setting.shown, self.said.get(setting.key)) {
            (Shown::Never, _) | (Shown::Said, None) => None,
            (_, Some(said)) => Some(Sourced::new(said.value.clone(), said.origin.clone())),
            (Shown::Always, None) => Some(Sourced::new(setting.default_value(), Origin::Default)),
        }
    }
}

impl<T: DeserializeOwned> Setting<T> {
    /// What holds where nothing is said.
    pub(crate) fn default_of(&self) -> T {
        typed(&self.declaration, None)
    }
}

/// A value of the declared type; where nothing was said, the default.
pub(super) fn typed<T: DeserializeOwned>(setting: &Declaration, said: Option<&Value>) -> T {
    let read = |value: Value| serde_json::from_value::<T>(value);
    let default = || {
        let value = match setting.default_value() {
            Value::Null if setting.many => Value::Array(Vec::new()),
            value => value,
        };
        // Every declaration's default and type are read by a test.
        read(value).expect("the declared default has the declared type")
    };
    said.and_then(|value| read(value.clone()).ok())
        .unwrap_or_else(default)
}
