//! Secrets never enter a record, a log line or a plan: they are known by the name they go under, by the shape of a
//! URL with a password, and by the prefixes that well-known services give their tokens.

use std::sync::{LazyLock, PoisonError, RwLock};

use regex::{Captures, Regex};
use serde_json::Value;

/// What stands in place of a secret.
pub(crate) const REDACTED: &str = "***";

/// Whether the value of an environment variable, flag or setting of this name is a secret.
///
/// Words are parted at everything that is no letter or digit. `max_num_batched_tokens`, `tokenizer` and `pad_token_id`
/// are none; `HF_TOKEN`, `apiKey`, `--api-key` are.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words: Vec<&str> = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    words.iter().enumerate().any(|(at, word)| {
        let next = words.get(at + 1).copied().unwrap_or_default();
        (word.ends_with("TOKEN") && !matches!(next, "ID" | "IDS"))
            || word.ends_with("KEY")
            || word.ends_with("KEYS")
            || matches!(*word, "AUTH" | "AUTHORIZATION" | "COOKIE" | "PAT")
            || ["SECRET", "PASSW", "PASSPHRASE", "CREDENTIAL"]
                .iter()
                .any(|part| word.contains(part))
    })
}

/// Shorter values are ordinary words, too.
const SHORTEST: usize = 8;

/// Secrets that this process was given, the longest first: one can contain another.
static KNOWN: RwLock<Known> = RwLock::new(Known {
    values: Vec::new(),
    shapes: false,
});

struct Known {
    values: Vec<String>,
    /// Whether a value was seen that has a secret inside.
    shapes: bool,
}

/// From now on the value of `name` is taken out of all text, if it is a secret.
pub(crate) fn learn(name: &str, value: &str) {
    let secret = is_secret_name(name);
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    if !secret {
        known.shapes |= by_shape(value) != value;
    } else if value.len() >= SHORTEST && !known.values.iter().any(|one| one == value) {
        known.values.push(value.to_owned());
        known
            .values
            .sort_by_key(|value| std::cmp::Reverse(value.len()));
    }
}

/// As [`learn`], for every string that is in `value`.
pub(crate) fn learn_value(name: &str, value: &Value) {
    match value {
        Value::String(string) => learn(name, string),
        Value::Array(items) => items.iter().for_each(|item| learn_value(name, item)),
        Value::Object(fields) => fields
            .iter()
            .for_each(|(key, field)| learn_value(key, field)),
        _ => {}
    }
}

/// Whether there is anything that a program started by this process could give away.
pub(crate) fn knows_secrets() -> bool {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    known.shapes || !known.values.is_empty()
}

/// The value of a variable or setting called `name`, fit to be shown.
pub(crate) fn named(name: &str, value: &str) -> String {
    if is_secret_name(name) && !value.is_empty() {
        REDACTED.to_owned()
    } else {
        text(value)
    }
}

/// A command line in one text, as `ps` shows it.
pub(crate) fn command(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    argv(&words).join(" ")
}

/// The command line of this process, fit to be shown.
pub(crate) fn own_argv() -> Vec<String> {
    let arguments: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    argv(&arguments)
}

/// A command line, fit to be shown: `--api-key X`, `--api-key=X`, `NAME=X` and secrets inside other arguments.
pub(crate) fn argv<S: AsRef<str>>(arguments: &[S]) -> Vec<String> {
    let (mut secret_follows, mut header_follows) = (false, false);
    arguments
        .iter()
        .map(|argument| {
            let argument = argument.as_ref();
            if std::mem::take(&mut header_follows) {
                return header(argument);
            }
            if let Some(value) = argument.strip_prefix("--header=") {
                return format!("--header={}", header(value));
            }
            header_follows = matches!(argument, "--header" | "-H");
            if std::mem::take(&mut secret_follows) && !argument.starts_with("--") {
                return REDACTED.to_owned();
            }
            if let Some((name, value)) = argument.split_once('=')
                && !name.contains("://")
            {
                return format!("{name}={}", named(name, value));
            }
            secret_follows = argument.starts_with('-') && is_secret_name(argument);
            text(argument)
        })
        .collect()
}

/// Redacts every string in `value` that a secret's name leads to, and secrets inside other strings.
pub(crate) fn value(name: &str, value: &mut Value) {
    match value {
        Value::String(string) => *string = named(name, string),
        Value::Array(items) => items.iter_mut().for_each(|item| self::value(name, item)),
        Value::Object(fields) => fields
            .iter_mut()
            .for_each(|(key, field)| self::value(key, field)),
        _ => {}
    }
}

/// `value` of a variable or setting called `name`, fit to be shown.
pub(crate) fn shown(name: &str, mut value: Value) -> Value {
    self::value(name, &mut value);
    value
}

/// `Name: value` of HTTP, or `Name=value`.
fn header(line: &str) -> String {
    match line.split_once([':', '=']) {
        Some((name, value)) if is_secret_name(name) && !value.trim().is_empty() => {
            format!("{name}: {REDACTED}")
        }
        _ => text(line),
    }
}

/// Free text, fit to be shown: without the secrets that are known (see [`learn`]), and `scheme://user:password@host` loses user and password, a URL's query its secrets and its
/// signature, `Authorization` its value, and tokens of known shape go.
pub(crate) fn text(text: &str) -> String {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let hidden = known.values.iter().fold(text.to_owned(), |text, secret| {
        text.replace(secret.as_str(), REDACTED)
    });
    by_shape(&hidden)
}

fn by_shape(text: &str) -> String {
    known_tokens(&authorizations(&queries(&url_passwords(text))))
}

/// `?token=...`, `&X-Amz-Signature=...`.
fn queries(text: &str) -> String {
    static PAIR: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"([?&;])([\w.%-]+)=([^&;\s"'<>`#]+)"#).expect("a constant"));
    let secret = |name: &str| {
        let signs = name.rsplit(['-', '_', '.']).next().unwrap_or_default();
        is_secret_name(name)
            || ["sig", "signature"]
                .iter()
                .any(|word| signs.eq_ignore_ascii_case(word))
    };
    PAIR.replace_all(text, |pair: &Captures<'_>| {
        if secret(&pair[2]) {
            format!("{}{}={REDACTED}", &pair[1], &pair[2])
        } else {
            pair[0].to_owned()
        }
    })
    .into_owned()
}

/// `Authorization: Bearer ...` in any spelling, and `Bearer ...` alone.
fn authorizations(text: &str) -> String {
    static VALUE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r#"(?i)(\b(?:proxy-)?authorization["']?\s*[:=]\s*["']?(?:(?:bearer|basic|token|digest)\s+)?|\bbearer\s+)([\w.~+/=*-]{4,})"#,
        )
        .expect("a constant")
    });
    VALUE
        .replace_all(text, |found: &Captures<'_>| {
            format!("{}{REDACTED}", &found[1])
        })
        .into_owned()
}

fn url_passwords(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        shown.push_str(head);
        let authority = tail
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\''))
            .unwrap_or(tail.len());
        match tail[..authority].rfind('@') {
            Some(end) if tail[..end].contains(':') => {
                shown.push_str(REDACTED);
                rest = &tail[end..];
            }
            _ => rest = tail,
        }
    }
    shown + rest
}

/// Prefixes of tokens, and how many characters at least follow in a real one.
const PREFIXES: [(&str, usize); 8] = [
    ("hf_", 20),
    ("sk-", 20),
    ("ghp_", 30),
    ("gho_", 30),
    ("github_pat_", 30),
    ("glpat-", 18),
    ("xoxb-", 20),
    ("AKIA", 16),
];

fn known_tokens(text: &str) -> String {
    let of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(|c| !of_token(c)).unwrap_or(rest.len());
        let secret = PREFIXES.iter().any(|(prefix, least)| {
            rest[..word]
                .strip_prefix(prefix)
                .is_some_and(|tail| tail.len() >= *least)
        });
        shown.push_str(if secret { REDACTED } else { &rest[..word] });
        let gap = rest[word..].find(of_token).unwrap_or(rest.len() - word);
        shown.push_str(&rest[word..word + gap]);
        rest = &rest[word + gap..];
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn names_of_secrets_are_told_from_names_with_similar_letters() {
        for secret in [
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "OPENAI_API_KEY",
            "--api-key",
            "apiKey",
            "AWS_SECRET_ACCESS_KEY",
            "DB_PASSWORD",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "engine.env.MY_TOKEN",
        ] {
            assert!(is_secret_name(secret), "{secret}");
        }
        for plain in [
            "max_num_batched_tokens",
            "TOKENIZERS_PARALLELISM",
            "tokenizer",
            "pad_token_id",
            "KEYBOARD",
            "VLLM_USE_V1",
            "PATH",
        ] {
            assert!(!is_secret_name(plain), "{plain}");
        }
    }

    #[test]
    fn a_command_line_keeps_everything_but_its_secrets() {
        let line = [
            "rollbench",
            "run",
            "--api-key",
            "s3cret",
            "--token=abc",
            "--models",
            "qwen3-1.7b",
            "HF_TOKEN=hf_x",
            "http://u:p@proxy:8080/x?a=1",
            "--secret",
            "--steps",
            "3",
        ];
        assert_eq!(
            argv(&line),
            [
                "rollbench",
                "run",
                "--api-key",
                "***",
                "--token=***",
                "--models",
                "qwen3-1.7b",
                "HF_TOKEN=***",
                "http://***@proxy:8080/x?a=1",
                "--secret",
                "--steps",
                "3",
            ]
        );
    }

    #[test]
    fn tokens_of_known_shape_are_found_in_free_text() {
        assert_eq!(
            text("401 for hf_abcdefghijklmnopqrstuvwxyz (hf_overrides is fine)"),
            "401 for *** (hf_overrides is fine)"
        );
    }

    #[test]
    fn secrets_of_queries_and_headers_are_gone_wherever_they_stand() {
        let cases = [
            (
                "GET http://h/x?token=abc&n=3",
                "GET http://h/x?token=***&n=3",
            ),
            ("http://h/x?n=3&api_key=abc", "http://h/x?n=3&api_key=***"),
            (
                "https://s3/m?X-Amz-Credential=AB%2F1&X-Amz-Signature=00ff&X-Amz-Date=1",
                "https://s3/m?X-Amz-Credential=***&X-Amz-Signature=***&X-Amz-Date=1",
            ),
            (
                "https://blob/m?sv=2&sig=Ab%3D",
                "https://blob/m?sv=2&sig=***",
            ),
            (
                "sent authorization: Bearer abc.def-1 twice",
                "sent authorization: Bearer *** twice",
            ),
            (
                r#"{"Authorization": "Basic dXNlcg=="}"#,
                r#"{"Authorization": "Basic ***"}"#,
            ),
            ("invalid bearer abcdef", "invalid bearer ***"),
            (
                "http://h/x?max_tokens=3&pad_token_id=7",
                "http://h/x?max_tokens=3&pad_token_id=7",
            ),
        ];
        for (said, shown) in cases {
            assert_eq!(text(said), shown);
        }
        let line = [
            "--header",
            "X-Api-Key: s3cret",
            "--header=Cookie: a",
            "-H",
            "Accept: x",
        ];
        assert_eq!(
            argv(&line),
            [
                "--header",
                "X-Api-Key: ***",
                "--header=Cookie: ***",
                "-H",
                "Accept: x"
            ]
        );
    }

    #[test]
    fn values_are_redacted_at_any_depth() {
        let mut nested =
            json!({"hf_token": "x", "a": [{"password": "y", "n": 1}], "b": "http://h/"});
        value("additional_config", &mut nested);
        assert_eq!(
            nested,
            json!({"hf_token": "***", "a": [{"password": "***", "n": 1}], "b": "http://h/"})
        );
    }

    proptest! {
        #[test]
        fn a_password_in_a_url_is_gone(
            before in "[a-zé ]{0,9}", user in "[a-z]{1,5}", password in "[a-zA-Z0-9:@]{1,9}", after in "[/ ][a-z]{0,9}",
        ) {
            let shown = text(&format!("{before}http://{user}:{password}@host{after}"));
            prop_assert_eq!(shown, format!("{before}http://***@host{after}"));
        }

        #[test]
        fn text_without_secrets_is_untouched(plain in "[a-zA-Z0-9 ./=_é-]{0,15}") {
            prop_assert_eq!(text(&plain), plain);
        }
    }
}
