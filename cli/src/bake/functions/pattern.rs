//! Regular expressions. Go's and ours are the same language but for corners.

use regex::{Captures, Regex};

use super::{Function, exactly};
use crate::bake::error::{BakeError, BakeResult};
use crate::bake::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    exactly("regex", 2, |a| {
        let (regex, text) = (compile(&a[0])?, a[1].to_text()?);
        match regex.captures(&text) {
            Some(found) => Ok(matched(&regex, &found)),
            None => Err(BakeError::new(format!("{:?} does not match {text:?}", regex.as_str()))),
        }
    }),
    exactly("regex_replace", 3, |a| {
        let (text, regex, by) = (a[0].to_text()?, compile(&a[1])?, a[2].to_text()?);
        Ok(Value::string(regex.replace_all(&text, by.as_str())))
    }),
    exactly("regexall", 2, |a| {
        let (regex, text) = (compile(&a[0])?, a[1].to_text()?);
        Ok(Value::List(regex.captures_iter(&text).map(|found| matched(&regex, &found)).collect()))
    }),
];

fn compile(pattern: &Value) -> BakeResult<Regex> {
    let pattern = pattern.to_text()?;
    Regex::new(&pattern).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
        BakeError::new(format!("{pattern:?} is not a regular expression: {reason}"))
    })
}

/// The whole match; with groups a list of what they caught, with named groups an object.
fn matched(regex: &Regex, found: &Captures<'_>) -> Value {
    let text = |group: Option<regex::Match<'_>>| group.map_or(Value::Null, |group| Value::string(group.as_str()));
    let names: Vec<&str> = regex.capture_names().flatten().collect();
    if !names.is_empty() {
        return Value::Object(names.into_iter().map(|name| (name.to_owned(), text(found.name(name)))).collect());
    }
    match regex.captures_len() {
        1 => text(found.get(0)),
        groups => Value::List((1..groups).map(|group| text(found.get(group))).collect()),
    }
}
