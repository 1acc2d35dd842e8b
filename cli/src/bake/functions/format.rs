//! `format` and `formatlist`: Go's verbs.

use super::{Function, at_least};
use crate::bake::error::{BakeError, BakeResult};
use crate::bake::value::{Number, Value};
use crate::go_format::{Shape, exponent};

/// The widest field.
const MAX_WIDTH: usize = 4096;

pub(super) const FUNCTIONS: &[Function] = &[
    at_least("format", 1, |a| format(&a[0].to_text()?, &a[1..]).map(Value::String)),
    at_least("formatlist", 1, |a| {
        let pattern = a[0].to_text()?;
        let lengths = a[1..].iter().filter_map(|value| value.to_list().ok()).map(<[Value]>::len);
        let Some(length) = lengths.clone().max() else {
            return Ok(Value::List(vec![Value::String(format(&pattern, &a[1..])?)]));
        };
        if lengths.clone().any(|other| other != length) {
            return Err(BakeError::new("the lists are not of the same length"));
        }
        let line = |at: usize| {
            let values = a[1..].iter().map(|value| match value {
                Value::List(items) => items[at].clone(),
                other => other.clone(),
            });
            format(&pattern, &values.collect::<Vec<_>>()).map(Value::String)
        };
        (0..length).map(line).collect::<BakeResult<_>>().map(Value::List)
    }),
];

/// One `%…`.
#[derive(Debug, Default)]
struct Verb {
    shape: Shape,
    /// From `%[2]s`, from 1.
    argument: Option<usize>,
    letter: char,
}

/// Fills the values into the pattern. All of them must be used, as buildx wants it.
fn format(pattern: &str, values: &[Value]) -> BakeResult<String> {
    let mut text = String::new();
    let (mut rest, mut next, mut furthest) = (pattern, 0, 0);
    let mut explicit = false;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let (verb, after) = Verb::parse(&rest[at + 1..])
            .ok_or_else(|| BakeError::new(format!("the `%` at {:?} begins no verb", &rest[at..])))?;
        rest = after;
        if verb.letter == '%' {
            text.push('%');
            continue;
        }
        if let Some(argument) = verb.argument {
            next = argument.saturating_sub(1);
            explicit = true;
        }
        let Some(value) = values.get(next) else {
            return Err(BakeError::new(format!("there is no value for the verb `%{}`", verb.letter)));
        };
        next += 1;
        furthest = furthest.max(next);
        let written = verb.write(value)?;
        text.push_str(&verb.shape.pad(written));
    }
    text.push_str(rest);
    if furthest < values.len() && !explicit {
        return Err(BakeError::new(format!("there are {} values for {furthest} verbs", values.len())));
    }
    Ok(text)
}

impl Verb {
    fn parse(text: &str) -> Option<(Self, &str)> {
        let mut verb = Self::default();
        let mut rest = text;
        (verb.shape, rest) = Shape::flags(rest);
        let number = |rest: &mut &str| {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, after) = rest.split_at(digits);
            *rest = after;
            number.parse::<usize>().ok().map(|number| number.min(MAX_WIDTH))
        };
        verb.shape.width = number(&mut rest);
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            verb.shape.precision = Some(number(&mut rest).unwrap_or(0));
        }
        if let Some(after) = rest.strip_prefix('[') {
            rest = after;
            verb.argument = Some(number(&mut rest)?);
            rest = rest.strip_prefix(']')?;
        }
        verb.letter = rest.chars().next()?;
        let after = &rest[verb.letter.len_utf8()..];
        Some((verb, after))
    }

    fn write(&self, value: &Value) -> BakeResult<String> {
        Ok(match self.letter {
            'v' if self.shape.sharp => value.to_json().to_string(),
            'v' => value.to_string(),
            't' => value.to_bool()?.to_string(),
            's' => self.shape.cut(&value.to_text()?),
            'q' => serde_json::Value::String(self.shape.cut(&value.to_text()?)).to_string(),
            'd' => self.integer(value, |integer| integer.to_string())?,
            'b' => self.integer(value, |integer| format!("{integer:b}"))?,
            'o' => self.integer(value, |integer| format!("{integer:o}"))?,
            'x' => self.integer(value, |integer| format!("{integer:x}"))?,
            'X' => self.integer(value, |integer| format!("{integer:X}"))?,
            'f' => self.signed(value.to_number()?, |float| format!("{float:.*}", self.shape.precision.unwrap_or(6))),
            'e' => self.signed(value.to_number()?, |float| exponent(float, self.shape.precision.unwrap_or(6), 'e')),
            'E' => self.signed(value.to_number()?, |float| exponent(float, self.shape.precision.unwrap_or(6), 'E')),
            'g' | 'G' => self.signed(value.to_number()?, |float| float.to_string()),
            other => return Err(BakeError::new(format!("there is no verb `%{other}`"))),
        })
    }

    fn integer(&self, value: &Value, digits: impl Fn(u128) -> String) -> BakeResult<String> {
        let number = value.to_number()?;
        let integer = number.integer().unwrap_or(number.float() as i128);
        Ok(format!("{}{}", self.shape.sign(integer < 0), digits(integer.unsigned_abs())))
    }

    fn signed(&self, number: Number, digits: impl Fn(f64) -> String) -> String {
        let float = number.float();
        format!("{}{}", self.shape.sign(float < 0.0), digits(float.abs()))
    }
}
