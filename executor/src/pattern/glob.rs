//! A compiled pattern over one string of bytes: what both pattern languages are made of.

use std::str;

/// One piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// These bytes.
    Literal(Vec<u8>),
    /// `?`: one character, never `/`.
    Any,
    /// `*`: any characters but `/`.
    Star,
    /// `**/` in the middle or at the start: nothing, or anything that ends in `/`.
    Directories,
    /// `**` at the end: anything.
    Rest,
    /// `[a-z]`, `[^a-z]`.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// Reads a class behind its `[`; returns it and the bytes it took, `]` included. The rules are those of Go's
/// `filepath.Match`: at least one range, `\` escapes, `^` negates.
pub(super) fn read_class(text: &[u8]) -> Option<(Token, usize)> {
    let mut at = 0;
    let negated = text.first() == Some(&b'^');
    at += usize::from(negated);
    let mut ranges = Vec::new();
    loop {
        if text.get(at) == Some(&b']') && !ranges.is_empty() {
            return Some((Token::Class { negated, ranges }, at + 1));
        }
        let (low, taken) = class_character(text.get(at..)?)?;
        at += taken;
        let mut high = low;
        if text.get(at) == Some(&b'-') {
            let (end, taken) = class_character(text.get(at + 1..)?)?;
            high = end;
            at += 1 + taken;
        }
        ranges.push((low, high));
    }
}

/// One character of a class; must be followed by something.
fn class_character(text: &[u8]) -> Option<(char, usize)> {
    let escaped = match text.first()? {
        b'-' | b']' => return None,
        b'\\' => 1,
        _ => 0,
    };
    let (character, taken) = first_character(text.get(escaped..)?)?;
    // Go refuses bytes that are not UTF-8 in a class.
    if character == char::REPLACEMENT_CHARACTER && taken == 1 {
        return None;
    }
    let taken = taken + escaped;
    (text.len() > taken).then_some((character, taken))
}

/// The first character and its length; bytes that are not UTF-8 count one by one as U+FFFD, as in Go.
fn first_character(text: &[u8]) -> Option<(char, usize)> {
    let &first = text.first()?;
    if first < 0x80 {
        return Some((char::from(first), 1));
    }
    let window = &text[..text.len().min(4)];
    let valid = match str::from_utf8(window) {
        Ok(valid) => valid,
        Err(error) => str::from_utf8(&window[..error.valid_up_to()]).unwrap_or_default(),
    };
    Some(valid.chars().next().map_or((char::REPLACEMENT_CHARACTER, 1), |character| (character, character.len_utf8())))
}

/// A list of tokens, with what makes the common ones fast.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    tokens: Vec<Token>,
    /// The tokens with more than one way to match.
    choices: usize,
}

impl Glob {
    pub(super) fn new(tokens: Vec<Token>) -> Self {
        let mut merged: Vec<Token> = Vec::with_capacity(tokens.len());
        for token in tokens {
            match (merged.last_mut(), token) {
                (Some(Token::Literal(before)), Token::Literal(bytes)) => before.extend(bytes),
                (Some(Token::Star), Token::Star) | (Some(Token::Directories), Token::Directories) => {}
                (_, token) => merged.push(token),
            }
        }
        let choices =
            merged.iter().filter(|token| matches!(token, Token::Star | Token::Directories | Token::Rest)).count();
        Self { tokens: merged, choices }
    }

    /// The pattern's bytes when it has no wildcard at all.
    pub(super) fn literal(&self) -> Option<&[u8]> {
        match self.tokens.as_slice() {
            [] => Some(b""),
            [Token::Literal(bytes)] => Some(bytes),
            _ => None,
        }
    }

    /// Whether the whole of `text` matches.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let mut tokens = self.tokens.as_slice();
        let mut text = text;
        // Literal ends decide most cases without a search.
        if let Some(Token::Literal(bytes)) = tokens.first() {
            match text.strip_prefix(bytes.as_slice()) {
                Some(rest) => (tokens, text) = (&tokens[1..], rest),
                None => return false,
            }
        }
        if let Some(Token::Literal(bytes)) = tokens.last() {
            match text.strip_suffix(bytes.as_slice()) {
                Some(rest) => (tokens, text) = (&tokens[..tokens.len() - 1], rest),
                None => return false,
            }
        }
        match tokens {
            [] => text.is_empty(),
            // What the `*` behind the directories takes is the last component, or the end of it.
            [Token::Rest] | [Token::Directories, Token::Star] => true,
            [Token::Star] => !text.contains(&b'/'),
            [Token::Directories] => text.is_empty() || text.ends_with(b"/"),
            _ if self.choices < 2 => search(tokens, text, &mut |_, _| true),
            _ => {
                // Each (token, position) is tried once, so that hostile patterns stay polynomial.
                let width = text.len() + 1;
                let mut tried = vec![0_u64; (tokens.len() * width).div_ceil(64)];
                search(tokens, text, &mut |token, position| {
                    let bit = token * width + position;
                    let fresh = tried[bit / 64] & (1 << (bit % 64)) == 0;
                    tried[bit / 64] |= 1 << (bit % 64);
                    fresh
                })
            }
        }
    }
}

/// Backtracking; `first_visit` gets each state (tokens taken, bytes taken) where a choice starts and says whether it
/// is worth a try.
fn search(tokens: &[Token], text: &[u8], first_visit: &mut dyn FnMut(usize, usize) -> bool) -> bool {
    let mut stack = vec![(0, 0)];
    while let Some((token_at, text_at)) = stack.pop() {
        if advance(tokens, text, token_at, text_at, &mut stack, first_visit) {
            return true;
        }
    }
    false
}

/// Follows the tokens until one fails; where one offers a choice, the other continuation goes on the stack.
fn advance(
    tokens: &[Token],
    text: &[u8],
    mut token_at: usize,
    mut text_at: usize,
    stack: &mut Vec<(usize, usize)>,
    first_visit: &mut dyn FnMut(usize, usize) -> bool,
) -> bool {
    loop {
        let Some(token) = tokens.get(token_at) else { return text_at == text.len() };
        let rest = &text[text_at..];
        match token {
            Token::Literal(bytes) => {
                if !rest.starts_with(bytes) {
                    return false;
                }
                text_at += bytes.len();
            }
            Token::Any => match first_character(rest) {
                Some((character, taken)) if character != '/' => text_at += taken,
                _ => return false,
            },
            Token::Class { negated, ranges } => match first_character(rest) {
                Some((character, taken)) => {
                    if ranges.iter().any(|&(low, high)| (low..=high).contains(&character)) == *negated {
                        return false;
                    }
                    text_at += taken;
                }
                None => return false,
            },
            Token::Rest => return true,
            // What a `*` takes beyond nothing, it takes one whole character at a time, and `**/` one component: every
            // (token, position) is a state of its own, so none is worked out twice.
            Token::Star => {
                if !first_visit(token_at, text_at) {
                    return false;
                }
                if let Some((character, taken)) = first_character(rest)
                    && character != '/'
                {
                    stack.push((token_at, text_at + taken));
                }
            }
            Token::Directories => {
                if !first_visit(token_at, text_at) {
                    return false;
                }
                if let Some(slash) = rest.iter().position(|&byte| byte == b'/') {
                    stack.push((token_at, text_at + slash + 1));
                }
            }
        }
        token_at += 1;
    }
}
