//! `${VAR}` in texts of the configuration.

use std::collections::BTreeMap;

/// Why a text cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExpandError {
    /// The variable is not set, or empty.
    Unset(String),
    /// `${` without `}`, or nothing between them.
    Malformed,
}

/// Replaces each `${NAME}` by its value; a leading `~/` is `${HOME}/`.
pub(crate) fn expand(text: &str, vars: &BTreeMap<String, String>) -> Result<String, ExpandError> {
    let value = |name: &str| {
        vars.get(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| ExpandError::Unset(name.to_owned()))
    };
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    if let Some(below) = rest.strip_prefix("~/") {
        expanded.push_str(value("HOME")?);
        expanded.push('/');
        rest = below;
    }
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        let Some((name, after)) = from[2..].split_once('}') else {
            return Err(ExpandError::Malformed);
        };
        if name.is_empty() {
            return Err(ExpandError::Malformed);
        }
        expanded.push_str(before);
        expanded.push_str(value(name)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars() -> BTreeMap<String, String> {
        [("A", "1"), ("HOME", "/h"), ("EMPTY", "")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
    }

    #[test]
    fn variables_and_home_are_replaced() {
        assert_eq!(expand("~/x/${A}-${A}", &vars()), Ok("/h/x/1-1".to_owned()));
        assert_eq!(
            expand("plain $A ~ }", &vars()),
            Ok("plain $A ~ }".to_owned())
        );
    }

    #[test]
    fn what_is_unset_or_unclosed_is_an_error() {
        for (text, name) in [("${B}", "B"), ("${EMPTY}/x", "EMPTY")] {
            assert_eq!(
                expand(text, &vars()),
                Err(ExpandError::Unset(name.to_owned()))
            );
        }
        assert_eq!(expand("${A", &vars()), Err(ExpandError::Malformed));
        assert_eq!(expand("${}", &vars()), Err(ExpandError::Malformed));
    }
}
