//! The expander. Two parts, chosen by the first byte: any word with any variables never panics and keeps its promises;
//! the patterns of `${v#p}` and `${v/p/r}` agree with a slow and plain matcher.

#![no_main]

use std::collections::BTreeMap;

use builder_frontend::expand::{Expander, GROWTH};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some(first) = text.chars().next() else { return };
    let rest = &text[first.len_utf8()..];
    match first {
        '%' => patterns(rest),
        _ => any_word(first, rest),
    }
});

/// `NAME=value` lines up to an empty line, then the word.
fn any_word(first: char, text: &str) {
    let (head, word) = text.split_once("\n\n").unwrap_or(("", text));
    let variables: BTreeMap<String, String> = head
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let escape = if first == '`' { '`' } else { '\\' };
    for expander in [Expander::new(escape), Expander::for_display(escape), Expander::for_heredoc()] {
        let outcome = expander.word(word, &variables);
        assert_eq!(outcome, expander.word(word, &variables));
        match outcome {
            Ok(expanded) => {
                assert!(expanded.text.len() <= word.len() + GROWTH);
                if !word.contains(['$', '\\', '`', '"', '\'']) {
                    assert_eq!(expanded.text, word);
                }
                assert!(expanded.used.iter().all(|name| variables.contains_key(name)));
                assert!(expanded.unset.iter().all(|name| !variables.contains_key(name)));
            }
            Err(error) => assert!(word.get(error.span.clone()).is_some(), "{error:?} in {word:?}"),
        }
        if let Ok(words) = expander.words(word, &variables) {
            assert!(words.iter().all(|word| !word.is_empty()));
            assert!(words.iter().map(String::len).sum::<usize>() <= word.len() + GROWTH);
        }
    }
}

/// `pattern|replacement|value`, with letters that mean nothing outside of a pattern.
fn patterns(text: &str) {
    let mut parts = text.splitn(3, '|');
    let (Some(pattern), Some(replacement), Some(value)) = (parts.next(), parts.next(), parts.next()) else { return };
    let plain = |text: &str| text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if !pattern.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '*' | '?'))
        || !plain(replacement)
        || pattern.is_empty()
        || pattern.len() > 16
        || value.len() > 24
    {
        return;
    }
    let variables = BTreeMap::from([("v".to_owned(), value.to_owned())]);
    let expand = |modifier: String| {
        let word = format!("${{v{modifier}}}");
        let expanded = Expander::new('\\').word(&word, &variables);
        expanded.unwrap_or_else(|error| panic!("{error} in {word}")).text.into_owned()
    };
    let pattern_chars: Vec<char> = pattern.chars().collect();
    let chars: Vec<char> = value.chars().collect();
    let text = |chars: &[char]| chars.iter().collect::<String>();
    let length = chars.len();
    // All places where a prefix that matches ends, and where a suffix that matches begins, in order.
    let prefixes: Vec<usize> = (0..=length).filter(|&end| glob(&pattern_chars, &chars[..end])).collect();
    let suffixes: Vec<usize> = (0..=length).filter(|&start| glob(&pattern_chars, &chars[start..])).collect();
    let behind = |end: Option<&usize>| end.map_or_else(|| value.to_owned(), |&end| text(&chars[end..]));
    let before = |start: Option<&usize>| start.map_or_else(|| value.to_owned(), |&start| text(&chars[..start]));
    assert_eq!(expand(format!("#{pattern}")), behind(prefixes.first()), "{pattern} {value}");
    assert_eq!(expand(format!("##{pattern}")), behind(prefixes.last()), "{pattern} {value}");
    assert_eq!(expand(format!("%{pattern}")), before(suffixes.last()), "{pattern} {value}");
    assert_eq!(expand(format!("%%{pattern}")), before(suffixes.first()), "{pattern} {value}");

    // The first place where something matches, and the longest match there.
    let longest = |start: usize| (start..=length).rev().find(|&end| glob(&pattern_chars, &chars[start..end]));
    let first = (0..=length).find_map(|start| longest(start).map(|end| (start, end)));
    let replaced = match first {
        Some((start, end)) => format!("{}{replacement}{}", text(&chars[..start]), text(&chars[end..])),
        None => value.to_owned(),
    };
    assert_eq!(expand(format!("/{pattern}/{replacement}")), replaced, "{pattern} {value}");
}

fn glob(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|taken| glob(rest, &text[taken..])),
        Some(('?', rest)) => !text.is_empty() && glob(rest, &text[1..]),
        Some((c, rest)) => text.first() == Some(c) && glob(rest, &text[1..]),
    }
}
