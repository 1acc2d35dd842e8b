//! Variables, quotes and escapes in the words of a Dockerfile.
//!
//! | written | becomes |
//! |---|---|
//! | `$v`, `${v}` | the value, or nothing when unset; `$1`, `$@`, `$$` … are names like any other |
//! | `${v:-w}`, `${v-w}` | `w` when `v` is unset or empty / unset |
//! | `${v:+w}`, `${v+w}` | `w` when `v` is set and not empty / set, else nothing |
//! | `${v:?w}`, `${v?w}` | an error `v: w` when `v` is unset or empty / unset |
//! | `${v#p}`, `${v##p}`, `${v%p}`, `${v%%p}` | without the shortest / longest prefix / suffix that matches `p` |
//! | `${v/p/r}`, `${v//p/r}` | the first / every match of `p` replaced by `r` |
//! | `'…'` | its text, literally |
//! | `"…"` | its text with variables; the escape character works before `"`, `$` and itself |
//! | the escape character | the next character, literally; nothing at the end |
//!
//! `w`, `p` and `r` may contain all of these. Patterns know `*`, `?` and their escapes, no `[…]`.
//!
//! Invariants: no input panics; a word without `$`, quotes and escapes comes back as it is; what comes out is at most
//! [`GROWTH`] longer than what went in, so that variables that double themselves cannot eat the memory.

mod error;
mod lexer;
mod pattern;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

pub use error::{ExpandError, ExpandErrorKind};
use lexer::Lexer;

/// By how many bytes expansion may lengthen a word: no process can be given a longer variable.
pub const GROWTH: usize = 128 << 10;

/// Where the values of variables come from.
pub trait Variables {
    /// The value of `name`; `None` when it is unset.
    fn get(&self, name: &str) -> Option<&str>;
}

impl<S: BuildHasher> Variables for HashMap<String, String, S> {
    fn get(&self, name: &str) -> Option<&str> {
        HashMap::get(self, name).map(String::as_str)
    }
}

impl Variables for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        BTreeMap::get(self, name).map(String::as_str)
    }
}

/// No variable is set.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoVariables;

impl Variables for NoVariables {
    fn get(&self, _name: &str) -> Option<&str> {
        None
    }
}

/// A word after expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expanded<'a> {
    /// The text.
    pub text: Cow<'a, str>,
    /// The names that had a value, each once.
    pub used: Vec<String>,
    /// The names that had none, each once.
    pub unset: Vec<String>,
}

/// How words are expanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expander {
    escape: char,
    keep_quotes: bool,
    ignore_quotes: bool,
    keep_unset: bool,
}

impl Expander {
    /// Expands as instructions do; `escape` is the file's escape character.
    pub fn new(escape: char) -> Self {
        Self { escape, keep_quotes: false, ignore_quotes: false, keep_unset: false }
    }

    /// For showing a command to people: quotes stay, and so does a variable that is unset.
    pub fn for_display(escape: char) -> Self {
        Self { keep_quotes: true, keep_unset: true, ..Self::new(escape) }
    }

    /// For the body of a heredoc: quotes are ordinary characters.
    pub fn for_heredoc() -> Self {
        Self { ignore_quotes: true, ..Self::new('\\') }
    }

    /// Expands a word; white space in it stays.
    pub fn word<'a>(self, text: &'a str, variables: &dyn Variables) -> Result<Expanded<'a>, ExpandError> {
        if self.is_plain(text) {
            return Ok(Expanded { text: Cow::Borrowed(text), used: Vec::new(), unset: Vec::new() });
        }
        let mut lexer = Lexer::new(self, text, variables);
        let word = lexer.whole(None)?;
        Ok(Expanded { text: Cow::Owned(word), used: lexer.used, unset: lexer.unset })
    }

    /// Expands a word and splits the outcome at white space outside quotes: one word may become several or none.
    pub fn words(self, text: &str, variables: &dyn Variables) -> Result<Vec<String>, ExpandError> {
        let mut words = Words::default();
        Lexer::new(self, text, variables).whole(Some(&mut words))?;
        Ok(words.finish())
    }

    fn is_plain(self, text: &str) -> bool {
        !text.contains(|c| c == '$' || c == self.escape || (!self.ignore_quotes && (c == '"' || c == '\'')))
    }
}

/// Collects the words that white space separates.
#[derive(Debug, Default)]
struct Words {
    done: Vec<String>,
    open: String,
}

impl Words {
    /// Text in which white space separates.
    fn text(&mut self, text: &str) {
        for c in text.chars() {
            if !c.is_whitespace() {
                self.open.push(c);
            } else if !self.open.is_empty() {
                self.done.push(std::mem::take(&mut self.open));
            }
        }
    }

    /// Text that was quoted or escaped.
    fn quoted(&mut self, text: &str) {
        self.open.push_str(text);
    }

    fn finish(mut self) -> Vec<String> {
        if !self.open.is_empty() {
            self.done.push(self.open);
        }
        self.done
    }
}
