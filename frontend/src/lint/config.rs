//! `skip=…;error=…;experimental=…`: which rules count.

use crate::ast::{Comment, Span};
use crate::diagnostic::Diagnostic;
use crate::go_text;
use crate::lint::rule::Rule;
use crate::mount::boolean;

/// The word that means every rule.
const ALL: &str = "all";

/// An option of `# check=` or `BUILDKIT_DOCKERFILE_CHECK` is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse check options: {message}")]
pub struct CheckOptionsError {
    /// What is wrong.
    message: String,
    /// Where, unless it came from the command line.
    pub span: Option<Span>,
}

impl CheckOptionsError {
    /// For drawing below the lines of the file; `None` when it came from the command line.
    pub fn diagnostic(&self) -> Option<Diagnostic> {
        let help = "write `skip=all`, `skip=Rule,Rule`, `error=true` or `experimental=all`, with `;` between them";
        Some(Diagnostic::new(self.to_string(), self.span.clone()?).help(help))
    }
}

/// Which rules count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Config {
    skip: Rules,
    experimental: Rules,
    /// A finding fails the build.
    pub(super) error: bool,
}

/// A list of rules by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Rules {
    all: bool,
    names: Vec<String>,
}

impl Rules {
    fn add(&mut self, list: &str) {
        let list = list.trim();
        if list == ALL {
            self.all = true;
        } else {
            self.names.extend(list.split(',').map(|name| name.trim().to_owned()));
        }
    }

    fn names(&self, rule: &Rule) -> bool {
        self.names.iter().any(|name| name == rule.name)
    }

    fn is_empty(&self) -> bool {
        !self.all && self.names.is_empty()
    }
}

impl Config {
    /// Reads options; `span` is where they stand.
    pub(super) fn parse(text: &str, span: Option<&Span>) -> Result<Self, CheckOptionsError> {
        let mut config = Self::default();
        if text.trim().is_empty() {
            return Ok(config);
        }
        for option in text.split(';') {
            let wrong = |message| CheckOptionsError { message, span: span.cloned() };
            let invalid = |option| wrong(format!("invalid check option {}", go_text::quote(option)));
            let (key, value) = option.split_once('=').ok_or_else(|| invalid(option))?;
            match key.trim() {
                "skip" => config.skip.add(value),
                "experimental" => config.experimental.add(value),
                "error" => {
                    config.error = boolean(value.trim()).ok_or_else(|| {
                        wrong(format!(
                            "failed to parse check option {}: it must be true or false",
                            go_text::quote(option)
                        ))
                    })?;
                }
                key => return Err(invalid(key)),
            }
        }
        Ok(config)
    }

    /// What the comments above an instruction say for it alone: `# check=skip=Rule the reason`.
    pub(super) fn of_comments(comments: &[Comment]) -> Option<Self> {
        let options = comments.iter().find_map(|comment| check_comment(&comment.text))?;
        let options = options.split(' ').next().unwrap_or_default();
        // Nobody knows whether a wrong one was meant for us.
        Self::parse(options, None).ok()
    }

    /// Whether a finding of `rule` at an instruction with the options `local` is worth telling.
    pub(super) fn allows(&self, rule: &Rule, local: Option<&Self>) -> bool {
        let both = || [Some(self), local].into_iter().flatten();
        if both().any(|config| config.skip.names(rule)) || local.is_some_and(|local| local.skip.all) {
            return false;
        }
        // `skip=all;experimental=Rule` at the head of a file means that rule and no other.
        let on = || both().any(|config| config.experimental.all || config.experimental.names(rule));
        if rule.experimental { on() } else { !self.skip.all }
    }

    /// Whether any experimental rule is asked for.
    pub(super) fn is_experimental(&self) -> bool {
        !self.experimental.is_empty()
    }
}

/// The options of a comment `check=…`.
pub(super) fn check_comment(text: &str) -> Option<&str> {
    let (key, value) = text.split_once('=')?;
    key.trim().eq_ignore_ascii_case("check").then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::rule::{FROM_AS_CASING, SECRET_IN_LAYER, STAGE_NAME_CASING};

    fn allowed(options: &str) -> [bool; 3] {
        let config = Config::parse(options, None).unwrap();
        [&FROM_AS_CASING, &STAGE_NAME_CASING, &SECRET_IN_LAYER].map(|rule| config.allows(rule, None))
    }

    #[test]
    fn options_choose_rules() {
        for (options, expected) in [
            ("", [true, true, false]),
            ("skip=all", [false, false, false]),
            ("skip=FromAsCasing", [false, true, false]),
            (" skip = FromAsCasing , StageNameCasing ", [false, false, false]),
            ("skip=FromAsCasing;skip=StageNameCasing", [false, false, false]),
            ("experimental=all", [true, true, true]),
            ("experimental=SecretInLayer", [true, true, true]),
            ("skip=all;experimental=SecretInLayer", [false, false, true]),
            ("skip=SecretInLayer;experimental=all", [true, true, false]),
            ("error=true", [true, true, false]),
        ] {
            assert_eq!(allowed(options), expected, "{options}");
        }
        assert!(Config::parse("skip=A;error=1", None).unwrap().error);
        assert!(!Config::parse("error=false", None).unwrap().error);
    }

    #[test]
    fn an_instruction_has_its_own_options() {
        let comment = |text: &str| Comment { text: text.to_owned(), span: 0..0 };
        let file = Config::parse("experimental=SecretInLayer", None).unwrap();
        for (comments, from, secret) in [
            (&[][..], true, true),
            (&["check=skip=FromAsCasing"][..], false, true),
            (&["Check = skip=FromAsCasing because we like it"][..], false, true),
            (&["a word", "check=skip=all // nothing here", "check=skip=none"][..], false, false),
            (&["check=skip"][..], true, true),
            (&["checked=skip=all"][..], true, true),
        ] {
            let comments: Vec<Comment> = comments.iter().map(|text| comment(text)).collect();
            let local = Config::of_comments(&comments);
            assert_eq!(file.allows(&FROM_AS_CASING, local.as_ref()), from, "{comments:?}");
            assert_eq!(file.allows(&SECRET_IN_LAYER, local.as_ref()), secret, "{comments:?}");
        }
        let local = Config::of_comments(&[comment("check=experimental=SecretInLayer")]);
        assert!(Config::default().allows(&SECRET_IN_LAYER, local.as_ref()));
    }

    #[test]
    fn wrong_options_are_named() {
        for (options, message) in [
            ("foo", r#"failed to parse check options: invalid check option "foo""#),
            ("foo=bar", r#"failed to parse check options: invalid check option "foo""#),
            ("skip=A;", r#"failed to parse check options: invalid check option """#),
            (
                "error=maybe",
                r#"failed to parse check options: failed to parse check option "error=maybe": it must be true or false"#,
            ),
        ] {
            assert_eq!(Config::parse(options, None).unwrap_err().to_string(), message, "{options}");
        }
        assert!(Config::parse("foo", None).unwrap_err().diagnostic().is_none());
        assert_eq!(Config::parse("foo", Some(&(3..6))).unwrap_err().diagnostic().unwrap().span, 3..6);
    }
}
