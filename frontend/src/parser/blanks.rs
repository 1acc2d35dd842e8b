//! White space beyond ASCII between the words of `ENV`, `LABEL` and `ARG`: a no-break space that came along from a web
//! page separates there as a space does. Everywhere else it is text.

use crate::parser::Escape;

/// The text of an instruction with plain spaces instead, as many as keep every byte in its place; `None` when there is
/// nothing to change.
pub(super) fn plain(text: &str, keyword: &str, escape: Escape) -> Option<String> {
    if text.is_ascii() || !["ENV", "LABEL", "ARG"].iter().any(|known| keyword.eq_ignore_ascii_case(known)) {
        return None;
    }
    let mut plain = text[..keyword.len()].to_owned();
    let mut changed = false;
    let mut quote = None;
    let mut first: Option<bool> = None;
    let mut characters = text[keyword.len()..].chars().peekable();
    while let Some(character) = characters.next() {
        if quote.is_none() && character.is_whitespace() {
            // `ENV name the rest` of old: the rest is taken as it is.
            if first == Some(false) && !keyword.eq_ignore_ascii_case("ARG") {
                return None;
            }
            changed |= !character.is_ascii();
            plain.extend(std::iter::repeat_n(' ', character.len_utf8()));
            continue;
        }
        let first = first.get_or_insert(false);
        *first |= character == '=';
        plain.push(character);
        match quote {
            None if matches!(character, '"' | '\'') => quote = Some(character),
            Some(open) if open == character => quote = None,
            _ if character == escape.character() && quote != Some('\'') => plain.extend(characters.next()),
            _ => {}
        }
    }
    changed.then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_blanks_separate_words() {
        for (text, expected) in [
            ("ENV a=b\u{a0}c=d", Some("ENV a=b  c=d")),
            ("LABEL\u{3000}a=b\u{2003}\u{85}c=d", Some("LABEL   a=b     c=d")),
            ("ARG a\u{a0}b=c", Some("ARG a  b=c")),
            ("env a=\"x\u{a0}y\"\u{a0}b='\u{a0}'", Some("env a=\"x\u{a0}y\"  b='\u{a0}'")),
            ("ENV a=x\\\u{a0}y", None),
            ("ENV a=\"x\\\"\u{a0}y\"", None),
            ("ENV a b\u{a0}c", None),
            ("ENV a=é", None),
            ("ENV a=b c=d", None),
            ("RUN a=b\u{a0}c", None),
        ] {
            let keyword = text.split(char::is_whitespace).next().unwrap();
            let plain = plain(text, keyword, Escape::Backslash);
            assert_eq!(plain.as_deref(), expected, "{text:?}");
            assert!(plain.is_none_or(|plain| plain.len() == text.len()), "{text:?}");
        }
    }
}
