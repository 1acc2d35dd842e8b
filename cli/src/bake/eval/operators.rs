//! What stands before and between operands.

use super::Evaluator;
use crate::bake::error::{BakeError, BakeResult};
use crate::bake::syntax::{BinaryOperator, Expression, UnaryOperator};
use crate::bake::value::{Number, Value};

impl Evaluator<'_> {
    /// `&&` and `||` leave out what they do not need.
    pub(super) fn binary(&self, operator: BinaryOperator, operands: &[Expression; 2]) -> BakeResult<Value> {
        let [left, right] = operands;
        match operator {
            BinaryOperator::And => Ok(Value::Bool(self.condition(left)? && self.condition(right)?)),
            BinaryOperator::Or => Ok(Value::Bool(self.condition(left)? || self.condition(right)?)),
            _ => binary(operator, &self.evaluate(left)?, &self.evaluate(right)?),
        }
    }
}

/// `-x` and `!x`.
pub(super) fn unary(operator: UnaryOperator, value: &Value) -> BakeResult<Value> {
    match operator {
        UnaryOperator::Not => Ok(Value::Bool(!value.to_bool()?)),
        UnaryOperator::Negate => match value.to_number()? {
            Number::Integer(integer) => Ok(Value::integer(integer.wrapping_neg())),
            Number::Float(float) => Ok(Value::Number(Number::from(-float))),
        },
    }
}

/// Everything but `&&` and `||`.
pub(crate) fn binary(operator: BinaryOperator, left: &Value, right: &Value) -> BakeResult<Value> {
    match operator {
        BinaryOperator::Equal => return Ok(Value::Bool(left == right)),
        BinaryOperator::NotEqual => return Ok(Value::Bool(left != right)),
        BinaryOperator::And => return Ok(Value::Bool(left.to_bool()? && right.to_bool()?)),
        BinaryOperator::Or => return Ok(Value::Bool(left.to_bool()? || right.to_bool()?)),
        _ => {}
    }
    let (left, right) = (left.to_number()?, right.to_number()?);
    Ok(match operator {
        BinaryOperator::Less => Value::Bool(left < right),
        BinaryOperator::LessOrEqual => Value::Bool(left <= right),
        BinaryOperator::Greater => Value::Bool(left > right),
        BinaryOperator::GreaterOrEqual => Value::Bool(left >= right),
        _ => Value::Number(arithmetic(operator, left, right)?),
    })
}

/// Exact for integers as long as they fit.
fn arithmetic(operator: BinaryOperator, left: Number, right: Number) -> BakeResult<Number> {
    let by_zero = right.float() == 0.0;
    if by_zero && matches!(operator, BinaryOperator::Divide | BinaryOperator::Modulo) {
        return Err(BakeError::new("this divides by zero"));
    }
    if let (Number::Integer(left), Number::Integer(right)) = (left, right) {
        let exact = match operator {
            BinaryOperator::Add => left.checked_add(right),
            BinaryOperator::Subtract => left.checked_sub(right),
            BinaryOperator::Multiply => left.checked_mul(right),
            BinaryOperator::Divide if left.checked_rem(right) == Some(0) => left.checked_div(right),
            BinaryOperator::Modulo => left.checked_rem(right),
            _ => None,
        };
        if let Some(exact) = exact {
            return Ok(Number::Integer(exact));
        }
    }
    let (left, right) = (left.float(), right.float());
    let float = match operator {
        BinaryOperator::Add => left + right,
        BinaryOperator::Subtract => left - right,
        BinaryOperator::Multiply => left * right,
        BinaryOperator::Divide => left / right,
        _ => left % right,
    };
    if float.is_finite() { Ok(Number::from(float)) } else { Err(BakeError::new("the result is not a number")) }
}
