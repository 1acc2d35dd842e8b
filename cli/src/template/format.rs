//! `print`, `println` and `printf` as Go's `fmt` has them.

use std::fmt::Write as _;

use builder_frontend::go_text::quote;
use serde_json::Value as Json;

use super::value::{Value, float_text, plain, text_of, write_plain};
use crate::go_format::{Shape, exponent};

/// The widest field.
const MAX_WIDTH: usize = 4096;
/// The longest text that is made at once.
pub(super) const MAX_TEXT: usize = 64 << 20;

/// With a blank between two that are no texts.
pub(super) fn print(values: &[Value<'_>]) -> String {
    let mut out = String::new();
    let mut before_is_text = true;
    for value in values {
        let is_text = value.is_string();
        if !before_is_text && !is_text {
            out.push(' ');
        }
        out.push_str(&plain(value));
        before_is_text = is_text;
    }
    out
}

/// With a blank between any two, and the end of the line.
pub(super) fn println(values: &[Value<'_>]) -> String {
    values.iter().map(|value| plain(value)).collect::<Vec<_>>().join(" ") + "\n"
}

/// One `%…`.
#[derive(Debug, Default)]
struct Verb {
    shape: Shape,
    letter: char,
}

/// What does not fit is said in the text, as Go does: `%!d(string=x)`.
pub(super) fn printf(pattern: &str, values: &[Value<'_>]) -> Result<String, String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (verb, after) = Verb::parse(&rest[at + 1..], &mut values)?;
        rest = after;
        if out.len() > MAX_TEXT {
            return Err("`printf` makes more text than is allowed".to_owned());
        }
        match verb.letter {
            '%' => out.push('%'),
            '\0' => out.push_str("%!(NOVERB)"),
            letter => match values.next() {
                Some(value) => out.push_str(&verb.shape.pad(verb.write(value))),
                None => {
                    let _ = write!(out, "%!{letter}(MISSING)");
                }
            },
        }
    }
    out.push_str(rest);
    let extra: Vec<String> = values.map(|value| format!("{}={}", type_of(value), plain(value))).collect();
    if !extra.is_empty() {
        let _ = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    Ok(out)
}

impl Verb {
    /// `text` stands behind the `%`; a `*` takes the next value.
    fn parse<'t, 'v, 'd: 'v>(
        text: &'t str,
        values: &mut impl Iterator<Item = &'v Value<'d>>,
    ) -> Result<(Self, &'t str), String> {
        let mut verb = Self::default();
        let mut rest = text;
        (verb.shape, rest) = Shape::flags(rest);
        let mut number = |rest: &mut &'t str| -> Result<Option<usize>, String> {
            let width = if let Some(after) = rest.strip_prefix('*') {
                *rest = after;
                values.next().and_then(|value| value.as_u64())
            } else {
                let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let (number, after) = rest.split_at(digits);
                *rest = after;
                if number.is_empty() { None } else { Some(number.parse().unwrap_or(u64::MAX)) }
            };
            match width.map(usize::try_from) {
                None => Ok(None),
                Some(Ok(width)) if width <= MAX_WIDTH => Ok(Some(width)),
                Some(_) => Err(format!("`printf` makes fields of at most {MAX_WIDTH} characters")),
            }
        };
        verb.shape.width = number(&mut rest)?;
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            verb.shape.precision = Some(number(&mut rest)?.unwrap_or(0));
        }
        verb.letter = rest.chars().next().unwrap_or('\0');
        let length = if rest.is_empty() { 0 } else { verb.letter.len_utf8() };
        Ok((verb, &rest[length..]))
    }

    fn write(&self, value: &Json) -> String {
        if let Json::Array(items) = value
            && self.letter != 'T'
        {
            let items: Vec<String> = items.iter().map(|item| self.write(item)).collect();
            return format!("[{}]", items.join(" "));
        }
        match (self.letter, value) {
            ('v', value) if self.shape.sharp => serde_json::to_string(value).unwrap_or_default(),
            ('v', value) => plain(value),
            ('T', value) => type_of(value).to_owned(),
            ('t', Json::Bool(value)) => value.to_string(),
            ('s', Json::String(_)) => self.cut(value),
            ('q', Json::String(_)) => quote(&self.cut(value)),
            ('s' | 'q', Json::Object(_)) => {
                let mut out = String::new();
                let quoted = self.letter == 'q';
                write_plain(value, &mut out, &|text, out| {
                    out.push_str(&if quoted { quote(text) } else { text.into() });
                });
                out
            }
            ('x' | 'X', Json::String(text)) => {
                let mut hex = String::new();
                for byte in text.bytes() {
                    let _ = write!(hex, "{byte:02x}");
                }
                if self.letter == 'X' { hex.to_uppercase() } else { hex }
            }
            ('d' | 'b' | 'o' | 'x' | 'X' | 'c' | 'q' | 'U', Json::Number(number)) if !number.is_f64() => {
                let number = number.as_i128().unwrap_or_default();
                let (sign, size) = (self.shape.sign(number < 0), number.unsigned_abs());
                let alternate = self.shape.sharp;
                match self.letter {
                    'b' => format!("{sign}{}{size:b}", if alternate { "0b" } else { "" }),
                    'o' => format!("{sign}{}{size:o}", if alternate { "0" } else { "" }),
                    'x' => format!("{sign}{}{size:x}", if alternate { "0x" } else { "" }),
                    'X' => format!("{sign}{}{size:X}", if alternate { "0X" } else { "" }),
                    'U' => format!("U+{size:04X}"),
                    'c' => character(size).to_string(),
                    'q' => format!("'{}'", character(size)),
                    _ => format!("{sign}{size}"),
                }
            }
            ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Json::Number(number)) if number.is_f64() => {
                let float = number.as_f64().unwrap_or_default();
                let size = float.abs();
                let digits = match self.letter {
                    'f' | 'F' => format!("{size:.*}", self.shape.precision.unwrap_or(6)),
                    'e' | 'E' => exponent(size, self.shape.precision.unwrap_or(6), self.letter),
                    'G' => float_text(size).to_uppercase(),
                    _ => float_text(size),
                };
                format!("{}{digits}", self.shape.sign(float < 0.0))
            }
            (letter, Json::Null) => format!("%!{letter}(<nil>)"),
            (letter, value) => format!("%!{letter}({}={})", type_of(value), plain(value)),
        }
    }

    fn cut(&self, value: &Json) -> String {
        self.shape.cut(text_of(value).unwrap_or_default())
    }
}

fn character(code: u128) -> char {
    u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "<nil>",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_f64() => "float64",
        Json::Number(_) => "int",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    }
}
