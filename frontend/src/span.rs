//! Values with the place where they stand.

use std::ops::Range;

/// A byte range of the original text, on character boundaries.
pub type Span = Range<usize>;

/// A value with the place where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

/// Raw text with its place: the continuations joined, otherwise as written.
pub type Word = Spanned<String>;

impl<T> Spanned<T> {
    /// Puts a value and its place together.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

impl Word {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// Where the byte range `part` of the value stands in the file. When the value is not simply what the file says (a
    /// continuation or a JSON escape is inside), that is the whole word.
    pub fn sub_span(&self, part: Range<usize>) -> Span {
        if self.span.len() == self.value.len() && part.start <= part.end && part.end <= self.value.len() {
            self.span.start + part.start..self.span.start + part.end
        } else {
            self.span.clone()
        }
    }
}
