//! The values of expressions.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use super::error::{BakeError, BakeResult};

/// A value. Lists, tuples and sets are lists (sets sorted and without repetitions), maps and objects are objects, whose
/// members are in the order of their names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    List(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

/// A number: exact as long as it is an integer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    /// Near enough for everything but counting.
    pub(crate) fn float(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }

    /// The integer, if it is one.
    pub(crate) fn integer(self) -> Option<i128> {
        match self {
            Self::Integer(integer) => Some(integer),
            Self::Float(_) => None,
        }
    }
}

impl From<i128> for Number {
    fn from(integer: i128) -> Self {
        Self::Integer(integer)
    }
}

impl From<f64> for Number {
    /// A whole number becomes an integer.
    fn from(float: f64) -> Self {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if float.fract() == 0.0 && float.abs() <= EXACT { Self::Integer(float as i128) } else { Self::Float(float) }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => Some(left.cmp(right)),
            _ => self.float().partial_cmp(&other.float()),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Float(float) => write!(f, "{float}"),
        }
    }
}

impl std::str::FromStr for Number {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(integer) = text.parse::<i128>() {
            return Ok(Self::Integer(integer));
        }
        let digits = text.trim_start_matches(['+', '-']);
        match text.parse::<f64>() {
            // No names of numbers.
            Ok(float) if float.is_finite() && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
                Ok(Self::from(float))
            }
            _ => Err(()),
        }
    }
}

impl Value {
    /// A text.
    pub(crate) fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// An integer.
    pub(crate) fn integer(integer: impl Into<i128>) -> Self {
        Self::Number(Number::Integer(integer.into()))
    }

    /// Texts.
    pub(crate) fn strings(texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::List(texts.into_iter().map(Self::string).collect())
    }

    /// What people call its kind.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Object(_) => "object",
        }
    }

    fn cannot(&self, wanted: &str) -> BakeError {
        BakeError::new(format!("{wanted} is needed here, not {}", self.described()))
    }

    fn described(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Object(_) => "an object".to_owned(),
            Self::String(text) if text.len() <= 40 => format!("the string {text:?}"),
            Self::Bool(_) | Self::Number(_) => format!("{self}"),
            other => format!("a {}", other.kind()),
        }
    }

    /// As a text; numbers and bools have one, too.
    pub(crate) fn to_text(&self) -> BakeResult<String> {
        match self {
            Self::String(text) => Ok(text.clone()),
            Self::Number(number) => Ok(number.to_string()),
            Self::Bool(value) => Ok(value.to_string()),
            other => Err(other.cannot("a string")),
        }
    }

    /// As a number; a text may say one.
    pub(crate) fn to_number(&self) -> BakeResult<Number> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::String(text) => text.parse().map_err(|()| self.cannot("a number")),
            other => Err(other.cannot("a number")),
        }
    }

    /// As a whole number.
    pub(crate) fn to_integer(&self) -> BakeResult<i128> {
        self.to_number()?.integer().ok_or_else(|| self.cannot("a whole number"))
    }

    /// As a bool; a text may say one.
    pub(crate) fn to_bool(&self) -> BakeResult<bool> {
        match self {
            Self::Bool(value) => Ok(*value),
            Self::String(text) if text == "true" || text == "1" => Ok(true),
            Self::String(text) if text == "false" || text == "0" => Ok(false),
            other => Err(other.cannot("true or false")),
        }
    }

    /// The elements of a list.
    pub(crate) fn to_list(&self) -> BakeResult<&[Self]> {
        match self {
            Self::List(items) => Ok(items),
            other => Err(other.cannot("a list")),
        }
    }

    /// The members of an object.
    pub(crate) fn to_object(&self) -> BakeResult<&BTreeMap<String, Self>> {
        match self {
            Self::Object(members) => Ok(members),
            other => Err(other.cannot("an object")),
        }
    }

    /// As JSON.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Number(Number::Integer(integer)) => match (i64::try_from(*integer), u64::try_from(*integer)) {
                (Ok(integer), _) => integer.into(),
                (_, Ok(integer)) => integer.into(),
                _ => (*integer as f64).into(),
            },
            Self::Number(Number::Float(float)) => (*float).into(),
            Self::String(text) => text.as_str().into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Object(members) => {
                serde_json::Value::Object(members.iter().map(|(name, value)| (name.clone(), value.to_json())).collect())
            }
        }
    }
}

impl fmt::Display for Value {
    /// As people read it: texts as they are, lists and objects as JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            other => write!(f, "{}", other.to_json()),
        }
    }
}
