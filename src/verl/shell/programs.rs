//! The few programs whose answer follows from their arguments alone.

use super::expand::joined;
use super::pattern::{self, Removal};
use super::value::Value;

/// What `program` prints for `arguments`, without the newline at its end; absent where only a run can tell.
pub(super) fn output(program: &str, arguments: &[Value]) -> Option<Value> {
    let remove = |value: &Value, pattern, prefix, largest| {
        pattern::removed(value, pattern, Removal { prefix, largest })
    };
    match (program, arguments) {
        ("dirname", [path]) => {
            if path.known().is_some_and(|text| !text.contains('/')) {
                return Some(Value::text("."));
            }
            remove(path, "/*", false, false)
        }
        ("basename", [path, suffix @ ..]) => {
            let name = remove(path, "*/", true, true)?;
            match suffix {
                [] => Some(name),
                [suffix] => remove(&name, &pattern::escaped(suffix.known()?), false, false),
                _ => None,
            }
        }
        ("seq", numbers) => sequence(numbers),
        ("pwd", []) => Some(Value::home("PWD")),
        ("echo", [flag, words @ ..]) if flag.known() == Some("-n") => {
            Some(joined(words.iter().cloned()))
        }
        ("echo", words) => Some(joined(words.iter().cloned())),
        ("printf", [format]) => Some(format.clone()),
        ("printf", [format, words @ ..]) => printed(format.known()?, words),
        _ => None,
    }
}

/// `%s` and `%d`, once through the format.
fn printed(format: &str, words: &[Value]) -> Option<Value> {
    let plain = format.replace("\\n", "\n");
    let mut value = Value::default();
    let mut words = words.iter();
    let mut rest = plain.as_str();
    while let Some((before, after)) = rest.split_once('%') {
        value.push_text(before);
        rest = after.strip_prefix(['s', 'd'])?;
        value.extend(words.next()?.clone());
    }
    value.push_text(rest);
    words.next().is_none().then_some(value)
}

fn sequence(numbers: &[Value]) -> Option<Value> {
    let number = |value: &Value| value.known()?.parse::<i64>().ok();
    let (first, last) = match numbers {
        [last] => (1, number(last)?),
        [first, last] => (number(first)?, number(last)?),
        _ => return None,
    };
    let all: Vec<String> = (first..=last).take(1000).map(|n| n.to_string()).collect();
    Some(Value::text(all.join("\n")))
}
