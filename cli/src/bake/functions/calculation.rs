//! Numbers.

use std::cmp::Ordering;

use super::{Function, at_least, exactly};
use crate::bake::error::{BakeError, BakeResult};
use crate::bake::eval::binary;
use crate::bake::syntax::BinaryOperator;
use crate::bake::value::{Number, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    exactly("absolute", 1, |a| match a[0].to_number()? {
        Number::Integer(integer) => Ok(Value::integer(integer.wrapping_abs())),
        Number::Float(float) => number(float.abs()),
    }),
    exactly("add", 2, |a| binary(BinaryOperator::Add, &a[0], &a[1])),
    exactly("ceil", 1, |a| rounded(&a[0], f64::ceil)),
    exactly("divide", 2, |a| binary(BinaryOperator::Divide, &a[0], &a[1])),
    exactly("floor", 1, |a| rounded(&a[0], f64::floor)),
    exactly("int", 1, |a| rounded(&a[0], f64::trunc)),
    exactly("log", 2, |a| number(a[0].to_number()?.float().ln() / a[1].to_number()?.float().ln())),
    at_least("max", 1, |a| furthest(a, Ordering::Greater)),
    at_least("min", 1, |a| furthest(a, Ordering::Less)),
    exactly("modulo", 2, |a| binary(BinaryOperator::Modulo, &a[0], &a[1])),
    exactly("multiply", 2, |a| binary(BinaryOperator::Multiply, &a[0], &a[1])),
    exactly("negate", 1, |a| binary(BinaryOperator::Subtract, &Value::integer(0), &a[0])),
    exactly("parseint", 2, parse_integer),
    exactly("pow", 2, power),
    exactly("signum", 1, |a| {
        let float = a[0].to_number()?.float();
        Ok(Value::integer(i128::from(float > 0.0) - i128::from(float < 0.0)))
    }),
    exactly("subtract", 2, |a| binary(BinaryOperator::Subtract, &a[0], &a[1])),
];

fn number(float: f64) -> BakeResult<Value> {
    if float.is_finite() {
        Ok(Value::Number(Number::from(float)))
    } else {
        Err(BakeError::new("the result is not a number"))
    }
}

fn rounded(value: &Value, round: fn(f64) -> f64) -> BakeResult<Value> {
    match value.to_number()? {
        Number::Float(float) => number(round(float)),
        integer @ Number::Integer(_) => Ok(Value::Number(integer)),
    }
}

fn furthest(arguments: &[Value], wanted: Ordering) -> BakeResult<Value> {
    let mut best = arguments[0].to_number()?;
    for argument in &arguments[1..] {
        let next = argument.to_number()?;
        if next.partial_cmp(&best) == Some(wanted) {
            best = next;
        }
    }
    Ok(Value::Number(best))
}

fn power(arguments: &[Value]) -> BakeResult<Value> {
    let (base, exponent) = (arguments[0].to_number()?, arguments[1].to_number()?);
    if let (Some(base), Some(Ok(exponent))) = (base.integer(), exponent.integer().map(u32::try_from))
        && let Some(exact) = base.checked_pow(exponent)
    {
        return Ok(Value::integer(exact));
    }
    number(base.float().powf(exponent.float()))
}

fn parse_integer(arguments: &[Value]) -> BakeResult<Value> {
    let (text, base) = (arguments[0].to_text()?, arguments[1].to_integer()?);
    let radix = u32::try_from(base).ok().filter(|radix| (2..=36).contains(radix));
    let Some(radix) = radix else { return Err(BakeError::new(format!("{base} is no base: use 2 to 36"))) };
    match i128::from_str_radix(&text, radix) {
        Ok(integer) => Ok(Value::integer(integer)),
        Err(_) => Err(BakeError::new(format!("{text:?} is not a whole number in base {radix}"))),
    }
}
