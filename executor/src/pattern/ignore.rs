//! The `.dockerignore` language, with what moby's `MatchesUsingParentResults` does.
//!
//! The rules that surprise:
//! * Patterns are anchored at the root: `*.md` means only the top directory, `**/*.md` all.
//! * The patterns are asked in order and the last that matches wins; one that matches a directory holds for all
//!   below it, and `!` brings back files below an excluded directory.
//! * A pattern that can't change the verdict (a plain one when the path is excluded already, a `!` one when it is
//!   not) is not asked, and so not remembered for what lies below. This is moby's shortcut, and its results differ
//!   in corner cases from asking all; we keep it, because builds elsewhere depend on it.
//!
//! Where moby's translation to regular expressions leaks (`\d` as a digit, `[*]` as a repetition, `.` that is not a
//! newline) we do what the language means.

use super::PatternError;
use super::clean::clean;
use super::glob::{Glob, Token, read_class};

/// A compiled list of ignore patterns.
#[derive(Debug, Clone, Default)]
pub struct IgnoreMatcher {
    patterns: Vec<Pattern>,
    has_exceptions: bool,
}

#[derive(Debug, Clone)]
struct Pattern {
    /// Written with `!`.
    exception: bool,
    shape: Shape,
    /// The components, for the question whether something below a directory can match.
    components: Vec<Component>,
}

#[derive(Debug, Clone)]
enum Shape {
    Exact(Vec<u8>),
    /// `dir/**`, `name**`.
    Prefix(Vec<u8>),
    /// `**/name`: the path is `name` or ends in `/name`.
    Name {
        with_slash: Vec<u8>,
    },
    /// `**name` (no slash behind the stars).
    Suffix(Vec<u8>),
    General(Glob),
}

#[derive(Debug, Clone)]
enum Component {
    /// A component that matches one component of a path.
    One(Glob),
    /// `**` or a class that might take a `/`: from here on everything is possible.
    Many,
}

/// What a directory's path matched, to be handed to its children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MatchState {
    matched: Vec<u64>,
}

impl MatchState {
    fn has(&self, index: usize) -> bool {
        self.matched.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    fn set(&mut self, index: usize) {
        if let Some(word) = self.matched.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }
}

impl IgnoreMatcher {
    /// Compiles patterns in their order. Each is trimmed and cleaned, a leading `/` is dropped, an empty one is
    /// skipped.
    pub fn new<P: AsRef<[u8]>>(patterns: impl IntoIterator<Item = P>) -> Result<Self, PatternError> {
        Self::from_lines(patterns.into_iter().enumerate().map(|(position, pattern)| (position + 1, pattern)))
    }

    /// As [`IgnoreMatcher::new`], with the line that each pattern is on, for errors.
    pub fn from_lines<P: AsRef<[u8]>>(patterns: impl IntoIterator<Item = (usize, P)>) -> Result<Self, PatternError> {
        let mut matcher = Self::default();
        for (line, text) in patterns {
            if let Some(pattern) = compile(line, text.as_ref())? {
                matcher.has_exceptions |= pattern.exception;
                matcher.patterns.push(pattern);
            }
        }
        Ok(matcher)
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The state of the root directory, which no pattern matches.
    pub fn root(&self) -> MatchState {
        MatchState { matched: vec![0; self.patterns.len().div_ceil(64)] }
    }

    /// Whether `path` is excluded, given the state of its parent; and its own state for what is below it. `path` is
    /// relative to the root, without `.`, `..` and `//`.
    pub fn matches(&self, path: &[u8], parent: &MatchState) -> (bool, MatchState) {
        let mut state = self.root();
        let excluded = self.decide(path, parent, |index| state.set(index));
        (excluded, state)
    }

    /// As [`IgnoreMatcher::matches`] for a path that nothing is below.
    pub fn excludes(&self, path: &[u8], parent: &MatchState) -> bool {
        self.decide(path, parent, |_| {})
    }

    fn decide(&self, path: &[u8], parent: &MatchState, mut matched: impl FnMut(usize)) -> bool {
        let mut excluded = false;
        for (index, pattern) in self.patterns.iter().enumerate() {
            let hit = parent.has(index) || (pattern.exception == excluded && pattern.matches(path));
            if hit {
                matched(index);
                excluded = !pattern.exception;
            }
        }
        excluded
    }

    /// Whether `path` is excluded, asking from the root down.
    pub fn excludes_path(&self, path: &[u8]) -> bool {
        let mut state = self.root();
        for (end, _) in path.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
            state = self.matches(&path[..end], &state).1;
        }
        self.excludes(path, &state)
    }

    /// Whether an excluded directory has to be walked all the same, because a `!` pattern can match below it. May
    /// say yes where nothing will, never the other way round.
    pub fn may_include_below(&self, directory: &[u8]) -> bool {
        self.has_exceptions
            && self.patterns.iter().any(|pattern| pattern.exception && pattern.can_match_below(directory))
    }
}

impl IgnoreMatcher {
    /// Whether a pattern without `!` can match below a directory. May say yes where nothing will.
    pub fn may_match_below(&self, directory: &[u8]) -> bool {
        directory.is_empty()
            || self.patterns.iter().any(|pattern| !pattern.exception && pattern.can_match_below(directory))
    }
}

impl Pattern {
    fn matches(&self, path: &[u8]) -> bool {
        match &self.shape {
            Shape::Exact(text) => path == text.as_slice(),
            Shape::Prefix(prefix) => path.starts_with(prefix),
            Shape::Name { with_slash } => path.ends_with(with_slash) || path == &with_slash[1..],
            Shape::Suffix(suffix) => path.ends_with(suffix),
            Shape::General(glob) => glob.matches(path),
        }
    }

    fn can_match_below(&self, directory: &[u8]) -> bool {
        let mut components = self.components.iter();
        for name in directory.split(|&byte| byte == b'/') {
            match components.next() {
                None => return false,
                Some(Component::Many) => return true,
                Some(Component::One(glob)) if !glob.matches(name) => return false,
                Some(Component::One(_)) => {}
            }
        }
        components.next().is_some()
    }
}

fn compile(line: usize, text: &[u8]) -> Result<Option<Pattern>, PatternError> {
    let mut rest = trim(text);
    if rest.is_empty() {
        return Ok(None);
    }
    let exception = rest[0] == b'!';
    if exception {
        rest = trim(&rest[1..]);
    }
    if rest.is_empty() {
        return Err(PatternError::LoneExclamation { line });
    }
    let mut cleaned = clean(rest);
    if cleaned.len() > 1 && cleaned[0] == b'/' {
        cleaned.remove(0);
    }
    if exception && cleaned == b"/" {
        return Err(PatternError::LoneExclamation { line });
    }
    let syntax = || PatternError::Syntax { line, pattern: String::from_utf8_lossy(text).into_owned() };
    let tokens = tokens(&cleaned).ok_or_else(syntax)?;
    Ok(Some(Pattern { exception, shape: shape(tokens), components: components(&cleaned).ok_or_else(syntax)? }))
}

fn shape(tokens: Vec<Token>) -> Shape {
    match tokens.as_slice() {
        [Token::Directories, Token::Literal(name)] => Shape::Name { with_slash: [b"/", name.as_slice()].concat() },
        [Token::Literal(prefix), Token::Rest] => Shape::Prefix(prefix.clone()),
        [Token::Rest, Token::Literal(suffix)] => Shape::Suffix(suffix.clone()),
        _ => {
            let glob = Glob::new(tokens);
            glob.literal().map(<[u8]>::to_vec).map_or_else(|| Shape::General(glob), Shape::Exact)
        }
    }
}

/// The whole pattern as tokens; `None` when it is not one.
fn tokens(pattern: &[u8]) -> Option<Vec<Token>> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = pattern.get(at) {
        at += 1;
        match byte {
            b'*' if pattern.get(at) == Some(&b'*') => {
                let first = at == 1;
                at += 1;
                let slash = pattern.get(at) == Some(&b'/');
                at += usize::from(slash);
                let rest = &pattern[at..];
                // A leading `**name` is a plain suffix as long as `name` is a plain text.
                if rest.is_empty() || (first && !slash && is_plain(rest)) {
                    tokens.push(Token::Rest);
                } else {
                    tokens.push(Token::Directories);
                }
            }
            b'*' => tokens.push(Token::Star),
            b'?' => tokens.push(Token::Any),
            b'[' => {
                let (class, taken) = read_class(&pattern[at..])?;
                tokens.push(class);
                at += taken;
            }
            b'\\' => {
                tokens.push(Token::Literal(vec![*pattern.get(at)?]));
                at += 1;
            }
            _ => match tokens.last_mut() {
                Some(Token::Literal(bytes)) => bytes.push(byte),
                _ => tokens.push(Token::Literal(vec![byte])),
            },
        }
    }
    Some(tokens)
}

fn is_plain(text: &[u8]) -> bool {
    !text.iter().any(|byte| b"*?[]\\".contains(byte))
}

fn components(pattern: &[u8]) -> Option<Vec<Component>> {
    let mut components = Vec::new();
    for part in split_components(pattern) {
        let part_tokens = tokens(part)?;
        let many =
            part_tokens.iter().any(|token| matches!(token, Token::Directories | Token::Rest | Token::Class { .. }));
        components.push(if many { Component::Many } else { Component::One(Glob::new(part_tokens)) });
        if many {
            break;
        }
    }
    Some(components)
}

/// The components of a pattern that is known to be well formed, up to the first that has a class (which may hold
/// a `/`).
fn split_components(pattern: &[u8]) -> impl Iterator<Item = &[u8]> {
    let class = pattern.iter().position(|&byte| byte == b'[');
    let mut rest = Some(pattern);
    let mut offset = 0;
    std::iter::from_fn(move || {
        let text = rest?;
        match text.iter().position(|&byte| byte == b'/') {
            Some(slash) if class.is_none_or(|class| class > offset + slash) => {
                rest = Some(&text[slash + 1..]);
                offset += slash + 1;
                Some(&text[..slash])
            }
            _ => {
                rest = None;
                Some(text)
            }
        }
    })
}

/// Go's `strings.TrimSpace` for ASCII.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    let start = text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

#[cfg(test)]
#[path = "ignore_tests.rs"]
mod tests;
