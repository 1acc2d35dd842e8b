//! The value of `--chmod`.

use builder_solver::FileMode;

/// Reads an octal number up to 7777 or the language of chmod(1): `u=rwX,go-w`, `+x`, `g=u`.
pub(crate) fn parse(text: &str) -> Option<FileMode> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let octal = text.bytes().all(|b| b.is_ascii_digit());
        let mode = octal.then(|| u32::from_str_radix(text, 8).ok()).flatten()?;
        return (mode <= 0o7777).then_some(FileMode::Octal(mode));
    }
    let valid = !text.is_empty() && text.split(',').all(is_clause);
    valid.then(|| FileMode::Symbolic(text.to_owned()))
}

/// `[ugoa]*` and then one or more of `[-+=]` with `[rwxXst]*` or one of `[ugo]`.
fn is_clause(clause: &str) -> bool {
    let mut rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    if rest.is_empty() {
        return false;
    }
    while let Some(after) = rest.strip_prefix(['+', '-', '=']) {
        rest = match after.strip_prefix(['u', 'g', 'o']) {
            Some(copied) => copied,
            None => after.trim_start_matches(['r', 'w', 'x', 'X', 's', 't']),
        };
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read() {
        for (text, mode) in [("755", 0o755), ("0644", 0o644), ("7777", 0o7777), ("0", 0)] {
            assert_eq!(parse(text), Some(FileMode::Octal(mode)));
        }
        for text in ["+x", "u=rwX,go=rX", "a-w", "g=u", "u+s", "=", "u+r-w", "go="] {
            assert_eq!(parse(text), Some(FileMode::Symbolic(text.into())), "{text}");
        }
        for text in ["", "888", "10000", "7a", "rwx", "u", "u+z", ",", "u=r,", "x+r", "-1x1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
