//! Lists and objects.

use std::collections::BTreeMap;

use super::{Function, at_least, between, exactly, position, texts};
use crate::bake::error::{BakeError, BakeResult};
use crate::bake::value::{Number, Value};

/// How long a `range` may be.
const MAX_RANGE: usize = 1024;

pub(super) const FUNCTIONS: &[Function] = &[
    exactly("chunklist", 2, |a| {
        let items = a[0].to_list()?;
        let size = match position(&a[1])? {
            0 => items.len().max(1),
            size => size,
        };
        Ok(Value::List(items.chunks(size).map(|chunk| Value::List(chunk.to_vec())).collect()))
    }),
    at_least("coalesce", 1, |a| match a.iter().find(|value| **value != Value::Null) {
        Some(value) => Ok(value.clone()),
        None => Err(BakeError::new("all of the arguments are null")),
    }),
    at_least("coalescelist", 1, |a| {
        match a.iter().find(|value| matches!(value, Value::List(items) if !items.is_empty())) {
            Some(value) => Ok(value.clone()),
            None => Err(BakeError::new("all of the lists are empty")),
        }
    }),
    exactly("compact", 1, |a| {
        let filled = |value: &&Value| !matches!(value, Value::Null) && **value != Value::string("");
        Ok(Value::List(a[0].to_list()?.iter().filter(filled).cloned().collect()))
    }),
    at_least("concat", 1, |a| {
        let lists = a.iter().map(Value::to_list).collect::<BakeResult<Vec<_>>>()?;
        Ok(Value::List(lists.concat()))
    }),
    exactly("contains", 2, |a| Ok(Value::Bool(a[0].to_list()?.contains(&a[1])))),
    exactly("distinct", 1, |a| {
        let mut seen: Vec<Value> = Vec::new();
        for item in a[0].to_list()? {
            if !seen.contains(item) {
                seen.push(item.clone());
            }
        }
        Ok(Value::List(seen))
    }),
    exactly("element", 2, |a| {
        let items = a[0].to_list()?;
        if items.is_empty() {
            return Err(BakeError::new("the list is empty"));
        }
        // It goes round, backwards too.
        let at = a[1].to_integer()?.rem_euclid(items.len() as i128);
        Ok(items[at as usize].clone())
    }),
    exactly("flatten", 1, |a| {
        let mut flat = Vec::new();
        flatten(a[0].to_list()?, &mut flat);
        Ok(Value::List(flat))
    }),
    exactly("hasindex", 2, |a| Ok(Value::Bool(index(&a[0], &a[1]).is_ok()))),
    exactly("index", 2, |a| index(&a[0], &a[1])),
    exactly("indexof", 2, |a| match a[0].to_list()?.iter().position(|item| *item == a[1]) {
        Some(at) => Ok(Value::integer(at as i128)),
        None => Err(BakeError::new("the list has no such element")),
    }),
    exactly("keys", 1, |a| Ok(Value::strings(a[0].to_object()?.keys()))),
    exactly("length", 1, |a| match &a[0] {
        Value::List(items) => Ok(Value::integer(items.len() as i128)),
        Value::Object(members) => Ok(Value::integer(members.len() as i128)),
        other => Err(BakeError::new(format!("{} has no length: strlen is for strings", other.kind()))),
    }),
    between("lookup", 2, 3, |a| match (a[0].to_object()?.get(&a[1].to_text()?), a.get(2)) {
        (Some(value), _) | (None, Some(value)) => Ok(value.clone()),
        (None, None) => Err(BakeError::new(format!("the object has no `{}`", a[1]))),
    }),
    at_least("merge", 0, |a| {
        let mut merged = BTreeMap::new();
        for object in a.iter().filter(|value| **value != Value::Null) {
            merged.extend(object.to_object()?.clone());
        }
        Ok(Value::Object(merged))
    }),
    between("range", 1, 3, range),
    exactly("reverselist", 1, |a| Ok(Value::List(a[0].to_list()?.iter().rev().cloned().collect()))),
    between("slice", 2, 3, |a| {
        let items = a[0].to_list()?;
        let (start, end) = (position(&a[1])?, a.get(2).map_or(Ok(items.len()), position)?);
        match items.get(start..end) {
            Some(part) => Ok(Value::List(part.to_vec())),
            None => Err(BakeError::new(format!("there is no {start} to {end} in a list of {}", items.len()))),
        }
    }),
    exactly("values", 1, |a| Ok(Value::List(a[0].to_object()?.values().cloned().collect()))),
    exactly("zipmap", 2, |a| {
        let (names, values) = (texts(&a[0])?, a[1].to_list()?);
        if names.len() != values.len() {
            return Err(BakeError::new(format!("{} keys do not go with {} values", names.len(), values.len())));
        }
        Ok(Value::Object(names.into_iter().zip(values.iter().cloned()).collect()))
    }),
];

/// An element of a list or a member of an object.
pub(crate) fn index(collection: &Value, key: &Value) -> BakeResult<Value> {
    match collection {
        Value::List(items) => {
            let at = key.to_integer()?;
            let item = usize::try_from(at).ok().and_then(|at| items.get(at));
            item.cloned().ok_or_else(|| {
                BakeError::new(match items.len() {
                    0 => format!("there is no element {at}: the list is empty"),
                    1 => format!("there is no element {at}: the list has only element 0"),
                    count => format!("there is no element {at}: the list has the elements 0 to {}", count - 1),
                })
            })
        }
        Value::Object(members) => {
            let name = key.to_text()?;
            let missing = || BakeError::new(format!("there is no `{name}` in this object"));
            let found = members.get(&name).cloned();
            found.ok_or_else(|| missing().suggest(&name, members.keys().map(String::as_str)))
        }
        other => Err(BakeError::new(format!("only lists and objects have elements, not {}", other.kind()))),
    }
}

fn flatten(items: &[Value], flat: &mut Vec<Value>) {
    for item in items {
        match item {
            Value::List(inner) => flatten(inner, flat),
            other => flat.push(other.clone()),
        }
    }
}

/// `range(end)`, `range(start, end)`, `range(start, end, step)`
fn range(arguments: &[Value]) -> BakeResult<Value> {
    let numbers = arguments.iter().map(|value| value.to_number().map(Number::float)).collect::<BakeResult<Vec<_>>>()?;
    let (start, end) = if numbers.len() == 1 { (0.0, numbers[0]) } else { (numbers[0], numbers[1]) };
    let step = numbers.get(2).copied().unwrap_or(if end < start { -1.0 } else { 1.0 });
    if step == 0.0 || (end - start) * step < 0.0 {
        return Err(BakeError::new(format!("steps of {step} do not lead from {start} to {end}")));
    }
    let mut items = Vec::new();
    let mut next = start;
    while (step > 0.0 && next < end) || (step < 0.0 && next > end) {
        if items.len() >= MAX_RANGE {
            return Err(BakeError::new(format!("a range has at most {MAX_RANGE} elements")));
        }
        items.push(Value::Number(Number::from(next)));
        next += step;
    }
    Ok(Value::List(items))
}
