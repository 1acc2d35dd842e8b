//! What is worth a warning, and the list of it at the end.

use std::fmt::Write as _;
use std::ops::Range;

use unicode_width::UnicodeWidthStr as _;

use super::control::visible_text;

/// Something that is allowed and probably not meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Warning {
    /// The name of the check that found it: `FromAsCasing`; empty when none did.
    pub(crate) rule: String,
    /// What is wrong, in one line.
    pub(crate) message: String,
    /// More about it, line by line.
    pub(crate) detail: Vec<String>,
    /// Where to read about it.
    pub(crate) url: Option<String>,
    /// The line of the Dockerfile, from 1.
    pub(crate) line: Option<usize>,
    /// The last line that it is about.
    pub(crate) last_line: Option<usize>,
    /// What it is about.
    pub(crate) code: Option<Code>,
}

/// A line of a Dockerfile with the part that is to blame.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Code {
    /// The file as the user named it.
    file: String,
    /// From 1.
    line: usize,
    text: String,
    /// In bytes of the line.
    part: Range<usize>,
}

impl Code {
    /// The line of `text` in which `span` begins, which is the one of this `number`; `None` when it is not in the text.
    pub(crate) fn of(file: &str, number: usize, text: &str, span: &Range<usize>) -> Option<Self> {
        let before = text.get(..span.start)?;
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = text.get(start..)?.lines().next().unwrap_or_default();
        let within = |offset: usize| line.floor_char_boundary((offset - start).min(line.len()));
        Some(Self {
            file: file.to_owned(),
            line: number,
            text: line.to_owned(),
            part: within(span.start)..within(span.end.max(span.start)),
        })
    }

    /// The file and the line, the line itself, and a mark below its part.
    fn draw(&self, out: &mut String) {
        let Self { file, line, text, part } = self;
        // Tabs are as wide as the terminal thinks.
        let shown = |text: &str| visible_text(&text.replace('\t', "    "));
        let before = shown(&text[..part.start]);
        let marks = shown(&text[part.clone()]).width().max(1);
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let _ = writeln!(out, "   {}:{line}", visible_text(file));
        let _ = writeln!(out, "   {number} | {}", shown(text).trim_end());
        let _ = writeln!(out, "   {margin} | {}{}", " ".repeat(before.width()), "^".repeat(marks));
    }
}

impl Warning {
    /// Rule, message and line in one line.
    pub(super) fn summary(&self) -> String {
        let mut text = String::new();
        if !self.rule.is_empty() {
            let _ = write!(text, "{}: ", self.rule);
        }
        text.push_str(&self.message);
        if let Some(line) = self.line {
            let _ = write!(text, " (line {line})");
        }
        visible_text(&text)
    }
}

/// The list of all warnings, or nothing.
pub(super) fn summary(warnings: &[Warning]) -> String {
    let mut text = match warnings.len() {
        0 => return String::new(),
        1 => "\n 1 warning found:\n".to_owned(),
        many => format!("\n {many} warnings found:\n"),
    };
    for warning in warnings {
        let _ = writeln!(text, " - {}", warning.summary());
        if let Some(url) = &warning.url {
            let _ = writeln!(text, "   {}", visible_text(url));
        }
        if let Some(code) = &warning.code {
            code.draw(&mut text);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_listed() {
        let casing = Warning {
            rule: "FromAsCasing".into(),
            message: "'as' and 'FROM' keywords' casing do not match".into(),
            line: Some(3),
            ..Warning::default()
        };
        let hostile = Warning { message: "no\x1b]0;title\x07thing\nmore".into(), ..Warning::default() };
        assert_eq!(summary(&[]), "");
        assert_eq!(
            summary(std::slice::from_ref(&casing)),
            "\n 1 warning found:\n - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 3)\n"
        );
        assert!(summary(&[casing, hostile]).ends_with(" - nothing more\n"));
    }

    #[test]
    fn the_part_that_is_to_blame_is_marked() {
        let text = "FROM a\n\tRUN größe \x1b[2J漢字 x\nlast";
        let draw = |part: &str| {
            let start = text.find(part).expect("it is there");
            let code = Code::of("Docker\x07file", 2, text, &(start..start + part.len()));
            let warning = Warning { url: Some("docs/x.md".into()), code, ..Warning::default() };
            summary(&[warning]).lines().skip(2).collect::<Vec<_>>().join("\n")
        };
        let head = " - \n   docs/x.md\n   Dockerfile:2\n   2 |     RUN größe 漢字 x\n     | ";
        assert_eq!(draw("größe"), format!("{head}        ^^^^^"));
        assert_eq!(draw("漢字"), format!("{head}              ^^^^"));
        assert_eq!(draw("x\nlast"), format!("{head}                   ^"));
        assert_eq!(draw("last").lines().last(), Some("     | ^^^^"));
        assert_eq!(Code::of("", 1, "ab", &(2..2)).map(|code| code.part), Some(2..2));
        assert_eq!(Code::of("", 1, "ab", &(3..4)), None);
    }
}
