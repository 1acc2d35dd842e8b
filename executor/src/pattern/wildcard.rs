//! The wildcards of `COPY` sources: Go's `filepath.Match`, one component at a time; `**` for `--parents`.

use super::glob::{Glob, Token, read_class};

/// Whether a source has a wildcard that is not escaped.
pub fn has_wildcard(source: &[u8]) -> bool {
    let mut escaped = false;
    for &byte in source {
        if !escaped && matches!(byte, b'*' | b'?' | b'[') {
            return true;
        }
        escaped = !escaped && byte == b'\\';
    }
    false
}

/// One component of a source.
#[derive(Debug, Clone)]
pub enum Wildcard {
    /// A plain name, escapes removed.
    Name(Vec<u8>),
    /// A component with wildcards.
    Pattern(Pattern),
    /// `**`: any number of directories, none included.
    Directories,
}

/// A compiled component with wildcards.
#[derive(Debug, Clone)]
pub struct Pattern(Glob);

impl Pattern {
    /// Whether a name matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        self.0.matches(name)
    }
}

impl Wildcard {
    /// Compiles one component; `None` when it is malformed. `**` is special only with `deep`.
    pub fn compile(component: &[u8], deep: bool) -> Option<Self> {
        if deep && component == b"**" {
            return Some(Self::Directories);
        }
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some(&byte) = component.get(at) {
            at += 1;
            match byte {
                b'*' => tokens.push(Token::Star),
                b'?' => tokens.push(Token::Any),
                b'[' => {
                    let (class, taken) = read_class(&component[at..])?;
                    tokens.push(class);
                    at += taken;
                }
                b'\\' => {
                    tokens.push(Token::Literal(vec![*component.get(at)?]));
                    at += 1;
                }
                _ => tokens.push(Token::Literal(vec![byte])),
            }
        }
        let glob = Glob::new(tokens);
        Some(match glob.literal() {
            Some(name) => Self::Name(name.to_vec()),
            None => Self::Pattern(Pattern(glob)),
        })
    }

    /// Whether a name matches; `**` matches every name.
    pub fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Name(text) => text == name,
            Self::Pattern(pattern) => pattern.matches(name),
            Self::Directories => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::oracle;
    use proptest::prelude::*;

    fn matches(pattern: &str, name: &[u8]) -> Option<bool> {
        Wildcard::compile(pattern.as_bytes(), false).map(|pattern| pattern.matches(name))
    }

    #[test]
    fn go_filepath_match() {
        // The cases of Go's own test table that have no `/`.
        for (pattern, name, expected) in [
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "a", Some(true)),
            ("a*", "abc", Some(true)),
            ("a*b*c*d*e*", "axbxcxdxe", Some(true)),
            ("a*b*c*d*e*", "axbxcxdxexxx", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[e-g]", "abc", Some(false)),
            ("ab[^c]", "abc", Some(false)),
            ("ab[^b-d]", "abc", Some(false)),
            ("ab[^e-g]", "abc", Some(true)),
            ("a\\*b", "a*b", Some(true)),
            ("a\\*b", "ab", Some(false)),
            ("a?b", "a☺b", Some(true)),
            ("a[^a]b", "a☺b", Some(true)),
            ("a???b", "a☺b", Some(false)),
            ("a[^a][^a][^a]b", "a☺b", Some(false)),
            ("[a-ζ]*", "α", Some(true)),
            ("*[a-ζ]", "A", Some(false)),
            ("[\\]a]", "]", Some(true)),
            ("[\\-]", "-", Some(true)),
            ("[x\\-]", "x", Some(true)),
            ("[x\\-]", "-", Some(true)),
            ("[x\\-]", "z", Some(false)),
            ("[\\-x]", "a", Some(false)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[x-]", "x", None),
            ("[-x]", "-", None),
            ("\\", "a", None),
            ("[a-b-c]", "a", None),
            ("[", "a", None),
            ("[^", "a", None),
            ("[^bc", "a", None),
            ("a[", "a", None),
            ("*x", "xxx", Some(true)),
        ] {
            assert_eq!(matches(pattern, name.as_bytes()), expected, "{pattern} {name}");
        }
        assert_eq!(matches("a?b", b"a\xffb"), Some(true));
        assert_eq!(matches("a*", b"a\xff\xfe"), Some(true));
    }

    #[test]
    fn wildcards_are_found_unless_escaped() {
        for (source, expected) in [("a*", true), ("a\\*", false), ("a\\\\*", true), ("[x]", true), ("a/b", false)] {
            assert_eq!(has_wildcard(source.as_bytes()), expected, "{source}");
        }
    }

    #[test]
    fn hostile_patterns_end() {
        let pattern = "*a".repeat(100) + "b";
        assert_eq!(matches(&pattern, &b"a".repeat(255)), Some(false));
    }

    proptest! {
        #[test]
        fn agrees_with_the_oracle(pattern in "[ab*?\\\\\\[\\]^-]{0,8}", name in "[ab*]{0,8}") {
            prop_assert_eq!(matches(&pattern, name.as_bytes()), oracle::go_match(&pattern, &name));
        }
    }
}
