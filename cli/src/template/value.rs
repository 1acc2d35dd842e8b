//! Values of a template: JSON, borrowed from the data where that goes. Nothing and null are one.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

/// A value.
pub(super) type Value<'d> = Cow<'d, Json>;

pub(super) const NULL: Value<'static> = Cow::Owned(Json::Null);

/// What `if` asks.
pub(super) fn truth(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(value) => *value,
        Json::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Json::String(text) => !text.is_empty(),
        Json::Array(items) => !items.is_empty(),
        Json::Object(map) => !map.is_empty(),
    }
}

/// What it is, for messages.
pub(super) fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "nothing",
        Json::Bool(_) => "a truth value",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a map",
    }
}

pub(super) fn text_of(value: &Json) -> Option<&str> {
    value.as_str()
}

/// About how much memory it takes.
pub(super) fn size(value: &Json) -> usize {
    let below = match value {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(size).sum(),
        Json::Object(map) => map.iter().map(|(key, value)| key.len() + size(value)).sum(),
        _ => 0,
    };
    below + size_of::<Json>()
}

/// What a map has under this key; of a value without members nothing.
pub(super) fn member<'d>(value: Value<'d>, key: &str) -> Option<Value<'d>> {
    match value {
        Cow::Borrowed(value) => value.get(key).map(Cow::Borrowed),
        Cow::Owned(Json::Object(mut map)) => map.swap_remove(key).map(Cow::Owned),
        Cow::Owned(_) => None,
    }
}

/// What a list has there.
pub(super) fn element(value: Value<'_>, at: usize) -> Value<'_> {
    match value {
        Cow::Borrowed(value) => value.get(at).map_or(NULL, Cow::Borrowed),
        Cow::Owned(Json::Array(mut items)) if at < items.len() => Cow::Owned(items.swap_remove(at)),
        Cow::Owned(_) => NULL,
    }
}

/// The members of a map in Go's order.
pub(super) fn sorted(map: &Map<String, Json>) -> Vec<(&String, &Json)> {
    let mut members: Vec<_> = map.iter().collect();
    members.sort_unstable_by_key(|(key, _)| *key);
    members
}

/// `%v`: lists as `[a b]`, maps as `map[a:1 b:2]`.
pub(super) fn plain(value: &Json) -> String {
    let mut text = String::new();
    write_plain(value, &mut text, &|text, out| out.push_str(text));
    text
}

/// The same with texts written by somebody else.
pub(super) fn write_plain(value: &Json, out: &mut String, write_text: &dyn Fn(&str, &mut String)) {
    match value {
        Json::Null => out.push_str("<nil>"),
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Number(number) => {
            let _ = match number.as_f64().filter(|_| number.is_f64()) {
                Some(float) => write!(out, "{}", float_text(float)),
                None => write!(out, "{number}"),
            };
        }
        Json::String(text) => write_text(text, out),
        Json::Array(items) => {
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(' ');
                }
                write_plain(item, out, write_text);
            }
            out.push(']');
        }
        Json::Object(map) => {
            out.push_str("map[");
            for (position, (key, value)) in sorted(map).into_iter().enumerate() {
                if position > 0 {
                    out.push(' ');
                }
                write_text(key, out);
                out.push(':');
                write_plain(value, out, write_text);
            }
            out.push(']');
        }
    }
}

/// The shortest text that is this number; with an exponent where Go has one.
pub(super) fn float_text(float: f64) -> String {
    let size = float.abs();
    if float == 0.0 || (1e-4..1e21).contains(&size) {
        return format!("{float}");
    }
    let written = format!("{float:e}");
    let (mantissa, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}
