//! Flags of instructions: `--name=value`.

use std::iter::Peekable;

use pest::iterators::Pairs;

use crate::ast::{Span, Word};
use crate::parser::error::{ParseError, ParseErrorKind};
use crate::parser::grammar::{Pair, Rule};
use crate::parser::line::LogicalLine;
use crate::suggest;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// One value, once.
    Value,
    /// One value each time.
    Values,
    /// `true`, `false` or nothing.
    Truth,
}

/// The flags that an instruction knows.
pub(super) type Known = &'static [(&'static str, Takes)];

/// The flags that were given.
#[derive(Debug)]
pub(super) struct Flags {
    given: Vec<Flag>,
}

#[derive(Debug)]
struct Flag {
    name: &'static str,
    /// For [`Takes::Truth`] always `true` or `false`.
    value: Word,
}

impl Flags {
    /// Takes the leading flags off `pairs` and checks them.
    pub(super) fn read(
        line: &LogicalLine<'_>,
        pairs: &mut Peekable<Pairs<'_, Rule>>,
        known: Known,
    ) -> Result<Self, ParseError> {
        let mut flags = Self { given: Vec::new() };
        while let Some(pair) = pairs.next_if(|pair| pair.as_rule() == Rule::flag) {
            flags.add(line, pair, known)?;
        }
        Ok(flags)
    }

    fn add(&mut self, line: &LogicalLine<'_>, pair: Pair<'_>, known: Known) -> Result<(), ParseError> {
        let whole = line.place(&pair);
        let mut inner = pair.into_inner();
        let name = inner.next().map_or_else(|| Word::new(String::new(), whole.clone()), |pair| line.word(&pair));
        let name_span = whole.start..name.span.end;
        let Some(&(found, takes)) = known.iter().find(|(known, _)| *known == name.value) else {
            return Err(unknown(name.value, name_span, known));
        };
        if takes != Takes::Values && self.given.iter().any(|flag| flag.name == found) {
            return Err(ParseError::new(ParseErrorKind::DuplicateFlag(name.value), whole)
                .help("give it once, or put the values together"));
        }
        let value = inner.next().map(|pair| read_value(line, pair)).transpose()?;
        let value = match (takes, value) {
            (Takes::Value | Takes::Values, Some(value)) => value,
            (Takes::Truth, None) => Word::new("true".to_owned(), whole),
            (Takes::Truth, Some(value)) if !value.value.is_empty() => truth(found, value)?,
            (Takes::Truth, Some(_)) | (_, None) => {
                return Err(ParseError::new(ParseErrorKind::MissingFlagValue(name.value), whole)
                    .expected(format!("`--{found}=value`")));
            }
        };
        self.given.push(Flag { name: found, value });
        Ok(())
    }

    /// The value of a flag that can be given once.
    pub(super) fn value(&mut self, name: &str) -> Option<Word> {
        let at = self.given.iter().position(|flag| flag.name == name)?;
        Some(self.given.remove(at).value)
    }

    /// All values of a flag that can be repeated.
    pub(super) fn values(&mut self, name: &str) -> Vec<Word> {
        self.given.extract_if(.., |flag| flag.name == name).map(|flag| flag.value).collect()
    }

    /// A flag that is true or false.
    pub(super) fn truth(&mut self, name: &str) -> Option<bool> {
        self.value(name).map(|value| value.value == "true")
    }
}

fn unknown(name: String, span: Span, known: Known) -> ParseError {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let suggestion = suggest::nearest(&name, &names).map(|name| format!("--{name}"));
    let error = ParseError::new(ParseErrorKind::UnknownFlag(name), span);
    let error = match (names.as_slice(), &suggestion) {
        ([], _) => error.help("this instruction has no flags; a bare `--` before the arguments ends the flags"),
        (names, None) => error.help(format!("the flags are --{}", names.join(", --"))),
        _ => error,
    };
    error.suggest(suggestion)
}

fn truth(name: &str, mut value: Word) -> Result<Word, ParseError> {
    value.value.make_ascii_lowercase();
    if matches!(value.as_str(), "true" | "false") {
        return Ok(value);
    }
    let message = format!("expecting boolean value for flag --{name}, not: {}", value.value);
    Err(ParseError::new(ParseErrorKind::InvalidFlagValue(message), value.span).expected("`true` or `false`"))
}

fn read_value(line: &LogicalLine<'_>, pair: Pair<'_>) -> Result<Word, ParseError> {
    let span = line.place(&pair);
    let mut value = String::new();
    append(line, pair, &mut value)?;
    Ok(Word::new(value, span))
}

fn append(line: &LogicalLine<'_>, pair: Pair<'_>, value: &mut String) -> Result<(), ParseError> {
    for part in pair.into_inner() {
        match part.as_rule() {
            Rule::flag_quoted => append(line, part, value)?,
            Rule::flag_escape => value.push_str(&part.as_str()[1..]),
            Rule::open_quote => return Err(open_quote(line, &part)),
            _ => value.push_str(part.as_str()),
        }
    }
    Ok(())
}

/// The error for an `open_quote` pair.
pub(super) fn open_quote(line: &LogicalLine<'_>, pair: &Pair<'_>) -> ParseError {
    let name = if pair.as_str().starts_with('"') { "double-quote" } else { "single-quote" };
    ParseError::new(ParseErrorKind::UnterminatedQuote(name), line.place(pair))
}
