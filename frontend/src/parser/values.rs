//! `key=value` lists: `ENV`, `LABEL`, `ARG`.

use crate::ast::{Arg, ArgItem, KeyValue, KeyValues, Word};
use crate::parser::error::{ParseError, ParseErrorKind};
use crate::parser::flags::open_quote;
use crate::parser::grammar::{Pair, Rule};
use crate::parser::instruction::Arguments;
use crate::parser::line::LogicalLine;

/// Reads the items of `ENV` and `LABEL`.
pub(super) fn key_values(mut arguments: Arguments<'_>) -> Result<KeyValues, ParseError> {
    arguments.flags(&[])?;
    if arguments.is_empty() {
        return Err(arguments.wrong("requires at least one argument").expected("`name=value`"));
    }
    let (line, keyword) = (arguments.line, arguments.keyword);
    let legacy = arguments.pairs.next_if(|pair| pair.as_rule() == Rule::legacy);
    if let Some(pair) = legacy {
        let mut parts = pair.into_inner().map(|part| line.word(&part));
        let (Some(key), Some(value)) = (parts.next(), parts.next()) else {
            return Err(arguments.wrong("must have two arguments").expected(format!("`{keyword} name=value`")));
        };
        return Ok(KeyValues { items: vec![KeyValue { key, value }], legacy: true });
    }
    let items = arguments
        .pairs
        .map(|pair| match item(line, keyword, pair)? {
            (key, Some(value)) => Ok(KeyValue { key, value }),
            (word, None) => {
                let message =
                    format!("Syntax error - can't find = in {:?}. Must be of the form: name=value", word.value);
                Err(ParseError::new(ParseErrorKind::Arguments(message), word.span).help("quote values with blanks"))
            }
        })
        .collect::<Result<_, _>>()?;
    Ok(KeyValues { items, legacy: false })
}

/// Reads the items of `ARG`.
pub(super) fn arg(mut arguments: Arguments<'_>) -> Result<Arg, ParseError> {
    arguments.flags(&[])?;
    if arguments.is_empty() {
        return Err(arguments.wrong("requires at least one argument").expected("`name` or `name=default`"));
    }
    let (line, keyword) = (arguments.line, arguments.keyword);
    let items = arguments
        .pairs
        .map(|pair| item(line, keyword, pair).map(|(key, default)| ArgItem { key, default }))
        .collect::<Result<_, _>>()?;
    Ok(Arg { items })
}

/// A name, and the value if there is a `=`.
fn item(line: &LogicalLine<'_>, keyword: &str, pair: Pair<'_>) -> Result<(Word, Option<Word>), ParseError> {
    let span = line.place(&pair);
    let assigned = pair.as_rule() == Rule::key_value;
    let mut words = Vec::new();
    for part in pair.into_inner() {
        if part.as_rule() == Rule::open_quote {
            return Err(open_quote(line, &part));
        }
        words.push(line.word(&part));
    }
    let mut words = words.into_iter();
    let key = words.next().unwrap_or_else(|| Word::new(String::new(), span.clone()));
    if assigned && key.value.is_empty() {
        let message = format!("{keyword} names can not be blank");
        return Err(ParseError::new(ParseErrorKind::Arguments(message), span).expected("a name before `=`"));
    }
    let value = words.next().filter(|_| assigned);
    Ok((key, value))
}
