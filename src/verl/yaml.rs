//! YAML as Hydra's configurations use it: nested maps of scalars and short lists, with the line of each value. Anything
//! richer (anchors, block texts, lists of maps) is named as not understood.

use super::{Entry, Read};

/// A key whose value stands on the lines below it.
struct Open {
    indent: usize,
    line: usize,
    /// Dotted, from the top of the document.
    path: String,
    /// Of a list.
    items: Vec<String>,
    /// Whether keys stand below it.
    is_map: bool,
}

/// Reads a document into dotted keys. A list is one value, `[a, b]`; a key with nothing below it is `null`.
pub(super) fn read(text: &str) -> Read {
    let mut read = Read::default();
    let mut open: Vec<Open> = Vec::new();
    // What is richer and therefore passed over: all that is indented deeper.
    let mut passed_over: Option<usize> = None;
    for (i, raw) in text.lines().enumerate() {
        let number = i + 1;
        let line = without_comment(raw);
        let content = line.trim_start();
        if content.is_empty() || content == "---" {
            continue;
        }
        let indent = line.len() - content.len();
        if passed_over.is_some_and(|depth| indent > depth) {
            continue;
        }
        passed_over = None;
        let item = content
            .strip_prefix('-')
            .filter(|rest| rest.is_empty() || rest.starts_with(' '));
        // The items of a list may stand as far left as its key.
        let inner = |of: &Open| of.indent < indent || (item.is_some() && of.indent == indent);
        while let Some(closed) = open.pop_if(|of| !inner(of)) {
            read.entries.extend(closed.value());
        }
        if let Some(item) = item {
            let item = item.trim();
            let flat = !item.is_empty()
                && !item.contains(": ")
                && !item.ends_with(':')
                && !item.starts_with(['{', '-']);
            match open.last_mut() {
                Some(list) if flat => list.items.push(unquoted(item).to_owned()),
                above => {
                    let key = above.map_or_else(String::new, |of| {
                        of.is_map = true;
                        format!("{}: ", of.path)
                    });
                    read.not_understood
                        .push(format!("line {number}: {key}{}", content.trim_end()));
                    passed_over = Some(indent);
                }
            }
            continue;
        }
        let Some((key, value)) = content.split_once(':') else {
            read.not_understood
                .push(format!("line {number}: {}", content.trim_end()));
            continue;
        };
        let key = unquoted(key.trim());
        let value = value.trim();
        let path = match open.last_mut() {
            Some(above) => {
                above.is_map = true;
                format!("{}.{key}", above.path)
            }
            None => key.to_owned(),
        };
        if value.is_empty() {
            open.push(Open {
                indent,
                line: number,
                path,
                items: Vec::new(),
                is_map: false,
            });
        } else if value.starts_with(['|', '>', '&', '*', '{']) && value != "{}" {
            read.not_understood
                .push(format!("line {number}: {path}: {value}"));
            passed_over = Some(indent);
        } else {
            read.entries.push(Entry {
                key: path,
                value: unquoted(value).to_owned(),
                line: number,
            });
        }
    }
    read.entries
        .extend(open.into_iter().filter_map(Open::value));
    read.entries.sort_by_key(|entry| entry.line);
    read
}

impl Open {
    /// Absent for a map, whose keys are entries of their own.
    fn value(self) -> Option<Entry> {
        let value = match (self.items.is_empty(), self.is_map) {
            (true, true) => return None,
            (true, false) => "null".to_owned(),
            (false, _) => format!("[{}]", self.items.join(", ")),
        };
        Some(Entry {
            key: self.path,
            value,
            line: self.line,
        })
    }
}

/// `#` begins a comment at the start of a line or after a blank, outside quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match (c, quote) {
            ('#', None) if before.is_whitespace() => return line[..at].trim_end(),
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
        before = c;
    }
    line.trim_end()
}

fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nested_maps_become_dotted_keys() {
        let text = "data:\n  train_batch_size: 1024 # of prompts\nactor_rollout_ref:\n  rollout:\n    name: \"vllm\"\n    \
                    'n': 5\n    engine_kwargs:\n      vllm: {}\n  model:\n    path: /m/a#b\ntrainer:\n  logger:\n  - console\n  nnodes: 2\n";
        let found: Vec<String> = read(text)
            .entries
            .iter()
            .map(|e| format!("{} = {} ({})", e.key, e.value, e.line))
            .collect();
        insta::assert_snapshot!(found.join("\n"), @r"
data.train_batch_size = 1024 (2)
actor_rollout_ref.rollout.name = vllm (5)
actor_rollout_ref.rollout.n = 5 (6)
actor_rollout_ref.rollout.engine_kwargs.vllm = {} (8)
actor_rollout_ref.model.path = /m/a#b (10)
trainer.logger = [console] (12)
trainer.nnodes = 2 (14)
");
    }

    #[test]
    fn what_is_richer_is_named() {
        let found = read("a:\n  b: &x 5\n  c: |\n    text\njust words\n");
        insta::assert_snapshot!(found.not_understood.join("\n"), @r"
line 2: a.b: &x 5
line 3: a.c: |
line 5: just words
");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z:#'\"{}& \n-]{0,120}") {
            let _ = read(&text);
        }
    }
}
