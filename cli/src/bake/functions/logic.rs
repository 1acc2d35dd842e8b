//! Comparing and deciding.

use super::{Function, exactly};
use crate::bake::error::BakeResult;
use crate::bake::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    exactly("and", 2, |a| Ok(Value::Bool(a[0].to_bool()? && a[1].to_bool()?))),
    exactly("or", 2, |a| Ok(Value::Bool(a[0].to_bool()? || a[1].to_bool()?))),
    exactly("not", 1, |a| Ok(Value::Bool(!a[0].to_bool()?))),
    exactly("equal", 2, |a| Ok(Value::Bool(a[0] == a[1]))),
    exactly("notequal", 2, |a| Ok(Value::Bool(a[0] != a[1]))),
    exactly("lessthan", 2, |a| compared(a, |left, right| left < right)),
    exactly("lessthanorequalto", 2, |a| compared(a, |left, right| left <= right)),
    exactly("greaterthan", 2, |a| compared(a, |left, right| left > right)),
    exactly("greaterthanorequalto", 2, |a| compared(a, |left, right| left >= right)),
];

fn compared(
    arguments: &[Value],
    holds: fn(crate::bake::value::Number, crate::bake::value::Number) -> bool,
) -> BakeResult<Value> {
    Ok(Value::Bool(holds(arguments[0].to_number()?, arguments[1].to_number()?)))
}
