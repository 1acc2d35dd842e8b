//! The functions that expressions can call, with the names and rules of buildx.
//!
//! `try`, `can` and `convert` see expressions and not values: the evaluator has them. A function says what is wrong
//! with its arguments; where they stand is added by its caller.

mod calculation;
mod collections;
mod encoding;
mod format;
mod hashes;
mod logic;
mod network;
mod pattern;
mod sets;
mod text;
mod time;

use super::error::{BakeError, BakeResult};
use super::value::Value;

pub(super) use collections::index;
pub(super) use text::clean;

/// A function: its name, how many arguments it takes at least and at most, and what it does.
pub(super) struct Function {
    name: &'static str,
    least: usize,
    most: Option<usize>,
    run: fn(&[Value]) -> BakeResult<Value>,
}

/// With exactly `count` arguments.
const fn exactly(name: &'static str, count: usize, run: fn(&[Value]) -> BakeResult<Value>) -> Function {
    Function { name, least: count, most: Some(count), run }
}

/// With `least` arguments or more.
const fn at_least(name: &'static str, least: usize, run: fn(&[Value]) -> BakeResult<Value>) -> Function {
    Function { name, least, most: None, run }
}

/// With `least` to `most` arguments.
const fn between(name: &'static str, least: usize, most: usize, run: fn(&[Value]) -> BakeResult<Value>) -> Function {
    Function { name, least, most: Some(most), run }
}

const TABLES: [&[Function]; 11] = [
    calculation::FUNCTIONS,
    collections::FUNCTIONS,
    encoding::FUNCTIONS,
    format::FUNCTIONS,
    hashes::FUNCTIONS,
    logic::FUNCTIONS,
    network::FUNCTIONS,
    pattern::FUNCTIONS,
    sets::FUNCTIONS,
    text::FUNCTIONS,
    time::FUNCTIONS,
];

/// Calls a function; `None` when there is none of that name.
pub(super) fn call(name: &str, arguments: &[Value]) -> Option<BakeResult<Value>> {
    let function = TABLES.iter().copied().flatten().find(|function| function.name == name)?;
    let Function { least, most, run, .. } = function;
    if arguments.len() < *least || most.is_some_and(|most| arguments.len() > most) {
        let wanted = match most {
            Some(most) if most == least => least.to_string(),
            Some(most) => format!("{least} to {most}"),
            None => format!("at least {least}"),
        };
        let plural = if wanted == "1" || wanted == "at least 1" { "" } else { "s" };
        let message = format!("it takes {wanted} argument{plural}, not {}", arguments.len());
        return Some(Err(BakeError::new(message)));
    }
    Some(run(arguments))
}

/// All names, for suggestions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().copied().flatten().map(|function| function.name).chain(["try", "can", "convert"])
}

/// The texts of a list.
fn texts(value: &Value) -> BakeResult<Vec<String>> {
    value.to_list()?.iter().map(Value::to_text).collect()
}

/// A whole number from zero, for lengths and positions.
fn position(value: &Value) -> BakeResult<usize> {
    let number = value.to_integer()?;
    usize::try_from(number).map_err(|_| BakeError::new(format!("{number} is not a position")))
}
