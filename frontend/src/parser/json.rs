//! The JSON form of arguments.

use serde::de::IgnoredAny;

use crate::ast::Word;
use crate::parser::error::{ParseError, ParseErrorKind};
use crate::parser::grammar::{Pair, Rule};
use crate::parser::line::LogicalLine;

/// The strings of a `json_array` pair.
pub(super) fn strings(line: &LogicalLine<'_>, pair: Pair<'_>) -> Vec<Word> {
    pair.into_inner()
        .filter(|pair| pair.as_rule() == Rule::json_string)
        .map(|pair| Word::new(decode(pair.as_str()), line.place(&pair)))
        .collect()
}

/// Arguments that the grammar does not take for an array of strings are plain text unless they are an array of
/// something else, which is an error. `start` is where they begin on the line.
pub(super) fn refuse_other_arrays(line: &LogicalLine<'_>, start: usize) -> Result<(), ParseError> {
    let text = line.text();
    if text[start..].starts_with('[') && serde_json::from_str::<Vec<IgnoredAny>>(&text[start..]).is_ok() {
        return Err(ParseError::new(ParseErrorKind::JsonNotStrings, line.span(start..text.len()))
            .help("put every element in double quotes"));
    }
    Ok(())
}

/// Decodes a string literal that the grammar has accepted. Half a surrogate pair becomes U+FFFD.
fn decode(literal: &str) -> String {
    let body = literal.get(1..literal.len() - 1).unwrap_or_default();
    let mut text = String::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let code = rest.as_bytes().get(at + 1).copied().unwrap_or(b'\\');
        rest = rest.get(at + 2..).unwrap_or_default();
        match code {
            b'b' => text.push('\u{8}'),
            b'f' => text.push('\u{c}'),
            b'n' => text.push('\n'),
            b'r' => text.push('\r'),
            b't' => text.push('\t'),
            b'u' => {
                let (unit, after) = code_unit(rest);
                rest = after;
                let pair = rest.strip_prefix("\\u").map(code_unit);
                let decoded = match pair {
                    Some((low, after)) if (0xD800..0xDC00).contains(&unit) && (0xDC00..0xE000).contains(&low) => {
                        rest = after;
                        char::from_u32(0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
                    }
                    _ => char::from_u32(unit),
                };
                text.push(decoded.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            other => text.push(char::from(other)),
        }
    }
    text.push_str(rest);
    text
}

/// Four hexadecimal digits and what follows them.
fn code_unit(text: &str) -> (u32, &str) {
    let digits = text.get(..4).unwrap_or_default();
    (u32::from_str_radix(digits, 16).unwrap_or(0xFFFD), text.get(4..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_escapes() {
        for (literal, expected) in [
            (r#""""#, ""),
            (r#""a b""#, "a b"),
            (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r#""\u00e9\u20AC""#, "é€"),
            (r#""\ud83d\ude00!""#, "😀!"),
            (r#""\ud83dx""#, "\u{FFFD}x"),
            (r#""\ude00\ud83d""#, "\u{FFFD}\u{FFFD}"),
        ] {
            assert_eq!(decode(literal), expected, "{literal}");
        }
    }
}
