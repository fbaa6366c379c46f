//! The values of Hydra's overrides: quotes around them, and maps in braces.

use super::Entry;

/// `entry`, or, where its value is a map, an entry for each of what is in it.
pub(super) fn flattened(entry: Entry) -> Vec<Entry> {
    let inner = entry.value.trim();
    let inner = inner.strip_prefix('{').and_then(|i| i.strip_suffix('}'));
    let pairs: Option<Vec<(&str, &str)>> = inner.filter(|i| !i.trim().is_empty()).and_then(|i| {
        let pair = |item| split(item, ':').get(..2).map(|_| item.split_once(':'));
        split(i, ',')
            .into_iter()
            .map(|item| pair(item).flatten())
            .collect()
    });
    match pairs {
        None => vec![Entry {
            value: unquoted(&entry.value).to_owned(),
            ..entry
        }],
        Some(pairs) => pairs
            .into_iter()
            .flat_map(|(key, value)| {
                flattened(Entry {
                    key: format!("{}.{}", entry.key, unquoted(key.trim())),
                    value: value.trim().to_owned(),
                    line: entry.line,
                    others: Vec::new(),
                    state: entry.state.clone(),
                })
            })
            .collect(),
    }
}

/// The pieces between `at`, outside quotes and brackets.
fn split(text: &str, at: char) -> Vec<&str> {
    let (mut depth, mut quote, mut from) = (0_usize, None, 0);
    let mut pieces = Vec::new();
    for (i, c) in text.char_indices() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => quote = Some(c),
            ('[' | '{' | '(', None) => depth += 1,
            (']' | '}' | ')', None) => depth = depth.saturating_sub(1),
            (c, None) if c == at && depth == 0 => {
                pieces.push(&text[from..i]);
                from = i + c.len_utf8();
            }
            // Also all that stands in quotes.
            _ => {}
        }
    }
    pieces.push(&text[from..]);
    pieces
}

pub(super) fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote));
        if let Some(inner) = inner.filter(|inner| !inner.contains(quote)) {
            return inner;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> String {
        let entry = Entry {
            key: "k".to_owned(),
            value: value.to_owned(),
            ..Entry::default()
        };
        let all = flattened(entry).into_iter();
        all.map(|e| format!("{}={}", e.key, e.value))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn maps_become_entries() {
        assert_eq!(
            shown("{a:1,'b': {c: [1,2], d:\"x,y\"}}"),
            "k.a=1 k.b.c=[1,2] k.b.d=x,y"
        );
        assert_eq!(shown("{}"), "k={}");
        assert_eq!(shown("{a}"), "k={a}");
        assert_eq!(shown("'x'"), "k=x");
    }

    proptest::proptest! {
        #[test]
        fn no_value_makes_it_panic(value in "[a-z{}\\[\\]:,'\"]{0,40}") {
            let _ = shown(&value);
        }
    }
}
