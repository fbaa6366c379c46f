//! Patterns of the shell: `case`, `[[ x == y* ]]`, `${X##*/}`.

use brush_parser::pattern::pattern_to_regex_str;
use regex::Regex;

use super::value::{Part, Value};

/// The whole of a text.
pub(super) fn whole(pattern: &str) -> Option<Regex> {
    anchored(pattern, "^(?s:", ")$")
}

/// Anywhere in a text.
pub(super) fn anywhere(pattern: &str) -> Option<Regex> {
    anchored(pattern, "(?s:", ")")
}

fn anchored(pattern: &str, begin: &str, end: &str) -> Option<Regex> {
    let inner = pattern_to_regex_str(pattern, true).ok()?;
    Regex::new(&format!("{begin}{inner}{end}")).ok()
}

/// Text with no meaning as a pattern.
pub(super) fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            (!c.is_alphanumeric())
                .then_some('\\')
                .into_iter()
                .chain([c])
        })
        .collect()
}

/// What to remove of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Removal {
    pub(super) prefix: bool,
    pub(super) largest: bool,
}

/// The first of the characters that stand for a part that is not known. They are for private use in Unicode.
const STAND_IN: u32 = 0xE000;

/// `value` without what `pattern` matches at one end. Absent where that depends on a part that is not known: the smallest
/// match must leave all of those, the largest none.
pub(super) fn removed(value: &Value, pattern: &str, removal: Removal) -> Option<Value> {
    let regex = whole(pattern)?;
    let mut text = String::new();
    let mut hidden = Vec::new();
    for part in value.parts() {
        match part {
            Part::Text(known) => text.push_str(known),
            part => {
                let stand_in = char::from_u32(STAND_IN + u32::try_from(hidden.len()).ok()?)?;
                text.push(stand_in);
                hidden.push((stand_in, part));
            }
        }
    }
    let mut cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    cuts.push(text.len());
    // From the smallest match to the largest.
    if !removal.prefix {
        cuts.reverse();
    }
    if removal.largest {
        cuts.reverse();
    }
    let split = |at: &usize| {
        let (before, after) = text.split_at(*at);
        if removal.prefix {
            (before, after)
        } else {
            (after, before)
        }
    };
    let left = cuts
        .iter()
        .map(split)
        .find(|(end, _)| regex.is_match(end))
        .map(|(_, left)| left);
    let left_of_hidden = left.unwrap_or(&text);
    let stays = |(stand_in, _): &&(char, &Part)| left_of_hidden.contains(*stand_in);
    let staying = hidden.iter().filter(stays).count();
    let decided = match left {
        None => hidden.is_empty(),
        Some(_) if removal.largest => staying == 0,
        Some(_) => staying == hidden.len(),
    };
    if !decided {
        return None;
    }
    let mut result = Value::default();
    for c in left_of_hidden.chars() {
        match hidden.iter().find(|(stand_in, _)| *stand_in == c) {
            Some((_, part)) => result.push((*part).clone()),
            None => result.push_text(c.encode_utf8(&mut [0; 4])),
        }
    }
    Some(result)
}
