//! What is worth a warning, and the list of it at the end.

use std::fmt::Write as _;

use super::control::visible_text;

/// Something that is allowed and probably not meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
}
