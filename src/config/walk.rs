//! Walking the spanned TOML tree: typed access that notes every mistake and goes on.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::{Diagnostics, listed, nearest};
use super::document::At;
use super::setting::{self, Declaration, Kind};

/// A table of the document.
#[derive(Clone)]
pub(crate) struct Table<'a> {
    /// Dotted, empty for the document itself.
    pub(crate) path: String,
    /// Its header, or its braces.
    pub(crate) span: Range<usize>,
    entries: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    pub(crate) fn root(root: &'a Spanned<DeTable<'a>>) -> Self {
        Self {
            path: String::new(),
            span: 0..0,
            entries: root.get_ref(),
        }
    }

    /// The dotted path of a key.
    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Notes every key that is not among `known`.
    pub(crate) fn only(&self, known: &[&str], found: &mut Diagnostics) {
        for (key, _) in self.entries() {
            if known.contains(&key.value) {
                continue;
            }
            let place = if self.path.is_empty() {
                "at the top of the file".to_owned()
            } else {
                format!("in `{}`", self.path)
            };
            let mistake = found.at(&key.span, format!("unknown key `{}` {place}", key.value));
            match nearest(key.value, known.iter().copied()) {
                Some(near) => mistake.label(format!("did you mean `{near}`?")),
                None => mistake.help(format!(
                    "the keys here are {}",
                    listed(known.iter().copied())
                )),
            };
        }
    }

    /// All keys and values in the order of the document.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (At<&'a str>, &'a Spanned<DeValue<'a>>)> {
        self.entries.iter().map(|(key, value)| (at_key(key), value))
    }

    /// A key and its value.
    pub(crate) fn get(&self, key: &str) -> Option<(At<&'a str>, &'a Spanned<DeValue<'a>>)> {
        self.entries
            .get_key_value(key)
            .map(|(key, value)| (at_key(key), value))
    }

    pub(crate) fn text(&self, key: &str, found: &mut Diagnostics) -> Option<At<String>> {
        let (_, value) = self.get(key)?;
        text(value, &self.path_of(key), found)
    }

    pub(crate) fn boolean(&self, key: &str, found: &mut Diagnostics) -> Option<At<bool>> {
        let (_, value) = self.get(key)?;
        boolean(value, &self.path_of(key), found)
    }

    /// A whole number in `range`.
    pub(crate) fn integer<T>(
        &self,
        key: &str,
        range: RangeInclusive<T>,
        found: &mut Diagnostics,
    ) -> Option<At<T>>
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        let (_, value) = self.get(key)?;
        integer(value, &self.path_of(key), &range, found)
    }

    /// A number, whole or not, that passes; a failure is what it must be.
    pub(crate) fn number(
        &self,
        key: &str,
        fits: impl Fn(f64) -> Result<(), &'static str>,
        found: &mut Diagnostics,
    ) -> Option<At<f64>> {
        let (_, value) = self.get(key)?;
        number(value, &self.path_of(key), &fits, found)
    }

    /// What a declared setting says here, as JSON.
    pub(crate) fn setting(
        &self,
        setting: &Declaration,
        key: &str,
        found: &mut Diagnostics,
    ) -> Option<At<Value>> {
        let (_, value) = self.get(key)?;
        let path = self.path_of(key);
        if !setting.many {
            return one(setting.kind, value, &path, found).map(|v| At::new(v, value.span()));
        }
        let wanted = match setting.kind {
            Kind::Whole(..) => "a whole number, or a list of them",
            _ => "a number, or a list of numbers",
        };
        let items = one_or_many(value, &path, wanted, found)?;
        let values: Option<Vec<Value>> = items
            .into_iter()
            .map(|item| one(setting.kind, item, &path, found))
            .collect();
        Some(At::new(Value::Array(values?), value.span()))
    }

    /// One of a closed set of words.
    pub(crate) fn choice<'c>(
        &self,
        key: &str,
        of: &[&'c str],
        found: &mut Diagnostics,
    ) -> Option<&'c str> {
        let word = self.text(key, found)?;
        choose(&word, &self.path_of(key), of, found)
    }

    /// A list of texts.
    pub(crate) fn texts(&self, key: &str, found: &mut Diagnostics) -> Option<Vec<At<String>>> {
        let (_, value) = self.get(key)?;
        let path = self.path_of(key);
        let Some(items) = value.get_ref().as_array() else {
            wrong_type(value, &path, "a list of texts", found);
            return None;
        };
        let texts = items.iter().filter_map(|item| text(item, &path, found));
        Some(texts.collect())
    }

    /// A sub-table, if the key is one.
    pub(crate) fn table_if_any(&self, key: &str) -> Option<Table<'a>> {
        self.table(key, &mut Diagnostics::default())
    }

    /// A sub-table.
    pub(crate) fn table(&self, key: &str, found: &mut Diagnostics) -> Option<Table<'a>> {
        let (key, value) = self.get(key)?;
        sub_table(key.value, value, self.path_of(key.value), found)
    }

    /// The sub-tables of an array of tables, in the order of the document.
    pub(crate) fn tables(&self, key: &str, found: &mut Diagnostics) -> Vec<Table<'a>> {
        let Some((key, value)) = self.get(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            wrong_type(
                value,
                &self.path_of(key.value),
                &format!("written as [[{}]]", key.value),
                found,
            );
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| sub_table(key.value, item, self.path_of(key.value), found))
            .collect()
    }
}

/// One value of a kind.
fn one(
    kind: Kind,
    value: &Spanned<DeValue<'_>>,
    path: &str,
    found: &mut Diagnostics,
) -> Option<Value> {
    match kind {
        Kind::Whole(least, greatest) => {
            let range = least..=greatest.min(i64::MAX.into());
            integer(value, path, &range, found).map(|at| setting::whole(at.value))
        }
        Kind::Number(fits) => {
            number(value, path, &fits, found).map(|at| setting::number_value(at.value))
        }
        Kind::Share => {
            let fits = |share| {
                let must = "a share above 0 and below 1, such as 0.02 for 2 %";
                setting::is_part(share).then_some(()).ok_or(must)
            };
            number(value, path, &fits, found).map(|at| at.value.into())
        }
        Kind::Switch => boolean(value, path, found).map(|at| at.value.into()),
        Kind::Choice(of) => {
            let word = text(value, path, found)?;
            let words: Vec<&str> = of.iter().map(|(word, _)| *word).collect();
            choose(&word, path, &words, found).map(Value::from)
        }
        Kind::Either(_) | Kind::Text | Kind::Path => {
            text(value, path, found).map(|at| at.value.into())
        }
        Kind::Own(_) => None,
    }
}

/// The word, if it is one of a closed set.
fn choose<'a>(
    word: &At<String>,
    path: &str,
    of: &[&'a str],
    found: &mut Diagnostics,
) -> Option<&'a str> {
    let chosen = of.iter().find(|name| **name == word.value);
    if chosen.is_none() {
        found
            .at(&word.span, format!("`{path}` cannot be `{}`", word.value))
            .label(format!("one of {}", listed(of.iter().copied())));
    }
    chosen.copied()
}

/// The items of a list, or a value alone. An empty list is a mistake.
fn one_or_many<'a>(
    value: &'a Spanned<DeValue<'a>>,
    path: &str,
    wanted: &str,
    found: &mut Diagnostics,
) -> Option<Vec<&'a Spanned<DeValue<'a>>>> {
    let Some(items) = value.get_ref().as_array() else {
        return Some(vec![value]);
    };
    if items.is_empty() {
        found
            .at(&value.span(), format!("`{path}` is empty"))
            .label(format!("must be {wanted}"));
        return None;
    }
    Some(items.iter().collect())
}

fn integer<T>(
    value: &Spanned<DeValue<'_>>,
    path: &str,
    range: &RangeInclusive<T>,
    found: &mut Diagnostics,
) -> Option<At<T>>
where
    T: TryFrom<i64> + PartialOrd + Display + Copy,
{
    let Some(number) = value.get_ref().as_integer() else {
        wrong_type(value, path, "a whole number", found);
        return None;
    };
    let parsed = i64::from_str_radix(number.as_str(), number.radix())
        .ok()
        .and_then(|n| T::try_from(n).ok())
        .filter(|n| range.contains(n));
    if parsed.is_none() {
        found
            .at(&value.span(), format!("`{path}` is out of range"))
            .label(format!("must be from {} to {}", range.start(), range.end()));
    }
    parsed.map(|n| At::new(n, value.span()))
}

fn number(
    value: &Spanned<DeValue<'_>>,
    path: &str,
    fits: &impl Fn(f64) -> Result<(), &'static str>,
    found: &mut Diagnostics,
) -> Option<At<f64>> {
    let number = match value.get_ref() {
        DeValue::Integer(n) => n.as_str().parse::<f64>().unwrap_or(f64::NAN),
        DeValue::Float(n) => n.as_str().parse().unwrap_or(f64::NAN),
        _ => {
            wrong_type(value, path, "a number", found);
            return None;
        }
    };
    match fits(number) {
        Ok(()) => Some(At::new(number, value.span())),
        Err(must) => {
            found
                .at(&value.span(), format!("`{path}` is out of range"))
                .label(format!("must be {must}"));
            None
        }
    }
}

fn boolean(value: &Spanned<DeValue<'_>>, path: &str, found: &mut Diagnostics) -> Option<At<bool>> {
    let Some(flag) = value.get_ref().as_bool() else {
        wrong_type(value, path, "true or false", found);
        return None;
    };
    Some(At::new(flag, value.span()))
}

fn at_key<'a>(key: &'a Spanned<DeString<'a>>) -> At<&'a str> {
    At::new(key.get_ref().as_ref(), key.span())
}

/// `value` as a table named `path`.
pub(crate) fn sub_table<'a>(
    key: &str,
    value: &'a Spanned<DeValue<'a>>,
    path: String,
    found: &mut Diagnostics,
) -> Option<Table<'a>> {
    if let Some(entries) = value.get_ref().as_table() {
        Some(Table {
            path,
            span: value.span(),
            entries,
        })
    } else {
        wrong_type(value, &path, &format!("a table: {key} = {{ ... }}"), found);
        None
    }
}

/// `value` as text.
pub(crate) fn text(
    value: &Spanned<DeValue<'_>>,
    path: &str,
    found: &mut Diagnostics,
) -> Option<At<String>> {
    let Some(text) = value.get_ref().as_str() else {
        wrong_type(value, path, "a text in quotes", found);
        return None;
    };
    holds_no_nul(text, value, path, found)?;
    Some(At::new(text.to_owned(), value.span()))
}

/// No argument, variable or path can hold it.
fn holds_no_nul(
    text: &str,
    value: &Spanned<DeValue<'_>>,
    path: &str,
    found: &mut Diagnostics,
) -> Option<()> {
    if text.contains('\0') {
        found
            .at(&value.span(), format!("`{path}` holds a NUL character"))
            .label("no argument, variable or path can");
        return None;
    }
    Some(())
}

/// `value` as JSON: what an engine argument may be.
pub(crate) fn json(
    value: &Spanned<DeValue<'_>>,
    path: &str,
    found: &mut Diagnostics,
) -> Option<Value> {
    Some(match value.get_ref() {
        DeValue::String(text) => {
            holds_no_nul(text, value, path, found)?;
            Value::from(text.as_ref())
        }
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Integer(number) => {
            if let Ok(n) = i64::from_str_radix(number.as_str(), number.radix()) {
                Value::from(n)
            } else {
                found.at(&value.span(), format!("`{path}` is too large a number"));
                return None;
            }
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().parse::<f64>().ok();
            if let Some(n) = parsed.and_then(serde_json::Number::from_f64) {
                Value::Number(n)
            } else {
                found.at(&value.span(), format!("`{path}` must be a finite number"));
                return None;
            }
        }
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| json(item, path, found))
                .collect::<Option<_>>()?,
        ),
        DeValue::Table(table) => Value::Object(
            table
                .iter()
                .map(|(key, item)| {
                    let key = key.get_ref().to_string();
                    json(item, &format!("{path}.{key}"), found).map(|value| (key, value))
                })
                .collect::<Option<_>>()?,
        ),
        DeValue::Datetime(_) => {
            wrong_type(
                value,
                path,
                "text, number, true or false, list or table",
                found,
            );
            return None;
        }
    })
}

/// Notes that a value has another type than `wanted`.
pub(crate) fn wrong_type(
    value: &Spanned<DeValue<'_>>,
    path: &str,
    wanted: &str,
    found: &mut Diagnostics,
) {
    let is = match value.get_ref() {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    found
        .at(&value.span(), format!("`{path}` has the wrong type"))
        .label(format!("this is {is}; it must be {wanted}"));
}
