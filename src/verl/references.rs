//! Hydra's references, `${oc.select:data.max_prompt_length,512}` and `${data.max_prompt_length}`: the value of another
//! setting, or the default beside it.

use super::{Entry, Read, Unknown};

/// A longer chain is a circle.
const DEEPEST: u32 = 8;

/// Puts in the values of references. What cannot be followed is named, and no value any more.
pub(super) fn follow(read: &mut Read) {
    let said = read.entries.clone();
    let mut followed = Vec::with_capacity(said.len());
    for entry in &said {
        match value(&entry.value, &said, 0) {
            Some(value) => followed.push(Entry {
                value,
                ..entry.clone()
            }),
            None => read.unknown.push(Unknown {
                entry: entry.clone(),
                why: "it leads nowhere in this file".to_owned(),
            }),
        }
    }
    read.entries = followed;
}

/// Absent where a reference has neither a value nor a default, or is within other text.
fn value(raw: &str, said: &[Entry], depth: u32) -> Option<String> {
    let Some(inner) = raw.strip_prefix("${").and_then(|r| r.strip_suffix('}')) else {
        return (!raw.contains("${")).then(|| raw.to_owned());
    };
    if depth > DEEPEST {
        return None;
    }
    let (key, default) = match inner.strip_prefix("oc.select:") {
        Some(select) => match select.split_once(',') {
            Some((key, default)) => (key.trim(), Some(default.trim())),
            None => (select.trim(), None),
        },
        None => (inner, None),
    };
    let named = said.iter().rev().find(|entry| entry.key == key);
    match (named, default) {
        (Some(entry), _) => value(&entry.value, said, depth + 1),
        (None, Some(default)) => value(default, said, depth + 1),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_end_in_a_value_or_are_named() {
        let text = "a.n=5\na.m='${a.n}'\na.k='${oc.select:b.x,${oc.select:a.n,7}}'\na.l='${oc.select:b.x,7}'\n\
                    a.e='${oc.env:HOME}'\na.r='${a.r}'\na.p='x/${a.n}'\n";
        let mut read = super::super::script::read(text);
        follow(&mut read);
        let values: Vec<String> = read
            .entries
            .iter()
            .map(|e| format!("{}={}", e.key, e.value))
            .collect();
        assert_eq!(values, ["a.n=5", "a.m=5", "a.k=5", "a.l=7"]);
        let said: Vec<String> = read.unknown.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(said.join("\n"), @r"
line 5: a.e=${oc.env:HOME}: it leads nowhere in this file
line 6: a.r=${a.r}: it leads nowhere in this file
line 7: a.p=x/${a.n}: it leads nowhere in this file
");
    }
}
