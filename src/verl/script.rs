//! Run scripts and Hydra overrides: every word of the form `a.b=value`, with the script's own variables put in.
//!
//! Not a shell: it follows assignments, `${NAME:-default}` and `$((...))`, and names what it cannot follow.

use std::collections::HashMap;

use super::{Entry, Read, Unknown, arithmetic};

/// Reads a script, or lines of overrides.
pub(super) fn read(text: &str) -> Read {
    let mut reader = Reader::default();
    for word in words(text) {
        reader.word(&word);
    }
    reader.read
}

#[derive(Default)]
struct Reader {
    variables: HashMap<String, String>,
    /// How many `if` and `case` are open: what stands in them may not hold.
    conditions: u32,
    read: Read,
}

impl Reader {
    fn word(&mut self, word: &Word) {
        match word.text.as_str() {
            "if" | "case" => self.conditions += 1,
            "fi" | "esac" => self.conditions = self.conditions.saturating_sub(1),
            text if text.starts_with("--config-") => self.other_defaults(word),
            _ => match word.text.split_once('=') {
                Some((name, raw)) => self.setting(word, name, raw),
                None => self.spread(word),
            },
        }
    }

    fn setting(&mut self, word: &Word, name: &str, raw: &str) {
        let key = name.trim_start_matches(['+', '~']);
        let line = word.line;
        if !is_key(key) {
            // Something like `a.b-c=1` is meant as a setting all the same.
            if key.contains('.')
                && key.starts_with(|c: char| c.is_ascii_lowercase())
                && !key.contains(['/', ' ', '"', '$'])
            {
                self.read
                    .not_understood
                    .push(format!("line {line}: {key}={raw}"));
            }
            return;
        }
        let value = substituted(raw, word.quoted_literally, &self.variables);
        if !key.contains('.') {
            // An assignment of the shell; one that cannot be followed must not look as if it were empty.
            match value {
                Ok(value) => self.variables.insert(key.to_owned(), value),
                Err(_) => self.variables.remove(key),
            };
            return;
        }
        match value {
            Ok(value) => {
                if self.conditions > 0 {
                    self.read.not_understood.push(format!(
                        "line {line}: {key}={value}: it stands in a condition, and is taken as if that held"
                    ));
                }
                self.read.entries.push(Entry {
                    key: key.to_owned(),
                    value,
                    line,
                });
            }
            Err(unknown) => self.read.unknown.push(Unknown {
                entry: Entry {
                    key: key.to_owned(),
                    value: raw.to_owned(),
                    line,
                },
                why: format!("{unknown} is not set in this file"),
            }),
        }
    }

    /// `${ARGS}`, a variable that holds settings of its own.
    fn spread(&mut self, word: &Word) {
        let name = word.text.trim_start_matches('$').trim_matches(['{', '}']);
        let Some(value) = self
            .variables
            .get(name)
            .filter(|_| word.text.starts_with('$'))
        else {
            return;
        };
        for mut inner in words(&value.clone()) {
            inner.line = word.line;
            if inner.text.contains('=') {
                self.word(&inner);
            }
        }
    }

    /// verl's own configurations have the defaults that stand here; another one has what it likes.
    fn other_defaults(&mut self, word: &Word) {
        let file = word.text.split_once('=').map_or("", |(_, file)| file);
        let is_verls = file.starts_with("ppo_") && word.text.starts_with("--config-name");
        if !is_verls {
            self.read.not_understood.push(format!(
                "line {}: {}: the defaults of that configuration are not read",
                word.line, word.text
            ));
        }
    }
}

fn is_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '@'))
}

struct Word {
    /// Quotes removed.
    text: String,
    /// Whether all of its value stood in single quotes, where the shell puts nothing in.
    quoted_literally: bool,
    line: usize,
}

/// The words of a script: blanks and newlines part them, quotes and `$(...)` hold them together, a backslash joins
/// lines, `#` at the beginning of a word begins a comment.
fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut current = String::new();
    let (mut line, mut began) = (1, 1);
    let (mut quote, mut depth, mut literal) = (None, 0usize, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let blank = c.is_whitespace() && quote.is_none() && depth == 0;
        let parts = matches!(c, ';' | '(' | ')') && quote.is_none() && depth == 0;
        if (blank || parts) && !current.is_empty() {
            words.push(Word {
                text: std::mem::take(&mut current),
                quoted_literally: std::mem::take(&mut literal),
                line: began,
            });
        }
        if c == '\n' {
            line += 1;
        }
        if blank || parts {
            continue;
        }
        if current.is_empty() {
            began = line;
        }
        match (c, quote) {
            ('#', None) if current.is_empty() && depth == 0 => {
                while chars.next_if(|c| *c != '\n').is_some() {}
            }
            ('\\', None | Some('"')) => match chars.next() {
                Some('\n') => line += 1,
                Some(escaped) => current.push(escaped),
                None => {}
            },
            ('\'' | '"', None) => {
                quote = Some(c);
                literal |= c == '\'';
            }
            (c, Some(open)) if c == open => quote = None,
            ('$', None | Some('"')) if matches!(chars.peek(), Some('(' | '{')) => {
                current.push('$');
                current.extend(chars.next());
                depth += 1;
            }
            ('(' | '{', _) if depth > 0 => {
                depth += 1;
                current.push(c);
            }
            (')' | '}', _) if depth > 0 => {
                depth -= 1;
                current.push(c);
            }
            _ => current.push(c),
        }
    }
    if !current.is_empty() {
        words.push(Word {
            text: current,
            quoted_literally: literal,
            line: began,
        });
    }
    words
}

/// `raw` with variables and arithmetic put in, or the first thing that is not known.
fn substituted(
    raw: &str,
    literally: bool,
    variables: &HashMap<String, String>,
) -> Result<String, String> {
    if literally {
        return Ok(raw.to_owned());
    }
    let mut value = String::new();
    let mut rest = raw;
    while let Some(at) = rest.find('$') {
        value.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(inner) = rest.strip_prefix("((") {
            let end = inner.find("))").ok_or("an open $((")?;
            let expression = named(&substituted(&inner[..end], false, variables)?, variables);
            let number =
                arithmetic::value(&expression).ok_or_else(|| format!("$(({}))", &inner[..end]))?;
            value.push_str(&number.to_string());
            rest = &inner[end + 2..];
        } else if let Some(inner) = rest.strip_prefix('{') {
            let end = closing(inner).ok_or("an open ${")?;
            value.push_str(&parameter(&inner[..end], variables)?);
            rest = &inner[end + 1..];
        } else if rest.starts_with('(') {
            return Err("the output of a command".to_owned());
        } else {
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            let name = &rest[..end];
            value.push_str(variables.get(name).ok_or_else(|| format!("${name}"))?);
            rest = &rest[end..];
        }
    }
    value.push_str(rest);
    Ok(value)
}

/// `NAME`, `NAME:-default` or `NAME-default`. Hydra's own `oc.env` and references to other keys are not followed.
fn parameter(inner: &str, variables: &HashMap<String, String>) -> Result<String, String> {
    let end = inner
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(inner.len());
    let (name, rest) = inner.split_at(end);
    let default = rest.strip_prefix(":-").or_else(|| rest.strip_prefix('-'));
    match (variables.get(name), default) {
        (Some(value), _) if rest.is_empty() || default.is_some() => Ok(value.clone()),
        (None, Some(default)) => substituted(default.trim_matches(['"', '\'']), false, variables),
        _ => Err(format!("${{{inner}}}")),
    }
}

/// In arithmetic, variables stand without a dollar.
fn named(expression: &str, variables: &HashMap<String, String>) -> String {
    expression
        .split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .map(|part| {
            let name = part.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            match variables.get(name) {
                Some(value) => format!("{value}{}", &part[name.len()..]),
                None => part.to_owned(),
            }
        })
        .collect()
}

/// The place of the brace that closes what is open.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settings(text: &str) -> Vec<(String, String, usize)> {
        read(text)
            .entries
            .into_iter()
            .map(|e| (e.key, e.value, e.line))
            .collect()
    }

    #[test]
    fn overrides_are_found_with_their_lines() {
        let script = "set -x\n# data.n=9\npython3 -m verl.trainer.main_ppo \\\n    data.train_batch_size=1024 \\\n    \
                      +actor_rollout_ref.rollout.n='5' $@\n";
        assert_eq!(
            settings(script),
            [
                ("data.train_batch_size".to_owned(), "1024".to_owned(), 4),
                ("actor_rollout_ref.rollout.n".to_owned(), "5".to_owned(), 5),
            ]
        );
    }

    #[test]
    fn variables_defaults_and_arithmetic_are_followed() {
        let script = "P=$((1024 * 2))\nexport R=${R:-\"8192\"}\nMODEL_PATH=${MODEL_PATH:-\"${HOME_DIR:-/models}/Qwen3-8B\"}\n\
                      ARGS=(\n  data.max_response_length=${R}\n  a.b=$((P + R))\n  a.path=\"${MODEL_PATH}\"\n)\n";
        let values: Vec<String> = settings(script).into_iter().map(|s| s.1).collect();
        assert_eq!(values, ["8192", "10240", "/models/Qwen3-8B"]);
    }

    #[test]
    fn settings_in_variables_and_conditions_are_found() {
        let read = read(
            "A=\"actor_rollout_ref.rollout.n=4 data.seed=1\"\nif [ -n \"$X\" ]; then\n  B+=(data.max_prompt_length=9)\nfi\n\
             python3 -m verl.trainer.main_ppo --config-name=mine \\\n  $A data.b-c=1\n",
        );
        let found: Vec<String> = read
            .entries
            .iter()
            .map(|e| format!("{}={} ({})", e.key, e.value, e.line))
            .collect();
        assert_eq!(
            found,
            [
                "data.max_prompt_length=9 (3)",
                "actor_rollout_ref.rollout.n=4 (6)",
                "data.seed=1 (6)"
            ]
        );
        insta::assert_snapshot!(read.not_understood.join("\n"), @r"
line 3: data.max_prompt_length=9: it stands in a condition, and is taken as if that held
line 5: --config-name=mine: the defaults of that configuration are not read
line 6: data.b-c=1
");
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        let read = read("a.b=$UNSET\nX=$(date)\na.c=${X}\na.d='$literal'\n");
        assert_eq!(read.entries.len(), 1);
        let said: Vec<String> = read.unknown.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(said.join("\n"), @r"
line 1: a.b=$UNSET: $UNSET is not set in this file
line 3: a.c=${X}: ${X} is not set in this file
");
    }

    proptest! {
        #[test]
        fn no_script_makes_it_panic(text in "[a-z=.$(){}'\"\\\\ \n#+:-]{0,120}") {
            let _ = read(&text);
        }
    }
}
