//! Walking the spanned TOML tree: typed access that notes every mistake and goes on.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::{Diagnostics, listed, nearest};
use super::document::At;

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
        let Some(flag) = value.get_ref().as_bool() else {
            wrong_type(value, &self.path_of(key), "true or false", found);
            return None;
        };
        Some(At::new(flag, value.span()))
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

    /// A number, whole or not, for which `fits` holds; `must` says what that is.
    pub(crate) fn number(
        &self,
        key: &str,
        fits: impl Fn(f64) -> bool,
        must: &str,
        found: &mut Diagnostics,
    ) -> Option<At<f64>> {
        let (_, value) = self.get(key)?;
        number(value, &self.path_of(key), &fits, must, found)
    }

    /// A number, or a list of at least one, for all of which `fits` holds.
    pub(crate) fn numbers(
        &self,
        key: &str,
        fits: impl Fn(f64) -> bool,
        must: &str,
        found: &mut Diagnostics,
    ) -> Option<At<Vec<f64>>> {
        let (_, value) = self.get(key)?;
        let path = self.path_of(key);
        let items = one_or_many(value, &path, "a number, or a list of numbers", found)?;
        let numbers: Option<Vec<f64>> = items
            .into_iter()
            .map(|item| number(item, &path, &fits, must, found).map(|at| at.value))
            .collect();
        Some(At::new(numbers?, value.span()))
    }

    /// A whole number in `range`, or a list of at least one.
    pub(crate) fn integers<T>(
        &self,
        key: &str,
        range: RangeInclusive<T>,
        found: &mut Diagnostics,
    ) -> Option<At<Vec<T>>>
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        let (_, value) = self.get(key)?;
        let path = self.path_of(key);
        let items = one_or_many(value, &path, "a whole number, or a list of them", found)?;
        let numbers: Option<Vec<T>> = items
            .into_iter()
            .map(|item| integer(item, &path, &range, found).map(|at| at.value))
            .collect();
        Some(At::new(numbers?, value.span()))
    }

    /// One of a closed set of words.
    pub(crate) fn choice<T: Copy>(
        &self,
        key: &str,
        choices: &[(&str, T)],
        found: &mut Diagnostics,
    ) -> Option<At<T>> {
        let word = self.text(key, found)?;
        let chosen = choices.iter().find(|(name, _)| *name == word.value);
        if chosen.is_none() {
            let names = listed(choices.iter().map(|(name, _)| *name));
            found
                .at(
                    &word.span,
                    format!("`{}` cannot be `{}`", self.path_of(key), word.value),
                )
                .label(format!("one of {names}"));
        }
        chosen.map(|(_, value)| At::new(*value, word.span))
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
    fits: &impl Fn(f64) -> bool,
    must: &str,
    found: &mut Diagnostics,
) -> Option<At<f64>> {
    let number = match value.get_ref() {
        DeValue::Integer(n) => n.as_str().parse::<f64>().ok(),
        DeValue::Float(n) => n.as_str().parse().ok(),
        _ => {
            wrong_type(value, path, "a number", found);
            return None;
        }
    };
    let fitting = number.filter(|n| fits(*n));
    if fitting.is_none() {
        found
            .at(&value.span(), format!("`{path}` is out of range"))
            .label(format!("must be {must}"));
    }
    fitting.map(|n| At::new(n, value.span()))
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
    Some(At::new(text.to_owned(), value.span()))
}

/// `value` as JSON: what an engine argument may be.
pub(crate) fn json(
    value: &Spanned<DeValue<'_>>,
    path: &str,
    found: &mut Diagnostics,
) -> Option<Value> {
    Some(match value.get_ref() {
        DeValue::String(text) => Value::from(text.as_ref()),
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
