//! Hydra's references: `${data.max_prompt_length}`, `${oc.select:data.max_prompt_length,512}`, `${oc.env:X,default}`.

use super::{Entry, Read, State};

/// A longer chain is a circle.
const DEEPEST: u32 = 8;

/// What everybody's environment has, which a configuration may name.
const EVERYBODYS: [&str; 3] = ["HOME", "PWD", "USER"];

/// Puts in the values of references. What cannot be followed is not known any more.
pub(super) fn follow(read: &mut Read) {
    let said = read.entries.clone();
    for entry in &mut read.entries {
        if entry.state != State::Known {
            continue;
        }
        match resolved(&entry.value, &said, 0) {
            Ok(value) => entry.value = value,
            Err(reference) => {
                entry.state = State::Unknown(format!("{reference} leads nowhere in this file"));
            }
        }
    }
}

/// `text` with all references followed, or the one that leads nowhere.
fn resolved(text: &str, said: &[Entry], depth: u32) -> Result<String, String> {
    let mut value = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let end = closing(&rest[at + 2..]).ok_or_else(|| rest[at..].to_owned())?;
        let inner = &rest[at + 2..at + 2 + end];
        let reference = &rest[at..at + 3 + end];
        if depth > DEEPEST {
            return Err(reference.to_owned());
        }
        value.push_str(&rest[..at]);
        if EVERYBODYS.contains(&inner) {
            value.push_str(reference);
        } else {
            let inner = resolved(inner, said, depth + 1)?;
            let found = target(&inner, said).ok_or_else(|| reference.to_owned())?;
            value.push_str(&resolved(&found, said, depth + 1)?);
        }
        rest = &rest[at + 3 + end..];
    }
    value.push_str(rest);
    Ok(value)
}

/// The place of the brace that closes what is open.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
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

/// What one reference stands for. Absent where it has neither a value nor a default, and for a resolver that is not known.
fn target(inner: &str, said: &[Entry]) -> Option<String> {
    let (resolver, arguments) = inner.split_once(':').unwrap_or(("", inner));
    let (name, default) = match arguments.split_once(',') {
        Some((name, default)) => (name.trim(), Some(default.trim().to_owned())),
        None => (arguments.trim(), None),
    };
    let said = || {
        said.iter()
            .rev()
            .find(|entry| entry.key == name && entry.state == State::Known)
    };
    match resolver {
        "" => said().map(|entry| entry.value.clone()),
        "oc.select" => said().map(|entry| entry.value.clone()).or(default),
        "oc.env" if EVERYBODYS.contains(&name) => Some(format!("${{{name}}}")),
        "oc.env" => default,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_end_in_a_value_or_are_named() {
        let text = "a.n=5\na.m='${a.n}'\na.k='${oc.select:b.x,${oc.select:a.n,7}}'\na.l='${oc.select:b.x,7}'\n\
                    a.e='${oc.env:HOME}'\na.d='${oc.env:ROOT,/x}/y'\na.u='${oc.env:ROOT}'\na.r='${a.r}'\na.p='x/${a.n}'\n\
                    a.q='${mine:1}'\n";
        let mut read = super::super::script::read("x", text);
        follow(&mut read);
        let shown: Vec<String> = read
            .entries
            .iter()
            .map(|entry| match &entry.state {
                State::Unknown(why) => format!("{}: {why}", entry.key),
                _ => format!("{}={}", entry.key, entry.value),
            })
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
a.n=5
a.m=5
a.k=5
a.l=7
a.e=${HOME}
a.d=/x/y
a.u: ${oc.env:ROOT} leads nowhere in this file
a.r: ${a.r} leads nowhere in this file
a.p=x/5
a.q: ${mine:1} leads nowhere in this file
");
    }
}
