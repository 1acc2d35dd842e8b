//! Patterns for names of targets: Go's `path.Match`.

use builder_executor::pattern::Wildcard;

/// Whether it has wildcards.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', ']'])
}

/// Whether a name matches; a malformed pattern matches nothing.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    Wildcard::compile(pattern.as_bytes(), false).is_some_and(|pattern| pattern.matches(name.as_bytes()))
}
