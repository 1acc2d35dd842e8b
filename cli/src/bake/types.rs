//! Types: `string`, `list(string)`, `object({port = number})`, and bringing values into them.

use std::collections::BTreeMap;
use std::fmt;

use super::error::{BakeError, BakeResult};
use super::syntax::{Call, Expression, ExpressionKind, native};
use super::value::Value;

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Any,
    Bool,
    Number,
    String,
    List(Box<Type>),
    Set(Box<Type>),
    Map(Box<Type>),
    Tuple(Vec<Type>),
    /// The members, and whether one may be left out.
    Object(BTreeMap<String, (Type, bool)>),
}

impl Type {
    /// Reads a type; in JSON it stands in a string.
    pub(crate) fn of(expression: &Expression) -> BakeResult<Self> {
        let wrong = || {
            BakeError::new("this is not a valid type").at(&expression.span).help(
                "types are any, string, number, bool, list(T), set(T), map(T), tuple([T, …]) and object({name = T, …})",
            )
        };
        match &expression.kind {
            ExpressionKind::Literal(Value::String(text)) => {
                Self::of(&native::parse_expression(text, &expression.span).map_err(|_| wrong())?)
            }
            ExpressionKind::Variable(name) => match name.as_str() {
                "any" => Ok(Self::Any),
                "bool" => Ok(Self::Bool),
                "number" => Ok(Self::Number),
                "string" => Ok(Self::String),
                "list" => Ok(Self::List(Box::new(Self::Any))),
                "set" => Ok(Self::Set(Box::new(Self::Any))),
                "map" => Ok(Self::Map(Box::new(Self::Any))),
                _ => Err(wrong()),
            },
            ExpressionKind::Call(call) => Self::constructed(call).unwrap_or_else(|| Err(wrong())),
            _ => Err(wrong()),
        }
    }

    fn constructed(call: &Call) -> Option<BakeResult<Self>> {
        let [argument] = &call.arguments[..] else { return None };
        let boxed = |make: fn(Box<Self>) -> Self| Some(Self::of(argument).map(|inner| make(Box::new(inner))));
        match (call.name.as_str(), &argument.kind) {
            ("list", _) => boxed(Self::List),
            ("set", _) => boxed(Self::Set),
            ("map", _) => boxed(Self::Map),
            ("tuple", ExpressionKind::List(items)) => {
                Some(items.iter().map(Self::of).collect::<BakeResult<_>>().map(Self::Tuple))
            }
            ("object", ExpressionKind::Object(members)) => {
                let member = |(name, value): &(Expression, Expression)| {
                    let name = name.keyword().unwrap_or_default().to_owned();
                    let (inner, optional) = match &value.kind {
                        ExpressionKind::Call(call) if call.name == "optional" && !call.arguments.is_empty() => {
                            (&call.arguments[0], true)
                        }
                        _ => (value, false),
                    };
                    Ok((name, (Self::of(inner)?, optional)))
                };
                Some(members.iter().map(member).collect::<BakeResult<_>>().map(Self::Object))
            }
            _ => None,
        }
    }

    /// The value in this type. Null is of every type.
    pub(crate) fn convert(&self, value: Value) -> BakeResult<Value> {
        if value == Value::Null {
            return Ok(value);
        }
        let refused = |value: &Value| BakeError::new(format!("{self} is needed here, not {}", value.kind()));
        match self {
            Self::Any => Ok(value),
            Self::Bool => value.to_bool().map(Value::Bool),
            Self::Number => value.to_number().map(Value::Number),
            Self::String => value.to_text().map(Value::String),
            Self::List(inner) => match value {
                Value::List(items) => inner.all(items).map(Value::List),
                other => Err(refused(&other)),
            },
            Self::Set(inner) => match value {
                Value::List(items) => inner.all(items).map(|items| Value::List(set(items))),
                other => Err(refused(&other)),
            },
            Self::Map(inner) => match value {
                Value::Object(members) => {
                    let convert = |(name, value)| Ok((name, inner.convert(value)?));
                    members.into_iter().map(convert).collect::<BakeResult<_>>().map(Value::Object)
                }
                other => Err(refused(&other)),
            },
            Self::Tuple(types) => match value {
                Value::List(items) if items.len() == types.len() => {
                    let convert = |(inner, value): (&Self, Value)| inner.convert(value);
                    types.iter().zip(items).map(convert).collect::<BakeResult<_>>().map(Value::List)
                }
                Value::List(items) => {
                    Err(BakeError::new(format!("{self} has {} elements, not {}", types.len(), items.len())))
                }
                other => Err(refused(&other)),
            },
            Self::Object(types) => match value {
                Value::Object(mut members) => {
                    let convert = |(name, (inner, optional)): (&String, &(Self, bool))| match members.remove(name) {
                        Some(value) => Ok((name.clone(), inner.convert(value)?)),
                        None if *optional => Ok((name.clone(), Value::Null)),
                        None => Err(BakeError::new(format!("the member `{name}` of {self} is missing"))),
                    };
                    types.iter().map(convert).collect::<BakeResult<_>>().map(Value::Object)
                }
                other => Err(refused(&other)),
            },
        }
    }

    fn all(&self, items: Vec<Value>) -> BakeResult<Vec<Value>> {
        items.into_iter().map(|item| self.convert(item)).collect()
    }
}

/// Sorted, each value once: numbers by size, texts by their bytes, the rest by its JSON.
pub(crate) fn set(mut items: Vec<Value>) -> Vec<Value> {
    items.sort_by(|left, right| match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.partial_cmp(right).unwrap_or(std::cmp::Ordering::Equal),
        (Value::String(left), Value::String(right)) => left.cmp(right),
        _ => left.to_json().to_string().cmp(&right.to_json().to_string()),
    });
    items.dedup();
    items
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Bool => f.write_str("bool"),
            Self::Number => f.write_str("number"),
            Self::String => f.write_str("string"),
            Self::List(inner) => write!(f, "list({inner})"),
            Self::Set(inner) => write!(f, "set({inner})"),
            Self::Map(inner) => write!(f, "map({inner})"),
            Self::Tuple(types) => {
                let types: Vec<String> = types.iter().map(ToString::to_string).collect();
                write!(f, "tuple([{}])", types.join(", "))
            }
            Self::Object(types) => {
                let member = |(name, (inner, optional)): (&String, &(Self, bool))| match optional {
                    true => format!("{name} = optional({inner})"),
                    false => format!("{name} = {inner}"),
                };
                let members: Vec<String> = types.iter().map(member).collect();
                write!(f, "object({{{}}})", members.join(", "))
            }
        }
    }
}
