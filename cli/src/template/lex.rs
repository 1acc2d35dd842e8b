//! From the text of a template to tokens. Text between actions loses what trim marks take.

use std::ops::Range;

use super::error::{TemplateError, TemplateResult};

/// A token with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Range<usize>,
    /// Blanks stand before it: `.A .B` are two operands, `.A.B` is one.
    pub(super) spaced: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// What is printed as it is.
    Text(String),
    Open,
    Close,
    Pipe,
    LeftParen,
    RightParen,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    Dot,
    /// `.Name`
    Field(String),
    /// `$` is the empty name.
    Variable(String),
    Word(String),
    Literal(String),
    Integer(i64),
    Float(f64),
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
const BLANKS: &[char] = &[' ', '\t', '\r', '\n'];

pub(super) fn lex(source: &str) -> TemplateResult<Vec<Token>> {
    let mut lexer = Lexer { source, at: 0, tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    tokens: Vec<Token>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn push(&mut self, kind: Kind, start: usize, spaced: bool) {
        self.tokens.push(Token { kind, span: start..self.at, spaced });
    }

    fn run(&mut self) -> TemplateResult<()> {
        let mut trim = false;
        loop {
            let start = self.at;
            let length = self.rest().find(OPEN);
            let mut text = &self.rest()[..length.unwrap_or(self.rest().len())];
            let end = start + text.len();
            let after = &self.source[(end + OPEN.len()).min(self.source.len())..];
            if trim {
                text = text.trim_start_matches(BLANKS);
            }
            if length.is_some() && opens_with_trim(after) {
                text = text.trim_end_matches(BLANKS);
            }
            if !text.is_empty() {
                let text = text.to_owned();
                self.tokens.push(Token { kind: Kind::Text(text), span: start..end, spaced: false });
            }
            self.at = end;
            if length.is_none() {
                return Ok(());
            }
            trim = self.action()?;
        }
    }

    /// From `{{` to after `}}`; tells whether the text after it loses its blanks.
    fn action(&mut self) -> TemplateResult<bool> {
        let start = self.at;
        self.at += OPEN.len();
        if opens_with_trim(self.rest()) {
            self.at += 1;
        }
        let blanks = self.rest().len() - self.rest().trim_start_matches(BLANKS).len();
        if self.source[self.at + blanks..].starts_with("/*") {
            self.at += blanks;
            return self.comment(start);
        }
        self.push(Kind::Open, start, false);
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start_matches(BLANKS).len();
            self.at += blanks;
            let from = self.at;
            let rest = self.rest();
            if rest.starts_with(CLOSE) {
                self.at += CLOSE.len();
                self.push(Kind::Close, from, blanks > 0);
                return Ok(false);
            }
            if blanks > 0 && rest.strip_prefix('-').is_some_and(|after| after.starts_with(CLOSE)) {
                self.at += 1 + CLOSE.len();
                self.push(Kind::Close, from, true);
                return Ok(true);
            }
            if rest.is_empty() {
                let error = TemplateError::new("this action is not closed", start..start + OPEN.len());
                return Err(error.help("an action ends with `}}`"));
            }
            let kind = self.token()?;
            self.push(kind, from, blanks > 0);
        }
    }

    fn comment(&mut self, start: usize) -> TemplateResult<bool> {
        let unclosed = || TemplateError::new("this comment is not closed", start..start + OPEN.len());
        let length = self.rest().find("*/").ok_or_else(|| unclosed().help("a comment is `{{/* … */}}`"))?;
        self.at += length + 2;
        let rest = self.rest();
        let trimmed = rest.trim_start_matches(BLANKS);
        let (length, trim) = match (rest.strip_prefix(CLOSE), trimmed.strip_prefix("-}}")) {
            (Some(_), _) => (CLOSE.len(), false),
            (None, Some(after)) if trimmed.len() < rest.len() => (rest.len() - after.len(), true),
            _ => return Err(TemplateError::new("a comment must be alone in its action", start..self.at)),
        };
        self.at += length;
        Ok(trim)
    }

    fn token(&mut self) -> TemplateResult<Kind> {
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Err(TemplateError::new("the template ends here", start..start));
        };
        let second = rest[first.len_utf8()..].chars().next();
        let simple = match first {
            '|' => Some(Kind::Pipe),
            '(' => Some(Kind::LeftParen),
            ')' => Some(Kind::RightParen),
            ',' => Some(Kind::Comma),
            '=' => Some(Kind::Assign),
            _ => None,
        };
        if let Some(kind) = simple {
            self.at += 1;
            return Ok(kind);
        }
        match first {
            ':' if second == Some('=') => {
                self.at += 2;
                Ok(Kind::Declare)
            }
            '"' => self.quoted(),
            '`' => self.raw(),
            '\'' => self.character(),
            '.' if second.is_none_or(|next| !next.is_ascii_digit()) => {
                self.at += 1;
                let name = self.word();
                Ok(if name.is_empty() { Kind::Dot } else { Kind::Field(name) })
            }
            '$' => {
                self.at += 1;
                Ok(Kind::Variable(self.word()))
            }
            '+' | '-' | '.' | '0'..='9' => self.number(),
            first if is_word(first) => Ok(Kind::Word(self.word())),
            first => {
                let message = format!("`{}` has no meaning here", first.escape_debug());
                Err(TemplateError::new(message, start..start + first.len_utf8()))
            }
        }
    }

    fn word(&mut self) -> String {
        let rest = self.rest();
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let word = rest[..length].to_owned();
        self.at += length;
        word
    }

    fn raw(&mut self) -> TemplateResult<Kind> {
        let start = self.at;
        let rest = &self.rest()[1..];
        let Some(length) = rest.find('`') else {
            return Err(
                TemplateError::new("this text is not closed", start..start + 1).help("it ends with a backquote")
            );
        };
        let text = rest[..length].to_owned();
        self.at += length + 2;
        Ok(Kind::Literal(text))
    }

    fn quoted(&mut self) -> TemplateResult<Kind> {
        let start = self.at;
        self.at += 1;
        let mut text = Vec::new();
        loop {
            match self.rest().chars().next() {
                Some('"') => {
                    self.at += 1;
                    return Ok(Kind::Literal(String::from_utf8_lossy(&text).into_owned()));
                }
                Some('\\') => self.escape(&mut text)?,
                Some('\n') | None => {
                    let error = TemplateError::new("this text is not closed", start..start + 1);
                    return Err(error.help("it ends with `\"` on the same line"));
                }
                Some(other) => {
                    self.at += other.len_utf8();
                    text.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
    }

    fn character(&mut self) -> TemplateResult<Kind> {
        let start = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        let code = match self.rest().chars().next() {
            Some('\\') => {
                self.escape(&mut bytes)?;
                match std::str::from_utf8(&bytes).ok().and_then(|text| text.chars().next()) {
                    Some(character) => u32::from(character),
                    None => bytes.first().copied().unwrap_or_default().into(),
                }
            }
            Some(other) => {
                self.at += other.len_utf8();
                u32::from(other)
            }
            None => 0,
        };
        if !self.rest().starts_with('\'') {
            let error = TemplateError::new("this is no single character", start..self.at);
            return Err(error.help("texts are written with `\"`"));
        }
        self.at += 1;
        Ok(Kind::Integer(code.into()))
    }

    /// A backslash and what belongs to it, as in Go.
    fn escape(&mut self, text: &mut Vec<u8>) -> TemplateResult<()> {
        let start = self.at;
        let wrong = |end: usize| TemplateError::new("this is no escape of Go's", start..end);
        let mut chars = self.rest()[1..].chars();
        let letter = chars.next().ok_or_else(|| wrong(start + 1))?;
        let end = start + 1 + letter.len_utf8();
        let plain = match letter {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' | '\'' | '"' => Some(letter as u8),
            _ => None,
        };
        if let Some(byte) = plain {
            text.push(byte);
            self.at = end;
            return Ok(());
        }
        let (from, digits, radix) = match letter {
            'x' => (end, 2, 16),
            'u' => (end, 4, 16),
            'U' => (end, 8, 16),
            '0'..='7' => (start + 1, 3, 8),
            _ => return Err(wrong(end)),
        };
        let number = self.source.get(from..from + digits).filter(|text| text.chars().all(|c| c.is_digit(radix)));
        let number = number.and_then(|text| u32::from_str_radix(text, radix).ok()).ok_or_else(|| wrong(end))?;
        self.at = from + digits;
        if matches!(letter, 'u' | 'U') {
            let character = char::from_u32(number).ok_or_else(|| wrong(self.at))?;
            text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            text.push(u8::try_from(number).map_err(|_| wrong(self.at))?);
        }
        Ok(())
    }

    fn number(&mut self) -> TemplateResult<Kind> {
        let start = self.at;
        let rest = self.rest();
        let mut length = 0;
        let mut before = ' ';
        for c in rest.chars() {
            let signed = matches!(c, '+' | '-') && (length == 0 || matches!(before, 'e' | 'E'));
            if !(signed || c == '.' || is_word(c)) {
                break;
            }
            length += c.len_utf8();
            before = c;
        }
        let written = &rest[..length];
        self.at += length;
        parse_number(written)
            .ok_or_else(|| TemplateError::new(format!("`{written}` is no number"), start..start + length.max(1)))
    }
}

fn parse_number(written: &str) -> Option<Kind> {
    let digits = written.replace('_', "");
    let (negative, unsigned) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let lower = unsigned.to_ascii_lowercase();
    let based = [("0x", 16), ("0b", 2), ("0o", 8)].into_iter().find_map(|(prefix, radix)| {
        let digits = lower.strip_prefix(prefix)?;
        digits.starts_with(|c: char| c.is_ascii_hexdigit()).then_some((digits, radix))
    });
    let (digits, radix) = match based {
        Some(found) => found,
        None if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit()) => {
            (&lower[1..], 8)
        }
        None => (lower.as_str(), 10),
    };
    if let Ok(number) = i64::from_str_radix(&format!("{}{digits}", if negative { "-" } else { "" }), radix) {
        return digits.starts_with(|c: char| c.is_ascii_alphanumeric()).then_some(Kind::Integer(number));
    }
    let decimal = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    let number: f64 = unsigned.parse().ok().filter(|number: &f64| decimal && number.is_finite())?;
    Some(Kind::Float(if negative { -number } else { number }))
}

/// `{{- ` with its blank: `{{-3}}` is a number.
fn opens_with_trim(after_open: &str) -> bool {
    after_open.strip_prefix('-').is_some_and(|after| after.starts_with(BLANKS))
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
