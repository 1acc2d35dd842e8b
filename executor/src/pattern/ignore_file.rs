//! A `.dockerignore` file: one pattern a line.

use super::ignore::trim;
use super::{IgnoreMatcher, PatternError};

/// Reads an ignore file. A byte order mark at the start is dropped; a line whose very first byte is `#` is a comment
/// (` #x` is a pattern); blank lines count for nothing.
///
/// ```
/// use builder_executor::pattern::parse_ignore_file;
///
/// let ignore = parse_ignore_file(b"# what never goes in\ntarget\n**/*.log\n!keep.log\n")?;
/// assert!(ignore.excludes_path(b"target/debug/app"));
/// assert!(ignore.excludes_path(b"a/b.log"));
/// assert!(!ignore.excludes_path(b"keep.log"));
/// # Ok::<(), builder_executor::pattern::PatternError>(())
/// ```
pub fn parse_ignore_file(text: &[u8]) -> Result<IgnoreMatcher, PatternError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let lines = text.split(|&byte| byte == b'\n').enumerate();
    IgnoreMatcher::from_lines(
        lines
            .filter(|(_, line)| !line.starts_with(b"#") && !trim(line).is_empty())
            .map(|(position, line)| (position + 1, line)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let text = b"\xef\xbb\xbf# comment\n #not-a-comment\r\n\n  spaced  \n/rooted\n! bang\n./dotted/\n";
        let matcher = parse_ignore_file(text).unwrap();
        for path in ["#not-a-comment", "spaced", "rooted", "dotted"] {
            assert!(matcher.excludes_path(path.as_bytes()), "{path}");
        }
        assert!(!matcher.excludes_path(b"bang"));
        assert!(!matcher.excludes_path(b"# comment"));
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(parse_ignore_file(b"a\n\n!\n").unwrap_err(), PatternError::LoneExclamation { line: 3 });
        assert_eq!(parse_ignore_file(b"!/\n").unwrap_err(), PatternError::LoneExclamation { line: 1 });
        assert_eq!(parse_ignore_file(b"ok\n[a\n").unwrap_err().line(), 2);
        assert_eq!(parse_ignore_file(b"a\\").unwrap_err().line(), 1);
    }

    #[test]
    fn empty() {
        assert!(parse_ignore_file(b"").unwrap().is_empty());
        assert!(parse_ignore_file(b"\n\n#x\n").unwrap().is_empty());
    }
}
