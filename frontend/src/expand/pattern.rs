//! The patterns of `${v#p}` and `${v/p/r}`: `*`, `?` and literal characters.
//!
//! A pattern is cut at its stars into runs of a fixed length. A run is looked for from the left for the shortest
//! match and, when it is the last one, from the right for the longest; so no backtracking is needed.

use std::ops::Range;

/// The longest pattern in characters; the search may take pattern times value steps.
const LONGEST: usize = 4096;

pub(super) enum PatternError {
    /// An escape before a character that needs none.
    Escape(String),
    /// More characters than [`LONGEST`].
    TooLong(usize),
}

/// A character of a run; `None` stands for any.
type Run = Vec<Option<char>>;

/// A compiled pattern: `runs` with a star between each two.
pub(super) struct Pattern {
    runs: Vec<Run>,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self, PatternError> {
        let mut runs = vec![Run::new()];
        let mut length = 0;
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            length += 1;
            if length > LONGEST {
                return Err(PatternError::TooLong(LONGEST));
            }
            let item = match c {
                '*' => {
                    runs.push(Run::new());
                    continue;
                }
                '?' => None,
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '/' | '}')) => Some(escaped),
                    Some(other) => return Err(PatternError::Escape(format!("\\{other}"))),
                    None => return Err(PatternError::Escape("\\".to_owned())),
                },
                literal => Some(literal),
            };
            if let Some(run) = runs.last_mut() {
                run.push(item);
            }
        }
        Ok(Self { runs })
    }

    /// Where the shortest or longest prefix of `value` that matches ends.
    pub(super) fn prefix(&self, value: &str, longest: bool) -> Option<usize> {
        let chars = Characters::new(value);
        chars.offset(self.match_at(&chars.chars, 0, longest)?)
    }

    /// Where the shortest or longest suffix of `value` that matches begins.
    pub(super) fn suffix(&self, value: &str, longest: bool) -> Option<usize> {
        let chars = Characters::new(value);
        let reversed: Vec<char> = chars.chars.iter().rev().copied().collect();
        let runs = self.runs.iter().rev().map(|run| run.iter().rev().copied().collect()).collect();
        let end = Self { runs }.match_at(&reversed, 0, longest)?;
        chars.offset(chars.chars.len() - end)
    }

    /// The longest matches from left to right, not overlapping, at most `limit`.
    pub(super) fn matches(&self, value: &str, limit: usize) -> Vec<Range<usize>> {
        let chars = Characters::new(value);
        let mut found = Vec::new();
        let mut from = 0;
        while found.len() < limit && from <= chars.chars.len() {
            let Some(start) = self.find_start(&chars.chars, from) else { break };
            let Some(end) = self.match_at(&chars.chars, start, true) else { break };
            if let (Some(start), Some(end)) = (chars.offset(start), chars.offset(end)) {
                let touches = found.last().is_some_and(|last: &Range<usize>| last.end == end && start == end);
                if !touches {
                    found.push(start..end);
                }
            }
            from = if end == start { end + 1 } else { end };
        }
        found
    }

    /// The first place from which the pattern can match: if its first run fits there and the rest does not, the
    /// rest fits nowhere further right, either.
    fn find_start(&self, chars: &[char], from: usize) -> Option<usize> {
        if self.runs.len() > 1 && self.runs[0].is_empty() { Some(from) } else { find(&self.runs[0], chars, from) }
    }

    fn match_at(&self, chars: &[char], start: usize, longest: bool) -> Option<usize> {
        let (first, rest) = self.runs.split_first()?;
        if !fits(first, chars, start) {
            return None;
        }
        let mut at = start + first.len();
        let Some((last, middle)) = rest.split_last() else { return Some(at) };
        for run in middle {
            at = find(run, chars, at)? + run.len();
        }
        let place = if longest { find_last(last, chars, at) } else { find(last, chars, at) };
        Some(place? + last.len())
    }
}

fn fits(run: &[Option<char>], chars: &[char], at: usize) -> bool {
    chars.len() - at >= run.len()
        && run.iter().zip(&chars[at..]).all(|(wanted, actual)| wanted.is_none_or(|wanted| wanted == *actual))
}

fn find(run: &[Option<char>], chars: &[char], from: usize) -> Option<usize> {
    (from..=chars.len().checked_sub(run.len())?).find(|&at| fits(run, chars, at))
}

fn find_last(run: &[Option<char>], chars: &[char], from: usize) -> Option<usize> {
    (from..=chars.len().checked_sub(run.len())?).rev().find(|&at| fits(run, chars, at))
}

/// A value by characters, and back to bytes.
struct Characters {
    chars: Vec<char>,
    offsets: Vec<usize>,
}

impl Characters {
    fn new(value: &str) -> Self {
        let (mut offsets, chars): (Vec<usize>, Vec<char>) = value.char_indices().unzip();
        offsets.push(value.len());
        Self { chars, offsets }
    }

    fn offset(&self, at: usize) -> Option<usize> {
        self.offsets.get(at).copied()
    }
}
