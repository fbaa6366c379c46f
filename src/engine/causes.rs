//! The table behind the diagnosis: `causes.toml`, read once.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde::Deserialize;

/// What the log of an engine that failed can hold, and what it means.
pub(super) static CAUSES: LazyLock<Causes> =
    LazyLock::new(|| toml::from_str(include_str!("causes.toml")).expect("a test reads it"));

/// A regular expression in a table.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Pattern(Regex);

impl TryFrom<String> for Pattern {
    type Error = regex::Error;

    fn try_from(text: String) -> Result<Self, regex::Error> {
        Regex::new(&text).map(Self)
    }
}

impl std::ops::Deref for Pattern {
    type Target = Regex;

    fn deref(&self) -> &Regex {
        &self.0
    }
}

/// The whole table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Causes {
    /// An engine or a worker is lost.
    pub(super) fatal: Vec<Pattern>,
    /// Exceptions that only follow from another one.
    pub(super) wrappers: Vec<Pattern>,
    /// In the order in which they are tried.
    pub(super) row: Vec<KnownCause>,
    /// How a process died that says nothing.
    pub(super) signal: Vec<Signal>,
}

/// One known failure; `causes.toml` says what the fields mean.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KnownCause {
    line: Pattern,
    also: Option<Pattern>,
    #[serde(default)]
    pub(super) vague: bool,
    pub(super) cause: String,
    pub(super) hint: String,
    #[cfg(test)]
    example: String,
    #[cfg(not(test))]
    #[serde(rename = "example")]
    _example: serde::de::IgnoredAny,
}

/// A signal and what it tells.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signal {
    pub(super) number: i32,
    pub(super) cause: String,
    pub(super) hint: String,
}

impl KnownCause {
    /// The first of `lines` that it is for, and what it found there. What it wants beside it is looked for in all.
    pub(super) fn find<'a>(&self, lines: &[&'a str]) -> Option<(&'a str, Captures<'a>)> {
        let found = lines
            .iter()
            .find_map(|line| Some((*line, self.line.captures(line)?)))?;
        let beside = self.also.as_ref();
        beside
            .is_none_or(|also| lines.iter().any(|line| also.is_match(line)))
            .then_some(found)
    }
}

/// `text` with its `{braces}` filled: with what the row's pattern named (nothing where that part did not match), with
/// the matching `line`, and with vLLM's version.
pub(super) fn fill(text: &str, found: &Captures<'_>, line: &str, vllm: &str) -> String {
    static BRACES: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\{(\w+)\}").expect("a constant"));
    BRACES
        .replace_all(text, |brace: &Captures<'_>| match &brace[1] {
            "line" => line.to_owned(),
            "vllm" => vllm.to_owned(),
            name => {
                let value = found.name(name).map_or("", |part| part.as_str());
                // Numbers are to be copied into a configuration.
                if value.starts_with(|c: char| c.is_ascii_digit()) {
                    value.replace(',', "")
                } else {
                    value.to_owned()
                }
            }
        })
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_is_shadowed_by_an_earlier_one() {
        for (at, row) in CAUSES.row.iter().enumerate() {
            let mut lines = vec![row.example.trim()];
            if row.also.is_some() {
                lines.push(r#"  File "/v/vllm_ascend/quantization/modelslim_config.py", line 1"#);
            }
            let winner = CAUSES.row.iter().position(|r| r.find(&lines).is_some());
            assert_eq!(winner, Some(at), "{}", row.example);
        }
    }

    #[test]
    fn every_brace_is_a_name_of_the_pattern() {
        for row in &CAUSES.row {
            let text = format!("{} {}", row.cause, row.hint);
            let mut names: Vec<&str> = row.line.capture_names().flatten().collect();
            names.extend(["line", "vllm"]);
            for part in text.split('{').skip(1) {
                let name = part.split('}').next().unwrap_or_default();
                assert!(names.contains(&name), "{{{name}}} in {text}");
            }
        }
    }
}
