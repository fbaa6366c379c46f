//! `$X`, `${X:-d}`, `${X##*/}` and the rest of that family.

use brush_parser::word::{
    Parameter, ParameterExpr as Expr, ParameterTestType as Test, SpecialParameter as Special,
    SubstringMatchKind as Kind,
};

use super::expand::{Fields, Looked};
use super::pattern::{self, Removal};
use super::run::Shell;
use super::value::Value;
use super::world::{Truth, Variable, World};

/// Whether a value is empty.
pub(super) fn emptiness(value: &Value) -> Truth {
    match value.known() {
        Some(text) => Truth::certain(text.is_empty()),
        None if value.first_unknown().is_some_and(|u| u.given) => Truth::NO,
        None if value.is_outside() => Truth::perhaps(true),
        None if value.parts().len() == 1 && value.first_unknown().is_some() => {
            Truth::perhaps(false)
        }
        None => Truth::NO,
    }
}

impl Shell {
    pub(super) fn parameter(&self, world: &mut World, expr: &Expr, quoted: bool, out: &mut Fields) {
        let Some((parameter, indirect)) = subject(expr) else {
            return out.put(Looked::One(Value::unknown(shown(expr))), quoted);
        };
        let found = self.look(world, parameter);
        if indirect
            && !matches!(
                expr,
                Expr::Parameter {
                    parameter: Parameter::NamedWithAllIndices { .. },
                    ..
                }
            )
        {
            let name = found.map(Looked::joined);
            let target = name.as_ref().and_then(Value::known).unwrap_or_default();
            let value = match world.get(target) {
                Some(Variable::Scalar(value)) => value.clone(),
                _ => Value::unknown(format!("${{!{parameter}}}")),
            };
            return out.put(Looked::One(value), quoted);
        }
        match expr {
            Expr::UseDefaultValues {
                test_type,
                default_value,
                ..
            } => match stands(found, test_type, &shown(expr)) {
                Some(value) => out.put(value, quoted),
                None => self.word(world, default_value.as_deref().unwrap_or(""), quoted, out),
            },
            Expr::AssignDefaultValues {
                test_type,
                default_value,
                ..
            } => {
                let value = stands(found, test_type, &shown(expr)).unwrap_or_else(|| {
                    let default = self.single(world, default_value.as_deref().unwrap_or(""));
                    if let Parameter::Named(name) = parameter {
                        world.set(name, Variable::Scalar(default.clone()));
                    }
                    Looked::One(default)
                });
                out.put(value, quoted);
            }
            Expr::UseAlternativeValue {
                test_type,
                alternative_value,
                ..
            } => {
                let empty = match (&found, test_type) {
                    (None, _) => Truth::perhaps(true),
                    (Some(_), Test::Unset) => Truth::NO,
                    (Some(Looked::Each(values)), _) => Truth::certain(values.is_empty()),
                    (Some(Looked::One(value)), _) => emptiness(value),
                };
                if !empty.now {
                    self.word(
                        world,
                        alternative_value.as_deref().unwrap_or(""),
                        quoted,
                        out,
                    );
                }
            }
            _ => {
                let found = found.unwrap_or_else(|| Looked::One(unset(parameter)));
                let changed = match found {
                    Looked::One(value) => Looked::One(self.changed(world, expr, value)),
                    Looked::Each(values) if matches!(expr, Expr::ParameterLength { .. }) => {
                        Looked::One(Value::text(values.len().to_string()))
                    }
                    Looked::Each(values) => Looked::Each(
                        values
                            .into_iter()
                            .map(|value| self.changed(world, expr, value))
                            .collect(),
                    ),
                };
                out.put(changed, quoted);
            }
        }
    }

    /// Absent for what is not set.
    fn look(&self, world: &mut World, parameter: &Parameter) -> Option<Looked> {
        let one = |value| Some(Looked::One(value));
        match parameter {
            Parameter::Named(name) if name == "BASH_SOURCE" => one(Value::text(&*self.file)),
            Parameter::Named(name) => match world.get(name) {
                Some(Variable::Scalar(value)) => one(value.clone()),
                Some(Variable::Array(fields)) => {
                    one(fields.first().map(|f| f.value.clone()).unwrap_or_default())
                }
                None if matches!(name.as_str(), "HOME" | "PWD" | "USER") => one(Value::home(name)),
                None if matches!(
                    name.as_str(),
                    "RANDOM" | "SECONDS" | "HOSTNAME" | "EPOCHSECONDS"
                ) =>
                {
                    one(Value::unknown(format!("${name}")))
                }
                None => None,
            },
            Parameter::NamedWithIndex { name, .. } if name == "BASH_SOURCE" => {
                one(Value::text(&*self.file))
            }
            Parameter::NamedWithIndex { name, index } => {
                let at = self.arithmetic(world, index);
                let all = all(world, name)?;
                let length = i64::try_from(all.len()).ok()?;
                let from_end = |n: i64| if n < 0 { length + n } else { n };
                match at.map(from_end).and_then(|n| usize::try_from(n).ok()) {
                    Some(at) => all.into_iter().nth(at).map(Looked::One),
                    None => one(Value::unknown(format!("${{{name}[{index}]}}"))),
                }
            }
            Parameter::NamedWithAllIndices { name, concatenate } => {
                let all = all(world, name).unwrap_or_default();
                let each = Looked::Each(all);
                Some(if *concatenate {
                    Looked::One(each.joined())
                } else {
                    each
                })
            }
            Parameter::Positional(0) => one(Value::text(&*self.file)),
            Parameter::Positional(number) => {
                let arguments = world.arguments.as_ref()?;
                let at = (*number as usize).checked_sub(1)?;
                arguments
                    .get(at)
                    .map(|field| Looked::One(field.value.clone()))
            }
            Parameter::Special(special) => special_value(&self.file, world, special),
        }
    }

    fn changed(&self, world: &mut World, expr: &Expr, value: Value) -> Value {
        let removal = |prefix, largest| Removal { prefix, largest };
        let unknown = || Value::unknown(shown(expr));
        let mut removed = |pattern: &Option<String>, removal| {
            let pattern = self.pattern(world, pattern.as_deref().unwrap_or(""));
            pattern
                .and_then(|pattern| pattern::removed(&value, &pattern, removal))
                .unwrap_or_else(unknown)
        };
        let cased = |change: fn(&str) -> String| {
            value
                .known()
                .map_or_else(unknown, |text| Value::text(change(text)))
        };
        match expr {
            Expr::RemoveSmallestSuffixPattern { pattern, .. } => {
                removed(pattern, removal(false, false))
            }
            Expr::RemoveLargestSuffixPattern { pattern, .. } => {
                removed(pattern, removal(false, true))
            }
            Expr::RemoveSmallestPrefixPattern { pattern, .. } => {
                removed(pattern, removal(true, false))
            }
            Expr::RemoveLargestPrefixPattern { pattern, .. } => {
                removed(pattern, removal(true, true))
            }
            Expr::UppercasePattern { pattern, .. } if is_any(pattern.as_deref()) => {
                cased(str::to_uppercase)
            }
            Expr::LowercasePattern { pattern, .. } if is_any(pattern.as_deref()) => {
                cased(str::to_lowercase)
            }
            Expr::ParameterLength { .. } => value.known().map_or_else(unknown, |text| {
                Value::text(text.chars().count().to_string())
            }),
            Expr::ReplaceSubstring {
                pattern,
                replacement,
                match_kind,
                ..
            } => {
                let by = self.single(world, replacement.as_deref().unwrap_or(""));
                let pattern = self.pattern(world, pattern);
                replaced(&value, pattern, &by, match_kind).unwrap_or_else(unknown)
            }
            Expr::Substring { offset, length, .. } => {
                let offset = self.arithmetic(world, &offset.value);
                let length = match length {
                    Some(length) => self.arithmetic(world, &length.value),
                    None => Some(i64::MAX),
                };
                substring(&value, offset, length).unwrap_or_else(unknown)
            }
            Expr::Parameter { .. } | Expr::IndicateErrorIfNullOrUnset { .. } => value,
            _ => unknown(),
        }
    }
}

/// The value that stands in place of a default; absent where the default is used.
fn stands(found: Option<Looked>, test: &Test, name: &str) -> Option<Looked> {
    match (found?, test) {
        (found, Test::Unset) => Some(found),
        (Looked::Each(values), Test::UnsetOrNull) => {
            (!values.is_empty()).then_some(Looked::Each(values))
        }
        (Looked::One(value), Test::UnsetOrNull) => match emptiness(&value) {
            Truth { now: true, .. } => None,
            Truth { certain: true, .. } => Some(Looked::One(value)),
            Truth { .. } => Some(Looked::One(Value::unknown(name))),
        },
    }
}

fn all(world: &World, name: &str) -> Option<Vec<Value>> {
    match world.get(name)? {
        Variable::Scalar(value) => Some(vec![value.clone()]),
        Variable::Array(fields) => Some(fields.iter().map(|f| f.value.clone()).collect()),
    }
}

/// No pattern is that of any letter.
fn is_any(pattern: Option<&str>) -> bool {
    pattern.is_none_or(str::is_empty)
}

fn replaced(value: &Value, pattern: Option<String>, by: &Value, kind: &Kind) -> Option<Value> {
    let (text, pattern, by) = (value.known()?, pattern?, by.known()?);
    let literal = regex::NoExpand(by);
    let changed = match kind {
        Kind::Anywhere => pattern::anywhere(&pattern)?.replace_all(text, literal),
        Kind::FirstOccurrence => pattern::anywhere(&pattern)?.replace(text, literal),
        Kind::Prefix | Kind::Suffix => return None,
    };
    Some(Value::text(changed.into_owned()))
}

fn substring(value: &Value, offset: Option<i64>, length: Option<i64>) -> Option<Value> {
    let text: Vec<char> = value.known()?.chars().collect();
    let from = usize::try_from(offset?).ok()?.min(text.len());
    let count = usize::try_from(length?).ok()?;
    Some(Value::text(
        text.into_iter().skip(from).take(count).collect::<String>(),
    ))
}

fn special_value(file: &str, world: &World, special: &Special) -> Option<Looked> {
    let one = |value| Some(Looked::One(value));
    match special {
        Special::AllPositionalParameters { concatenate } => {
            // The caller's arguments come last and are the caller's to know.
            let fields = world.arguments.clone().unwrap_or_default();
            let each = Looked::Each(fields.into_iter().map(|field| field.value).collect());
            Some(if *concatenate {
                Looked::One(each.joined())
            } else {
                each
            })
        }
        Special::PositionalParameterCount => one(match &world.arguments {
            Some(arguments) => Value::text(arguments.len().to_string()),
            None => Value::outside("$#"),
        }),
        Special::LastExitStatus if world.status.certain => {
            one(Value::text(if world.status.now { "0" } else { "1" }))
        }
        Special::ShellName => one(Value::text(file)),
        other => one(Value::unknown(format!("${other}"))),
    }
}

fn unset(parameter: &Parameter) -> Value {
    match parameter {
        Parameter::Named(name) => Value::outside(format!("${name}")),
        other => Value::outside(other.to_string()),
    }
}

/// The parameter that an expansion is about, and whether it names another.
fn subject(expr: &Expr) -> Option<(&Parameter, bool)> {
    match expr {
        Expr::Parameter {
            parameter,
            indirect,
        }
        | Expr::UseDefaultValues {
            parameter,
            indirect,
            ..
        }
        | Expr::AssignDefaultValues {
            parameter,
            indirect,
            ..
        }
        | Expr::IndicateErrorIfNullOrUnset {
            parameter,
            indirect,
            ..
        }
        | Expr::UseAlternativeValue {
            parameter,
            indirect,
            ..
        }
        | Expr::ParameterLength {
            parameter,
            indirect,
        }
        | Expr::RemoveSmallestSuffixPattern {
            parameter,
            indirect,
            ..
        }
        | Expr::RemoveLargestSuffixPattern {
            parameter,
            indirect,
            ..
        }
        | Expr::RemoveSmallestPrefixPattern {
            parameter,
            indirect,
            ..
        }
        | Expr::RemoveLargestPrefixPattern {
            parameter,
            indirect,
            ..
        }
        | Expr::Substring {
            parameter,
            indirect,
            ..
        }
        | Expr::Transform {
            parameter,
            indirect,
            ..
        }
        | Expr::UppercaseFirstChar {
            parameter,
            indirect,
            ..
        }
        | Expr::UppercasePattern {
            parameter,
            indirect,
            ..
        }
        | Expr::LowercaseFirstChar {
            parameter,
            indirect,
            ..
        }
        | Expr::LowercasePattern {
            parameter,
            indirect,
            ..
        }
        | Expr::ReplaceSubstring {
            parameter,
            indirect,
            ..
        } => Some((parameter, *indirect)),
        Expr::VariableNames { .. } | Expr::MemberKeys { .. } => None,
    }
}

/// An expansion as a message names it.
fn shown(expr: &Expr) -> String {
    match subject(expr) {
        Some((Parameter::Named(name), _)) => format!("${name}"),
        Some((parameter, _)) => parameter.to_string(),
        None => "${!...}".to_owned(),
    }
}
