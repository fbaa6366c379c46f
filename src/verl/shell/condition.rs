//! `[ ... ]`, `test` and `[[ ... ]]`.

use brush_parser::ast::{
    BinaryPredicate as Binary, ExtendedTestExpr as Extended, TestExpr, UnaryPredicate as Unary,
};

use super::parameter::emptiness;
use super::pattern;
use super::run::Shell;
use super::value::{Part, Value};
use super::world::{Truth, World};

/// What a condition says, and the variable of the caller's that it finds given, by how it ends.
pub(super) struct Finding {
    pub(super) truth: Truth,
    /// Given where the condition ends so.
    pub(super) given: Option<(String, bool)>,
}

impl From<Truth> for Finding {
    fn from(truth: Truth) -> Self {
        Self { truth, given: None }
    }
}

impl Finding {
    fn not(self) -> Self {
        Self {
            truth: self.truth.not(),
            given: self.given.map(|(name, how)| (name, !how)),
        }
    }
}

/// Begins and ends what stands for a value among the words of `[`, which its parser takes as text.
const MARK: char = '\u{1}';

impl Shell {
    /// `[`, without the brackets.
    pub(super) fn bracket(world: &World, words: &[Value]) -> Finding {
        let text = |(i, value): (usize, &Value)| match value.known() {
            Some(known) => known.to_owned(),
            None => format!("{MARK}{i}"),
        };
        let texts: Vec<String> = words.iter().enumerate().map(text).collect();
        match brush_parser::test_command::parse(&texts) {
            Ok(expr) => test(world, &expr, words),
            Err(_) => Truth::perhaps(false).into(),
        }
    }

    pub(super) fn extended(&self, world: &mut World, expr: &Extended) -> Finding {
        match expr {
            Extended::And(left, right) => {
                let left = self.extended(world, left).truth;
                left.and(self.extended(world, right).truth).into()
            }
            Extended::Or(left, right) => {
                let left = self.extended(world, left).truth;
                left.or(self.extended(world, right).truth).into()
            }
            Extended::Not(inner) => self.extended(world, inner).not(),
            Extended::Parenthesized(inner) => self.extended(world, inner),
            Extended::UnaryTest(op, word) => {
                let value = self.single(world, &word.value);
                unary(world, op, &value)
            }
            Extended::BinaryTest(op, left, right) => {
                let left = self.single(world, &left.value);
                let pattern = self.pattern(world, &right.value);
                let right = self.single(world, &right.value);
                binary(op, &left, &right, pattern.as_deref()).into()
            }
        }
    }
}

/// As the parser of `[` has it, with the values among `words` put back.
fn test(world: &World, expr: &TestExpr, words: &[Value]) -> Finding {
    let value = |text: &str| {
        let at = text
            .strip_prefix(MARK)
            .and_then(|at| at.parse::<usize>().ok());
        at.and_then(|at| words.get(at).cloned())
            .unwrap_or_else(|| Value::text(text))
    };
    match expr {
        TestExpr::False => Truth::NO.into(),
        TestExpr::Literal(text) => unary(world, &Unary::StringHasNonZeroLength, &value(text)),
        TestExpr::And(left, right) => {
            let left = test(world, left, words).truth;
            left.and(test(world, right, words).truth).into()
        }
        TestExpr::Or(left, right) => {
            let left = test(world, left, words).truth;
            left.or(test(world, right, words).truth).into()
        }
        TestExpr::Not(inner) => test(world, inner, words).not(),
        TestExpr::Parenthesized(inner) => test(world, inner, words),
        TestExpr::UnaryTest(op, text) => unary(world, op, &value(text)),
        TestExpr::BinaryTest(op, left, right) => {
            let right = value(right);
            let pattern = right.known().map(pattern::escaped);
            binary(op, &value(left), &right, pattern.as_deref()).into()
        }
    }
}

fn unary(world: &World, op: &Unary, value: &Value) -> Finding {
    let empty = emptiness(value);
    let asked = match value.parts() {
        [Part::Unknown(unknown)] if unknown.outside => unknown.name.strip_prefix('$'),
        _ => None,
    };
    let given = |how| asked.map(|name| (name.to_owned(), how));
    match op {
        Unary::StringHasZeroLength => Finding {
            truth: empty,
            given: given(false),
        },
        Unary::StringHasNonZeroLength => Finding {
            truth: empty.not(),
            given: given(true),
        },
        Unary::ShellVariableIsSetAndAssigned => match value.known() {
            Some(name) if world.get(name).is_some() => Truth::YES.into(),
            Some(name) => Finding {
                truth: Truth::perhaps(false),
                given: Some((name.to_owned(), true)),
            },
            None => Truth::perhaps(false).into(),
        },
        // Files, terminals and options are of the machine where it runs.
        _ => Truth::perhaps(false).into(),
    }
}

fn binary(op: &Binary, left: &Value, right: &Value, pattern: Option<&str>) -> Truth {
    let numbers = |compare: fn(&i64, &i64) -> bool| {
        let number = |value: &Value| value.known()?.trim().parse::<i64>().ok();
        match (number(left), number(right)) {
            (Some(left), Some(right)) => Truth::certain(compare(&left, &right)),
            _ => Truth::perhaps(false),
        }
    };
    match op {
        Binary::StringExactlyMatchesPattern | Binary::StringExactlyMatchesString => {
            matches(left, right, pattern)
        }
        Binary::StringDoesNotExactlyMatchPattern | Binary::StringDoesNotExactlyMatchString => {
            matches(left, right, pattern).not()
        }
        Binary::StringContainsSubstring | Binary::StringMatchesRegex => {
            match (left.known(), right.known()) {
                (Some(left), Some(right)) => regex::Regex::new(right)
                    .map_or(Truth::perhaps(false), |regex| {
                        Truth::certain(regex.is_match(left))
                    }),
                _ => Truth::perhaps(false),
            }
        }
        Binary::ArithmeticEqualTo => numbers(i64::eq),
        Binary::ArithmeticNotEqualTo => numbers(i64::ne),
        Binary::ArithmeticLessThan => numbers(i64::lt),
        Binary::ArithmeticLessThanOrEqualTo => numbers(i64::le),
        Binary::ArithmeticGreaterThan => numbers(i64::gt),
        Binary::ArithmeticGreaterThanOrEqualTo => numbers(i64::ge),
        _ => Truth::perhaps(false),
    }
}

/// Whether `left` matches; `right` is what the pattern was written as.
pub(super) fn matches(left: &Value, right: &Value, pattern: Option<&str>) -> Truth {
    if left == right && !left.parts().is_empty() {
        return Truth::YES;
    }
    let regex = match pattern {
        Some(pattern) => pattern::whole(pattern),
        None => pattern::whole(&pattern::escaped(&right.with_nothing_set())),
    };
    let Some(regex) = regex else {
        return Truth::perhaps(false);
    };
    let now = regex.is_match(&left.with_nothing_set());
    let certain = pattern.is_some() && (left.known().is_some() || pattern == Some("*"));
    Truth { now, certain }
}
