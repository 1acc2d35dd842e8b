//! The functions of Go's templates, and those that Docker adds.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value as Json;

use super::format;
use super::value::{self, Value, text_of};

/// What a function says when it can't.
pub(super) type Answer<'d> = Result<Value<'d>, String>;

/// A function: the least and the greatest number of arguments, and what it does.
pub(super) struct Function {
    pub(super) name: &'static str,
    least: usize,
    most: usize,
    call: for<'d> fn(Vec<Value<'d>>) -> Answer<'d>,
    /// Does nothing to the header of a table.
    pub(super) keeps_headers: bool,
    /// What it makes is as large as what it gets, or larger.
    pub(super) copies: bool,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The longest text that padding may make.
const MAX_PADDING: i64 = 4096;

const fn function(
    name: &'static str,
    least: usize,
    most: usize,
    call: for<'d> fn(Vec<Value<'d>>) -> Answer<'d>,
) -> Function {
    Function { name, least, most, call, keeps_headers: false, copies: false }
}

const fn writing(
    name: &'static str,
    least: usize,
    most: usize,
    call: for<'d> fn(Vec<Value<'d>>) -> Answer<'d>,
) -> Function {
    Function { name, least, most, call, keeps_headers: false, copies: true }
}

const fn shaping(
    name: &'static str,
    least: usize,
    most: usize,
    call: for<'d> fn(Vec<Value<'d>>) -> Answer<'d>,
) -> Function {
    Function { name, least, most, call, keeps_headers: true, copies: true }
}

const MANY: usize = usize::MAX;

/// `and` and `or` look at no more arguments than they need: whoever executes the template calls them.
static FUNCTIONS: &[Function] = &[
    function("and", 1, MANY, |mut a| Ok(a.pop().unwrap_or(value::NULL))),
    function("or", 1, MANY, |mut a| Ok(a.pop().unwrap_or(value::NULL))),
    function("not", 1, 1, |a| owned(!value::truth(&a[0]))),
    function("eq", 2, MANY, |a| {
        for other in &a[1..] {
            if equal(&a[0], other)? {
                return owned(true);
            }
        }
        owned(false)
    }),
    function("ne", 2, 2, |a| owned(!equal(&a[0], &a[1])?)),
    function("lt", 2, 2, |a| owned(compare(&a[0], &a[1])?.is_lt())),
    function("le", 2, 2, |a| owned(compare(&a[0], &a[1])?.is_le())),
    function("gt", 2, 2, |a| owned(compare(&a[0], &a[1])?.is_gt())),
    function("ge", 2, 2, |a| owned(compare(&a[0], &a[1])?.is_ge())),
    function("index", 1, MANY, index),
    writing("slice", 1, 3, |a| slice(&a)),
    function("len", 1, 1, |a| match &*a[0] {
        Json::String(text) => owned(text.len()),
        Json::Array(items) => owned(items.len()),
        Json::Object(map) => owned(map.len()),
        other => Err(format!("{} has no length", value::kind(other))),
    }),
    writing("print", 0, MANY, |a| owned(format::print(&a))),
    writing("println", 0, MANY, |a| owned(format::println(&a))),
    writing("printf", 1, MANY, |a| {
        let pattern = text_of(&a[0]).ok_or_else(|| needs("printf", "a text with verbs", &a[0]))?;
        owned(format::printf(pattern, &a[1..])?)
    }),
    writing("html", 1, MANY, |a| owned(escape_html(&format::print(&a)))),
    writing("urlquery", 1, MANY, |a| owned(escape_query(&format::print(&a)))),
    shaping("json", 1, 1, |a| owned(serde_json::to_string(&*a[0]).unwrap_or_default())),
    shaping("upper", 1, 1, |a| owned(text("upper", &a[0])?.to_uppercase())),
    shaping("lower", 1, 1, |a| owned(text("lower", &a[0])?.to_lowercase())),
    shaping("title", 1, 1, |a| owned(title(text("title", &a[0])?))),
    shaping("join", 2, 2, |a| {
        let separator = text("join", &a[1])?;
        match &*a[0] {
            Json::Array(items) => {
                if items.len().saturating_mul(separator.len()) > format::MAX_TEXT {
                    return Err("`join` makes more text than is allowed".to_owned());
                }
                let items = items.iter().map(|item| text_of(item).map_or_else(|| value::plain(item), str::to_owned));
                owned(items.collect::<Vec<_>>().join(separator))
            }
            Json::Null => owned(""),
            other => Err(needs("join", "a list", other)),
        }
    }),
    shaping("split", 2, 2, |a| {
        let (whole, separator) = (text("split", &a[0])?, text("split", &a[1])?);
        if separator.is_empty() {
            return owned(whole.chars().map(|c| Json::String(c.into())).collect::<Vec<_>>());
        }
        owned(whole.split(separator).map(Json::from).collect::<Vec<_>>())
    }),
    shaping("truncate", 2, 2, |a| {
        let (whole, length) = (text("truncate", &a[0])?, number("truncate", &a[1])?);
        owned(whole.chars().take(usize::try_from(length).unwrap_or(0)).collect::<String>())
    }),
    shaping("pad", 3, 3, |a| {
        let whole = text("pad", &a[0])?;
        let spaces = |value| {
            let count = number("pad", value)?;
            if count > MAX_PADDING {
                return Err(format!("`pad` adds at most {MAX_PADDING} blanks"));
            }
            Ok(" ".repeat(usize::try_from(count).unwrap_or(0)))
        };
        let (before, after) = (spaces(&a[1])?, spaces(&a[2])?);
        owned(if whole.is_empty() { String::new() } else { format!("{before}{whole}{after}") })
    }),
];

pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

pub(super) fn names() -> Vec<&'static str> {
    FUNCTIONS.iter().map(|function| function.name).collect()
}

impl Function {
    pub(super) fn call<'d>(&self, arguments: Vec<Value<'d>>) -> Answer<'d> {
        let count = arguments.len();
        if count < self.least || count > self.most {
            let wanted = match (self.least, self.most) {
                (least, most) if least == most => least.to_string(),
                (least, MANY) => format!("at least {least}"),
                (least, most) => format!("{least} to {most}"),
            };
            return Err(format!("`{}` takes {wanted} arguments and got {count}", self.name));
        }
        (self.call)(arguments)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what functions return")]
fn owned<'d>(value: impl Into<Json>) -> Answer<'d> {
    Ok(Cow::Owned(value.into()))
}

fn needs(function: &str, what: &str, got: &Json) -> String {
    format!("`{function}` needs {what} and got {}", value::kind(got))
}

/// Nothing is an empty text: fields that an image lacks.
fn text<'v>(function: &str, value: &'v Json) -> Result<&'v str, String> {
    match value {
        Json::Null => Ok(""),
        value => text_of(value).ok_or_else(|| needs(function, "a text", value)),
    }
}

fn number(function: &str, value: &Json) -> Result<i64, String> {
    value.as_i64().ok_or_else(|| needs(function, "a whole number", value))
}

/// The first letter of each word in upper case.
fn title(text: &str) -> String {
    let mut before = ' ';
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if before.is_alphanumeric() || before == '_' {
            out.push(c);
        } else {
            out.extend(c.to_uppercase());
        }
        before = c;
    }
    out
}

fn equal(one: &Json, other: &Json) -> Result<bool, String> {
    if one.is_null() || other.is_null() {
        return Ok(one.is_null() && other.is_null());
    }
    match (one, other) {
        (Json::Bool(one), Json::Bool(other)) => Ok(one == other),
        _ => compare(one, other).map(Ordering::is_eq),
    }
}

fn compare(one: &Json, other: &Json) -> Result<Ordering, String> {
    match (one, other) {
        (Json::String(one), Json::String(other)) => Ok(one.cmp(other)),
        (Json::Number(one), Json::Number(other)) => {
            if let (Some(one), Some(other)) = (one.as_i128(), other.as_i128()) {
                return Ok(one.cmp(&other));
            }
            let floats = one.as_f64().zip(other.as_f64());
            let order = floats.and_then(|(one, other)| one.partial_cmp(&other));
            order.ok_or_else(|| "these numbers can't be compared".to_owned())
        }
        _ => Err(format!("{} and {} can't be compared", value::kind(one), value::kind(other))),
    }
}

/// `index X 1 "a"` is what Go writes `X[1]["a"]`; a key that a map lacks is nothing.
fn index(mut arguments: Vec<Value<'_>>) -> Answer<'_> {
    let keys = arguments.split_off(1);
    let mut found = arguments.pop().unwrap_or(value::NULL);
    for key in keys {
        found = match (&*found, &*key) {
            (Json::Object(_), Json::String(key)) => value::member(found, key).unwrap_or(value::NULL),
            (Json::Array(items), Json::Number(position)) => {
                let at = position.as_u64().and_then(|at| usize::try_from(at).ok()).filter(|at| *at < items.len());
                let at = at.ok_or_else(|| format!("a list of {} has no element {position}", items.len()))?;
                value::element(found, at)
            }
            (Json::String(text), Json::Number(position)) => {
                let byte = position.as_u64().and_then(|at| text.as_bytes().get(usize::try_from(at).ok()?));
                let byte = byte.ok_or_else(|| format!("a text of {} bytes has no byte {position}", text.len()))?;
                Cow::Owned((*byte).into())
            }
            (Json::Null, _) => return Err("there is nothing to take an element of".to_owned()),
            (of, key) => return Err(format!("{} can't be an index of {}", value::kind(key), value::kind(of))),
        };
    }
    Ok(found)
}

/// `slice X 1 3` is what Go writes `X[1:3]`.
fn slice<'d>(arguments: &[Value<'d>]) -> Answer<'d> {
    let length = match &*arguments[0] {
        Json::String(text) => text.len(),
        Json::Array(items) => items.len(),
        other => return Err(needs("slice", "a text or a list", other)),
    };
    let mut bounds = Vec::new();
    for bound in &arguments[1..] {
        let number = number("slice", bound)?;
        let bound = usize::try_from(number).ok().filter(|bound| *bound <= length);
        bounds.push(bound.ok_or_else(|| format!("{number} is beyond the length of {length}"))?);
    }
    let from = bounds.first().copied().unwrap_or(0);
    let to = bounds.get(1).copied().unwrap_or(length);
    if from > to {
        return Err(format!("the slice from {from} to {to} ends before it begins"));
    }
    match &*arguments[0] {
        Json::String(text) => owned(String::from_utf8_lossy(&text.as_bytes()[from..to])),
        Json::Array(items) => owned(items[from..to].to_vec()),
        _ => Ok(value::NULL),
    }
}

fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\0' => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

fn escape_query(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            b' ' => out.push('+'),
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}
