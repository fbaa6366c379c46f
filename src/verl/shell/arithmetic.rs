//! `$((...))` and `((...))`.

use brush_parser::ast::{
    ArithmeticExpr as Expr, ArithmeticTarget as Target, BinaryOperator as Op,
    UnaryAssignmentOperator as Step, UnaryOperator as Unary,
};

use super::value::Value;
use super::world::{Variable, World};

/// Deeper nesting is no run script.
const DEEPEST: usize = 64;

/// The value of `text`, in which parameters stand expanded already. Absent where a variable is not known, or not a number;
/// where a division is by zero; where it overflows.
pub(super) fn value(world: &mut World, text: &str) -> Option<i64> {
    if text.trim().is_empty() {
        return Some(0);
    }
    if text.matches('(').count() > DEEPEST {
        return None;
    }
    evaluated(world, &brush_parser::arithmetic::parse(text.trim()).ok()?)
}

fn evaluated(world: &mut World, expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(number) => Some(*number),
        Expr::Reference(target) => read(world, target),
        Expr::UnaryOp(op, inner) => {
            let inner = evaluated(world, inner)?;
            match op {
                Unary::UnaryPlus => Some(inner),
                Unary::UnaryMinus => inner.checked_neg(),
                Unary::BitwiseNot => Some(!inner),
                Unary::LogicalNot => Some(i64::from(inner == 0)),
            }
        }
        Expr::BinaryOp(op, left, right) => {
            let left = evaluated(world, left)?;
            let short = matches!((op, left), (Op::LogicalAnd, 0))
                || (matches!(op, Op::LogicalOr) && left != 0);
            if short {
                return Some(i64::from(left != 0));
            }
            let right = evaluated(world, right)?;
            combined(*op, left, right)
        }
        Expr::Conditional(condition, yes, no) => {
            let holds = evaluated(world, condition)? != 0;
            evaluated(world, if holds { yes } else { no })
        }
        Expr::Assignment(target, inner) => {
            let value = evaluated(world, inner);
            write(world, target, value)
        }
        Expr::BinaryAssignment(op, target, inner) => {
            let value = read(world, target)
                .zip(evaluated(world, inner))
                .and_then(|(left, right)| combined(*op, left, right));
            write(world, target, value)
        }
        Expr::UnaryAssignment(step, target) => {
            let before = read(world, target);
            let by = match step {
                Step::PrefixIncrement | Step::PostfixIncrement => 1,
                Step::PrefixDecrement | Step::PostfixDecrement => -1,
            };
            let after = write(world, target, before.and_then(|n| n.checked_add(by)));
            match step {
                Step::PrefixIncrement | Step::PrefixDecrement => after,
                Step::PostfixIncrement | Step::PostfixDecrement => before,
            }
        }
    }
}

fn combined(op: Op, left: i64, right: i64) -> Option<i64> {
    let small = u32::try_from(right).ok();
    match op {
        Op::Power => left.checked_pow(small?),
        Op::Multiply => left.checked_mul(right),
        Op::Divide => left.checked_div(right),
        Op::Modulo => left.checked_rem(right),
        Op::Comma => Some(right),
        Op::Add => left.checked_add(right),
        Op::Subtract => left.checked_sub(right),
        Op::ShiftLeft => left.checked_shl(small?),
        Op::ShiftRight => left.checked_shr(small?),
        Op::LessThan => Some(i64::from(left < right)),
        Op::LessThanOrEqualTo => Some(i64::from(left <= right)),
        Op::GreaterThan => Some(i64::from(left > right)),
        Op::GreaterThanOrEqualTo => Some(i64::from(left >= right)),
        Op::Equals => Some(i64::from(left == right)),
        Op::NotEquals => Some(i64::from(left != right)),
        Op::BitwiseAnd => Some(left & right),
        Op::BitwiseXor => Some(left ^ right),
        Op::BitwiseOr => Some(left | right),
        Op::LogicalAnd => Some(i64::from(left != 0 && right != 0)),
        Op::LogicalOr => Some(i64::from(left != 0 || right != 0)),
    }
}

/// A variable that the script does not set is the caller's, so it is not known; an empty one is 0.
fn read(world: &mut World, target: &Target) -> Option<i64> {
    let (name, index) = match target {
        Target::Variable(name) => (name, 0),
        Target::ArrayElement(name, index) => (name, evaluated(world, index)?),
    };
    let value = match world.get(name)? {
        Variable::Scalar(value) => value,
        Variable::Array(fields) => &fields.get(usize::try_from(index).ok()?)?.value,
    };
    let text = value.known()?.trim();
    if text.is_empty() {
        return Some(0);
    }
    text.parse().ok()
}

fn write(world: &mut World, target: &Target, value: Option<i64>) -> Option<i64> {
    let Target::Variable(name) = target else {
        return None;
    };
    let set = match value {
        Some(number) => Value::text(number.to_string()),
        None => Value::unknown(format!("${name}")),
    };
    world.set(name, Variable::Scalar(set));
    value
}
