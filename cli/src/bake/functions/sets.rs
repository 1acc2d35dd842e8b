//! Sets, which are lists here: sorted, each value once.

use super::{Function, at_least, exactly};
use crate::bake::error::{BakeError, BakeResult};
use crate::bake::types::set;
use crate::bake::value::Value;

/// How many combinations `setproduct` may come to.
const MAX_PRODUCT: usize = 1 << 16;

pub(super) const FUNCTIONS: &[Function] = &[
    exactly("sethaselement", 2, |a| Ok(Value::Bool(a[0].to_list()?.contains(&a[1])))),
    at_least("setintersection", 1, |a| {
        folded(a, |left, right| left.into_iter().filter(|item| right.contains(item)).collect())
    }),
    at_least("setproduct", 1, product),
    exactly("setsubtract", 2, |a| {
        folded(a, |left, right| left.into_iter().filter(|item| !right.contains(item)).collect())
    }),
    at_least("setsymmetricdifference", 1, |a| {
        folded(a, |left, right| {
            let only = right.iter().filter(|item| !left.contains(item)).cloned().collect::<Vec<_>>();
            left.into_iter().filter(|item| !right.contains(item)).chain(only).collect()
        })
    }),
    at_least("setunion", 1, |a| folded(a, |left, right| [left, right.to_vec()].concat())),
];

fn folded(arguments: &[Value], join: fn(Vec<Value>, &[Value]) -> Vec<Value>) -> BakeResult<Value> {
    let mut joined = set(arguments[0].to_list()?.to_vec());
    for argument in &arguments[1..] {
        joined = join(joined, argument.to_list()?);
    }
    Ok(Value::List(set(joined)))
}

/// Every combination of one element of each list, the last list turning fastest.
fn product(arguments: &[Value]) -> BakeResult<Value> {
    let mut combinations: Vec<Vec<Value>> = vec![Vec::new()];
    for argument in arguments {
        let items = argument.to_list()?;
        if combinations.len().saturating_mul(items.len()) > MAX_PRODUCT {
            return Err(BakeError::new(format!("there are more than {MAX_PRODUCT} combinations")));
        }
        let with = |start: &Vec<Value>| -> Vec<Vec<Value>> {
            items.iter().map(|item| [start.clone(), vec![item.clone()]].concat()).collect()
        };
        combinations = combinations.iter().flat_map(with).collect();
    }
    Ok(Value::List(combinations.into_iter().map(Value::List).collect()))
}
