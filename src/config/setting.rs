//! What a setting is: key, flag, variable, type, range, default and help. Each is declared once, in
//! [`super::declared`]; the command line, the reader of TOML, `plan`, the record, the schema and the reference of
//! settings all follow from there.

use std::marker::PhantomData;

use serde_json::Value;

use super::diagnostic::Diagnostics;
use super::document::At;
use super::walk::Table;

/// A setting, without its Rust type.
#[derive(Debug)]
pub(crate) struct Declaration {
    /// The dotted path in the configuration, in `plan` and in the record (`run.steps`).
    pub key: &'static str,
    pub kind: Kind,
    /// Whether a list of values can be given.
    pub many: bool,
    /// As in a usage line, the name in messages first: `-n --samples <N>`; `<ID>...` takes several words.
    pub flag: Option<&'static str>,
    pub env: Option<&'static str>,
    /// As it would be written after the flag; absent: nothing is set.
    pub default: Option<&'static str>,
    /// What help and reference say instead, where the default depends on other settings.
    pub default_words: Option<&'static str>,
    /// The default of `load`, where it is another.
    pub load_default: Option<&'static str>,
    /// What goes with a flag's mistake: one line.
    pub hint: Option<&'static str>,
    /// The flag's group in `--help`.
    pub heading: &'static str,
    /// The commands that take the flag.
    pub commands: u8,
    /// Whether the configuration has it: every dotted key, unless declared otherwise.
    in_file: bool,
    /// Whether every layer of engine settings can say it (engine, model, precision, cell): [`super::layer`] reads it.
    pub layered: bool,
    pub shown: Shown,
    /// The first paragraph is what `-h` shows.
    pub help: &'static str,
}

/// What a setting's values are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// From least to greatest.
    Whole(i128, i128),
    /// A number that passes; what it must be where it does not.
    Number(fn(f64) -> Result<(), &'static str>),
    /// A share above 0 and below 1, which a flag can also give in percent.
    Share,
    Switch,
    /// Words, each with what it means.
    Choice(&'static [(&'static str, &'static str)]),
    /// A choice of which each has a flag of its own, with its help.
    Either(&'static [(&'static str, &'static str)]),
    Text,
    Path,
    /// In TOML a table or list that code of its own reads.
    Own(Own),
}

/// A value with a form of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    /// Reads the key of the table; every mistake is noted.
    pub read: fn(&Table<'_>, &str, &mut Diagnostics) -> Option<At<Value>>,
    /// What can be written, for the reference.
    pub words: &'static str,
    /// Its JSON Schema.
    pub schema: fn() -> Value,
}

/// Where the value is shown beside its origin: `plan`, and the settings of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Always,
    /// Only where something sets it.
    Said,
    /// What it does shows elsewhere: in the matrix, in the cells.
    Never,
}

/// `run`, `plan` and `diagnostic`.
pub(crate) const MATRIX: u8 = 1;
/// `predict`.
pub(crate) const PREDICT: u8 = 2;
/// `load`.
pub(crate) const LOAD: u8 = 4;

/// A setting whose values are `T`: absent ones are `None` where `T` is an option.
#[derive(Debug)]
pub(crate) struct Setting<T> {
    pub declaration: Declaration,
    values: PhantomData<fn() -> T>,
}

impl<T> Setting<T> {
    const fn new(key: &'static str, kind: Kind) -> Self {
        let declaration = Declaration {
            key,
            kind,
            many: false,
            flag: None,
            env: None,
            default: None,
            default_words: None,
            load_default: None,
            hint: None,
            heading: "",
            commands: MATRIX,
            in_file: true,
            layered: false,
            shown: Shown::Always,
            help: "",
        };
        Self {
            declaration,
            values: PhantomData,
        }
    }

    pub(super) const fn whole(key: &'static str, least: i128, greatest: i128) -> Self {
        Self::new(key, Kind::Whole(least, greatest))
    }

    pub(super) const fn number(
        key: &'static str,
        fits: fn(f64) -> Result<(), &'static str>,
    ) -> Self {
        Self::new(key, Kind::Number(fits))
    }

    pub(super) const fn share(key: &'static str) -> Self {
        Self::new(key, Kind::Share)
    }

    pub(super) const fn switch(key: &'static str) -> Self {
        Self::new(key, Kind::Switch).default("false")
    }

    pub(super) const fn choice(
        key: &'static str,
        of: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self::new(key, Kind::Choice(of))
    }

    pub(super) const fn either(
        key: &'static str,
        of: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self::new(key, Kind::Either(of))
    }

    pub(super) const fn text(key: &'static str) -> Self {
        Self::new(key, Kind::Text)
    }

    pub(super) const fn path(key: &'static str) -> Self {
        Self::new(key, Kind::Path)
    }

    pub(super) const fn own(key: &'static str, own: Own) -> Self {
        Self::new(key, Kind::Own(own))
    }

    pub(super) const fn many(mut self) -> Self {
        self.declaration.many = true;
        self
    }

    pub(super) const fn flag(mut self, heading: &'static str, usage: &'static str) -> Self {
        self.declaration.heading = heading;
        self.declaration.flag = Some(usage);
        self
    }

    pub(super) const fn env(mut self, name: &'static str) -> Self {
        self.declaration.env = Some(name);
        self
    }

    pub(super) const fn default(mut self, text: &'static str) -> Self {
        self.declaration.default = Some(text);
        self
    }

    pub(super) const fn default_words(mut self, words: &'static str) -> Self {
        self.declaration.default_words = Some(words);
        self
    }

    /// Taken by `load` too, where nothing else is the default.
    pub(super) const fn load_default(mut self, text: &'static str) -> Self {
        self.declaration.load_default = Some(text);
        self.also(LOAD)
    }

    pub(super) const fn hint(mut self, hint: &'static str) -> Self {
        self.declaration.hint = Some(hint);
        self
    }

    pub(super) const fn also(mut self, commands: u8) -> Self {
        self.declaration.commands |= commands;
        self
    }

    pub(super) const fn shown(mut self, shown: Shown) -> Self {
        self.declaration.shown = shown;
        self
    }

    pub(super) const fn layered(mut self) -> Self {
        self.declaration.layered = true;
        self.declaration.shown = Shown::Never;
        self
    }

    pub(super) const fn not_in_file(mut self) -> Self {
        self.declaration.in_file = false;
        self
    }

    pub(super) const fn help(mut self, help: &'static str) -> Self {
        self.declaration.help = help;
        self
    }
}

impl Declaration {
    /// The flag's name in messages.
    pub(crate) fn flag_name(&self) -> Option<&'static str> {
        self.flag?.split_whitespace().next()
    }

    /// The key within its table.
    pub(crate) fn last_key(&self) -> &'static str {
        self.key.rsplit('.').next().unwrap_or(self.key)
    }

    /// Whether a configuration file can say it.
    pub(crate) fn is_in_file(&self) -> bool {
        self.in_file && self.key.contains('.')
    }

    /// The default as a value; null without one.
    pub(crate) fn default_value(&self) -> Value {
        // A test reads every default.
        let read = self.default.map(|text| self.read_text("", text));
        read.and_then(Result::ok).unwrap_or_default()
    }

    /// A value as flags and variables write it.
    ///
    /// # Errors
    /// The whole message, which begins with `name`.
    pub(crate) fn read_text(&self, name: &str, text: &str) -> Result<Value, String> {
        let must = |what: &str| format!("{name} {text}: must be {what}");
        match self.kind {
            Kind::Whole(least, greatest) => match text.trim().parse::<i128>() {
                Err(_) => Err(must("a whole number")),
                Ok(n) if n < least => Err(must(&format!("at least {least}"))),
                Ok(n) if n > greatest => Err(must(&format!("from {least} to {greatest}"))),
                Ok(n) => Ok(whole(n)),
            },
            Kind::Number(fits) => {
                let number = text.trim().parse::<f64>().map_err(|_| {
                    let what = match fits(f64::INFINITY) {
                        Ok(()) => "is neither a number nor `inf`",
                        Err(_) => "is not a number",
                    };
                    format!("{name}: `{text}` {what}")
                })?;
                fits(number).map_err(must)?;
                Ok(number_value(number))
            }
            Kind::Share => {
                let share = crate::units::parse_share(text)
                    .map_err(|what| format!("{name} {text}: {what}"))?;
                if !is_part(share) {
                    return Err(must("above 0 and below 1 (or 100%)"));
                }
                Ok(share.into())
            }
            Kind::Switch => match text {
                "true" => Ok(true.into()),
                "false" => Ok(false.into()),
                _ => Err(must("true or false")),
            },
            Kind::Choice(of) if of.iter().all(|(word, _)| *word != text) => {
                let words: Vec<&str> = of.iter().map(|(word, _)| *word).collect();
                Err(must(&format!("one of {}", words.join(", "))))
            }
            Kind::Choice(_) | Kind::Either(_) | Kind::Text | Kind::Path | Kind::Own(_) => {
                Ok(text.into())
            }
        }
    }
}

/// A whole number as JSON.
pub(super) fn whole(n: i128) -> Value {
    match (u64::try_from(n), i64::try_from(n)) {
        (Ok(n), _) => n.into(),
        (_, Ok(n)) => n.into(),
        _ => Value::Null,
    }
}

/// A number as JSON, which has no infinity: a word stands for it.
pub(super) fn number_value(number: f64) -> Value {
    if number.is_infinite() {
        Value::from("inf")
    } else {
        Value::from(number)
    }
}

/// Whether a share leaves something on both sides.
pub(super) fn is_part(share: f64) -> bool {
    share > 0.0 && share < 1.0
}
