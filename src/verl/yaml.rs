//! YAML as Hydra's configurations use it: nested maps of scalars and short lists, with the line of each value. Anything
//! richer (anchors, block texts, lists of maps) is named as not understood.

use super::{Entry, Read};

/// Reads a document into dotted keys.
pub(super) fn read(text: &str) -> Read {
    let mut read = Read::default();
    // Indentation and name of the maps that are open.
    let mut open: Vec<(usize, String)> = Vec::new();
    for (i, raw) in text.lines().enumerate() {
        let number = i + 1;
        let line = without_comment(raw);
        let content = line.trim_start();
        if content.is_empty() || content == "---" {
            continue;
        }
        let indent = line.len() - content.len();
        while open.last().is_some_and(|(depth, _)| *depth >= indent) {
            open.pop();
        }
        if content.starts_with("- ") || content == "-" {
            // An item of a list whose key stands above.
            continue;
        }
        let Some((key, value)) = content.split_once(':') else {
            read.not_understood
                .push(format!("line {number}: {}", content.trim_end()));
            continue;
        };
        let key = unquoted(key.trim());
        let value = value.trim();
        if value.is_empty() {
            open.push((indent, key.to_owned()));
            continue;
        }
        let path: Vec<&str> = open
            .iter()
            .map(|(_, name)| name.as_str())
            .chain([key])
            .collect();
        if value.starts_with(['|', '>', '&', '*', '{']) && value != "{}" {
            read.not_understood
                .push(format!("line {number}: {}: {value}", path.join(".")));
            continue;
        }
        read.entries.push(Entry {
            key: path.join("."),
            value: unquoted(value).to_owned(),
            line: number,
        });
    }
    read
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
trainer.nnodes = 2 (14)
");
    }

    #[test]
    fn what_is_richer_is_named() {
        let found = read("a:\n  b: &x 5\n  c: |\n    text\njust words\n");
        insta::assert_snapshot!(found.not_understood.join("\n"), @r"
line 2: a.b: &x 5
line 3: a.c: |
line 4: text
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
