//! Walks over a word once, from left to right.

use super::error::{ExpandError, ExpandErrorKind};
use super::pattern::{Pattern, PatternError};
use super::{Expander, GROWTH, Variables, Words};

/// How deep `${…}` may be nested: the walk is recursive.
const DEPTH: usize = 64;

pub(super) struct Lexer<'a> {
    mode: Expander,
    text: &'a str,
    at: usize,
    variables: &'a dyn Variables,
    /// Inside patterns an escape stays as it is, for the pattern to interpret.
    keep_escapes: bool,
    depth: usize,
    grown: usize,
    pub(super) used: Vec<String>,
    pub(super) unset: Vec<String>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(mode: Expander, text: &'a str, variables: &'a dyn Variables) -> Self {
        Self {
            mode,
            text,
            at: 0,
            variables,
            keep_escapes: false,
            depth: 0,
            grown: 0,
            used: Vec::new(),
            unset: Vec::new(),
        }
    }

    /// The whole word.
    pub(super) fn whole(&mut self, words: Option<&mut Words>) -> Result<String, ExpandError> {
        self.until(None, words)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn fail<T>(&self, kind: ExpandErrorKind, start: usize) -> Result<T, ExpandError> {
        Err(ExpandError { kind, span: start..self.at.max(start) })
    }

    /// Up to `stop`, which is consumed, or to the end of the word.
    fn until(&mut self, stop: Option<char>, mut words: Option<&mut Words>) -> Result<String, ExpandError> {
        let mut result = String::new();
        loop {
            let start = self.at;
            let Some(c) = self.peek() else { break };
            if Some(c) == stop {
                self.next();
                return Ok(result);
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    if let Some(words) = words.as_deref_mut() {
                        words.text(&value);
                    }
                    result.push_str(&value);
                }
                '\'' | '"' if !self.mode.ignore_quotes => {
                    let value = if c == '"' { self.double_quoted()? } else { self.single_quoted()? };
                    if let Some(words) = words.as_deref_mut() {
                        words.quoted(&value);
                    }
                    result.push_str(&value);
                }
                _ => {
                    self.next();
                    let escaped = c == self.mode.escape;
                    if escaped && self.next().is_none() && !self.keep_escapes {
                        break;
                    }
                    let from = if escaped && !self.keep_escapes { start + c.len_utf8() } else { start };
                    let piece = &self.text[from..self.at];
                    if let Some(words) = words.as_deref_mut() {
                        if escaped { words.quoted(piece) } else { words.text(piece) }
                    }
                    result.push_str(piece);
                }
            }
        }
        match stop {
            None => Ok(result),
            Some('/') => self.fail(ExpandErrorKind::MissingSlash, self.at),
            Some(_) => self.fail(ExpandErrorKind::MissingBrace, self.at),
        }
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let open = self.at;
        self.next();
        let Some(length) = self.text[self.at..].find('\'') else {
            self.at = self.text.len();
            return self.fail(ExpandErrorKind::UnclosedQuote('\''), open);
        };
        let inside = self.at..self.at + length;
        self.at = inside.end + 1;
        Ok(self.text[if self.mode.keep_quotes { open..self.at } else { inside }].to_owned())
    }

    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        let open = self.at;
        let mut result = String::new();
        self.next();
        if self.mode.keep_quotes {
            result.push('"');
        }
        loop {
            match self.peek() {
                None => return self.fail(ExpandErrorKind::UnclosedQuote('"'), open),
                Some('"') => {
                    self.next();
                    if self.mode.keep_quotes {
                        result.push('"');
                    }
                    return Ok(result);
                }
                Some('$') => result.push_str(&self.dollar()?),
                Some(c) => {
                    self.next();
                    if c != self.mode.escape {
                        result.push(c);
                        continue;
                    }
                    if self.keep_escapes {
                        result.push(c);
                    }
                    match self.peek() {
                        None => {}
                        Some(next) if next == '"' || next == '$' || next == self.mode.escape => {
                            self.next();
                            result.push(next);
                        }
                        Some(_) => result.push(c),
                    }
                }
            }
        }
    }

    /// At `$`.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        let start = self.at;
        self.next();
        if self.peek() == Some('{') {
            if self.depth == DEPTH {
                return self.fail(ExpandErrorKind::TooDeep(DEPTH), start);
            }
            self.depth += 1;
            let keep_escapes = self.keep_escapes;
            let value = self.braces(start);
            self.keep_escapes = keep_escapes;
            self.depth -= 1;
            // The innermost `${…}` that is wrong is what an error points at.
            return value.map_err(|mut error| {
                if error.span.is_empty() {
                    error.span = start..self.at.max(start + 1);
                }
                error
            });
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        match self.lookup(name) {
            Some(value) => self.grow(value, start),
            None if self.mode.keep_unset => Ok(format!("${name}")),
            None => Ok(String::new()),
        }
    }

    /// At `{` after the `$` at `start`.
    fn braces(&mut self, start: usize) -> Result<String, ExpandError> {
        self.next();
        match self.peek() {
            None => return self.fail(ExpandErrorKind::MissingBrace, start),
            Some('{' | '}' | ':') => {
                self.next();
                return self.fail(ExpandErrorKind::BadSubstitution, start);
            }
            Some(_) => {}
        }
        let name = self.name();
        let sign = self.at;
        match self.next() {
            None => self.fail(ExpandErrorKind::MissingBrace, start),
            Some('}') => match self.lookup(name) {
                Some(value) => self.grow(value, start),
                None if self.mode.keep_unset => Ok(format!("${{{name}}}")),
                None => Ok(String::new()),
            },
            Some(':') => match self.next() {
                None => self.fail(ExpandErrorKind::MissingBrace, start),
                Some(modifier @ ('-' | '+' | '?')) => self.default_or_error(name, modifier, true, start),
                Some(_) => self.unsupported(sign, start),
            },
            Some(modifier @ ('-' | '+' | '?')) => self.default_or_error(name, modifier, false, start),
            Some(modifier @ ('#' | '%')) => self.strip(name, modifier, start),
            Some('/') => self.replace(name, start),
            Some(_) => self.unsupported(sign, start),
        }
    }

    fn unsupported(&self, sign: usize, start: usize) -> Result<String, ExpandError> {
        self.fail(ExpandErrorKind::UnsupportedModifier(self.text[sign..self.at].to_owned()), start)
    }

    fn default_or_error(
        &mut self,
        name: &'a str,
        modifier: char,
        empty_is_unset: bool,
        start: usize,
    ) -> Result<String, ExpandError> {
        self.keep_escapes = false;
        let word = self.until(Some('}'), None)?;
        let value = self.lookup(name);
        if self.mode.keep_unset && value.is_none() {
            return Ok(format!("${{{name}{}{modifier}{word}}}", if empty_is_unset { ":" } else { "" }));
        }
        let present = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match (modifier, present) {
            ('+', Some(_)) | ('-', None) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(present)) => self.grow(present, start),
            (_, None) => {
                let state = if value.is_some() { "empty" } else { "unset" };
                let message = if word.is_empty() { format!("is not allowed to be {state}") } else { word };
                self.fail(ExpandErrorKind::Required { name: name.to_owned(), message }, start)
            }
        }
    }

    fn strip(&mut self, name: &'a str, modifier: char, start: usize) -> Result<String, ExpandError> {
        self.keep_escapes = true;
        let word = self.until(Some('}'), None)?;
        let Some(value) = self.lookup(name) else {
            return Ok(if self.mode.keep_unset { format!("${{{name}{modifier}{word}}}") } else { String::new() });
        };
        let (pattern, longest) = match word.strip_prefix(modifier) {
            Some(pattern) => (pattern, true),
            None => (word.as_str(), false),
        };
        let pattern = self.pattern(pattern, start)?;
        let rest = match modifier {
            '#' => &value[pattern.prefix(value, longest).unwrap_or(0)..],
            _ => &value[..pattern.suffix(value, longest).unwrap_or(value.len())],
        };
        self.grow(rest, start)
    }

    fn replace(&mut self, name: &'a str, start: usize) -> Result<String, ExpandError> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        self.keep_escapes = true;
        let pattern = self.until(Some('/'), None)?;
        let replacement = self.until(Some('}'), None)?;
        let Some(value) = self.lookup(name) else {
            let sign = if all { "//" } else { "/" };
            return Ok(if self.mode.keep_unset {
                format!("${{{name}{sign}{pattern}/{replacement}}}")
            } else {
                String::new()
            });
        };
        let pattern = self.pattern(&pattern, start)?;
        let mut result = String::new();
        let mut kept = 0;
        for found in pattern.matches(value, if all { usize::MAX } else { 1 }) {
            result.push_str(&value[kept..found.start]);
            result.push_str(&replacement);
            kept = found.end;
            if result.len() > self.text.len() + GROWTH {
                return self.fail(ExpandErrorKind::TooLong(GROWTH), start);
            }
        }
        result.push_str(&value[kept..]);
        self.grow(&result, start)
    }

    fn pattern(&self, pattern: &str, start: usize) -> Result<Pattern, ExpandError> {
        Pattern::new(pattern).or_else(|error| match error {
            PatternError::Escape(escape) => {
                self.fail(ExpandErrorKind::BadPattern { pattern: pattern.to_owned(), escape }, start)
            }
            PatternError::TooLong(limit) => self.fail(ExpandErrorKind::PatternTooLong(limit), start),
        })
    }

    /// A value on its way into the result.
    fn grow(&mut self, value: &str, start: usize) -> Result<String, ExpandError> {
        self.grown = self.grown.saturating_add(value.len());
        if self.grown > self.text.len() + GROWTH {
            return self.fail(ExpandErrorKind::TooLong(GROWTH), start);
        }
        Ok(value.to_owned())
    }

    /// The name of a variable: letters, digits and `_`; or digits only; or one special character.
    fn name(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let length = match rest.chars().next() {
            Some(c) if c.is_numeric() => rest.find(|c: char| !c.is_numeric()).unwrap_or(rest.len()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()),
        };
        self.at += length;
        &rest[..length]
    }

    fn lookup(&mut self, name: &str) -> Option<&'a str> {
        let value = self.variables.get(name);
        let list = if value.is_some() { &mut self.used } else { &mut self.unset };
        if !list.iter().any(|known| known == name) {
            list.push(name.to_owned());
        }
        value
    }
}
