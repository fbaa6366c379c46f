//! Lines of the configuration that is written, and verl's values as TOML.

use std::fmt::Write as _;

use super::settings::Setting;

/// `name = value  # origin`.
pub(super) fn put(out: &mut String, name: &str, value: &str, origin: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{:<44}  # {origin}", format!("{name} = {value}"));
}

/// The line of a setting; one that cannot be known is a comment.
pub(super) fn put_setting<V: ToString>(out: &mut String, name: &str, setting: &Setting<V>) {
    match &setting.value {
        Some(value) => put(out, name, &literal(&value.to_string()), &setting.origin),
        None => {
            let _ = writeln!(out, "{:<44}  # {}", format!("# {name} ="), setting.origin);
        }
    }
}

/// A value as TOML: numbers, truth values and lists of them as they are, the rest as text.
pub(super) fn literal(value: &str) -> String {
    match value {
        "True" | "true" => "true".to_owned(),
        "False" | "false" => "false".to_owned(),
        number if number.parse::<i64>().is_ok() => number.trim_start_matches('+').to_owned(),
        number if number.parse::<f64>().is_ok_and(f64::is_finite) => {
            // TOML wants digits on both sides of the point.
            let float = number.parse::<f64>().unwrap_or_default();
            format!("{float:?}")
        }
        list if list.starts_with('[') && list.ends_with(']') => literal_list(list),
        text => literal_text(text),
    }
}

/// `[1, two]`: flat, as Hydra writes them. What has brackets or braces within is text.
fn literal_list(list: &str) -> String {
    let inner = list[1..list.len() - 1].trim();
    if inner.contains(['[', ']', '{', '}']) {
        return literal_text(list);
    }
    let items: Vec<String> = inner
        .split(',')
        .map(|item| item.trim().trim_matches(['"', '\'']))
        .filter(|item| !item.is_empty())
        .map(literal)
        .collect();
    format!("[{}]", items.join(", "))
}

/// Text, whatever it looks like.
pub(super) fn literal_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A dotted name as a TOML key.
pub(super) fn dotted(name: &str) -> String {
    let quoted = |part: &str| {
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if !part.is_empty() && part.chars().all(bare) {
            part.to_owned()
        } else {
            literal_text(part)
        }
    };
    name.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_kinds() {
        let said = |value| literal(value);
        assert_eq!(said("True"), "true");
        assert_eq!(said("8"), "8");
        assert_eq!(said("+8"), "8");
        assert_eq!(said(".5"), "0.5");
        assert_eq!(said("1e-6"), "1e-6");
        assert_eq!(said("[1 ,2, 4]"), "[1, 2, 4]");
        assert_eq!(said("['a', b]"), r#"["a", "b"]"#);
        assert_eq!(said("[]"), "[]");
        assert_eq!(said("[[1]]"), r#""[[1]]""#);
        assert_eq!(said("a\"b"), r#"'a"b'"#);
        assert_eq!(
            dotted("compilation_config.a/b"),
            r#"compilation_config."a/b""#
        );
    }
}
