//! Texts.

use builder_executor::pattern;

use super::{Function, at_least, exactly, position, texts};
use crate::bake::error::{BakeError, BakeResult};
use crate::bake::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    exactly("basename", 1, |a| Ok(Value::string(basename(&a[0].to_text()?)))),
    exactly("byteslen", 1, |a| Ok(Value::integer(a[0].to_text()?.len() as i128))),
    exactly("chomp", 1, |a| Ok(Value::string(a[0].to_text()?.trim_end_matches(['\r', '\n'])))),
    exactly("dirname", 1, |a| Ok(Value::string(dirname(&a[0].to_text()?)))),
    exactly("indent", 2, |a| {
        let space = " ".repeat(position(&a[0])?.min(1 << 16));
        Ok(Value::string(a[1].to_text()?.replace('\n', &format!("\n{space}"))))
    }),
    at_least("join", 2, |a| {
        let lists = a[1..].iter().map(texts).collect::<BakeResult<Vec<_>>>()?;
        Ok(Value::string(lists.concat().join(&a[0].to_text()?)))
    }),
    exactly("lower", 1, |a| Ok(Value::string(a[0].to_text()?.to_lowercase()))),
    exactly("replace", 3, |a| Ok(Value::string(a[0].to_text()?.replace(&a[1].to_text()?, &a[2].to_text()?)))),
    exactly("reverse", 1, |a| Ok(Value::string(a[0].to_text()?.chars().rev().collect::<String>()))),
    exactly("sanitize", 1, |a| Ok(Value::string(sanitize(&a[0].to_text()?)))),
    exactly("sort", 1, |a| {
        let mut sorted = texts(&a[0])?;
        sorted.sort();
        Ok(Value::strings(sorted))
    }),
    exactly("split", 2, |a| {
        let (separator, text) = (a[0].to_text()?, a[1].to_text()?);
        if separator.is_empty() {
            return Ok(Value::strings(text.chars()));
        }
        Ok(Value::strings(text.split(separator.as_str())))
    }),
    exactly("strlen", 1, |a| Ok(Value::integer(a[0].to_text()?.chars().count() as i128))),
    exactly("substr", 3, substring),
    exactly("title", 1, |a| Ok(Value::string(title(&a[0].to_text()?)))),
    exactly("trim", 2, |a| {
        let set: Vec<char> = a[1].to_text()?.chars().collect();
        Ok(Value::string(a[0].to_text()?.trim_matches(&set[..])))
    }),
    exactly("trimprefix", 2, |a| {
        let (text, prefix) = (a[0].to_text()?, a[1].to_text()?);
        Ok(Value::string(text.strip_prefix(prefix.as_str()).unwrap_or(&text)))
    }),
    exactly("trimspace", 1, |a| Ok(Value::string(a[0].to_text()?.trim()))),
    exactly("trimsuffix", 2, |a| {
        let (text, suffix) = (a[0].to_text()?, a[1].to_text()?);
        Ok(Value::string(text.strip_suffix(suffix.as_str()).unwrap_or(&text)))
    }),
    exactly("upper", 1, |a| Ok(Value::string(a[0].to_text()?.to_uppercase()))),
];

/// What is allowed in the name of a target; everything else becomes `_`.
pub(crate) fn sanitize(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    text.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

/// The last part of a path, as Go's `path.Base` has it.
fn basename(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" if path.is_empty() => ".",
        "" => "/",
        path => path.rsplit('/').next().unwrap_or(path),
    }
}

/// Everything but the last part, cleaned, as Go's `path.Dir` has it.
fn dirname(path: &str) -> String {
    clean(path.rfind('/').map_or("", |slash| &path[..=slash]))
}

/// The shortest form of a path, as Go's `path.Clean` has it.
pub(crate) fn clean(path: &str) -> String {
    String::from_utf8_lossy(&pattern::clean(path.as_bytes())).into_owned()
}

/// The first letter of each word in upper case.
fn title(text: &str) -> String {
    let mut inside = false;
    let mut titled = String::with_capacity(text.len());
    for c in text.chars() {
        let letter = c.is_alphanumeric() || c == '_' || c == '\'';
        if letter && !inside {
            titled.extend(c.to_uppercase());
        } else {
            titled.push(c);
        }
        inside = letter;
    }
    titled
}

/// `substr(text, offset, length)`: a negative offset counts from the end, a length of -1 is all of the rest.
fn substring(arguments: &[Value]) -> BakeResult<Value> {
    let text: Vec<char> = arguments[0].to_text()?.chars().collect();
    let (offset, length) = (arguments[1].to_integer()?, arguments[2].to_integer()?);
    let count = text.len() as i128;
    let start = if offset < 0 { (count + offset).max(0) } else { offset.min(count) };
    let length = match length {
        -1 => count - start,
        length if length < -1 => return Err(BakeError::new("the length is negative: -1 stands for all of the rest")),
        length => length.min(count - start),
    };
    let range = start as usize..(start + length) as usize;
    Ok(Value::string(text[range].iter().collect::<String>()))
}
