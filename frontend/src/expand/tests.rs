use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn variables() -> BTreeMap<String, String> {
    [
        ("HOME", "/home/me"),
        ("EMPTY", ""),
        ("X", "x"),
        ("한국어", "korean"),
        ("V", "xxyy"),
        ("STARS", "a***yy*"),
        ("PATHS", "/foo*/*/*.txt"),
        ("FILE", "dir/archive.tar.gz"),
        ("NEEDLE", "\\*/"),
        ("SPECIAL", "()[]{}^$.*?|\\x"),
        ("TWO", "a  b"),
        ("LINES", "one\ntwo"),
        ("DIGIT1", "d"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

fn word(text: &str) -> Result<String, ExpandErrorKind> {
    let word = Expander::new('\\').word(text, &variables());
    word.map(|word| word.text.into_owned()).map_err(|error| {
        assert!(error.span.end <= text.len() && !error.span.is_empty(), "{text}: {:?}", error.span);
        error.kind
    })
}

#[test]
fn words_expand() {
    let table = [
        ("plain text", "plain text"),
        ("", ""),
        // names
        ("$X", "x"),
        ("${X}", "x"),
        ("a$X/b", "ax/b"),
        ("a${X}b", "axb"),
        ("$X_", ""),
        ("$UNSET-", "-"),
        ("$한국어", "korean"),
        ("$DIGIT1", "d"),
        ("$1a", "a"),
        ("$12", ""),
        ("$", "$"),
        ("a$", "a$"),
        ("$.", "$."),
        ("$(id)", "$(id)"),
        ("$$", ""),
        ("$@ $* $# $? $- $! $0", "      "),
        ("${@}", ""),
        ("$'X'", "$X"),
        // quotes
        ("'$X \"y\"'", "$X \"y\""),
        ("\"$X 'y'\"", "x 'y'"),
        ("'a'b\"c\"", "abc"),
        ("\"\"''", ""),
        ("\"a\\\"b\"", "a\"b"),
        ("\"\\$X \\\\ \\n\"", "$X \\ \\n"),
        ("'a\\'", "a\\"),
        // escapes
        ("\\$X", "$X"),
        ("\\a\\\\b", "a\\b"),
        ("\\'\\\"", "'\""),
        ("end\\", "end"),
        ("a\\ b", "a b"),
        // defaults
        ("${X:-w}", "x"),
        ("${UNSET:-w}", "w"),
        ("${EMPTY:-w}", "w"),
        ("${EMPTY-w}", ""),
        ("${UNSET-w}", "w"),
        ("${UNSET:-}", ""),
        ("${UNSET:-$HOME}", "/home/me"),
        ("${UNSET:-${UNSET2:-'a}b'}}c", "a}bc"),
        ("${UNSET:-\"a b\"}", "a b"),
        ("${UNSET:-a\\}b}", "a}b"),
        ("${UNSET:-{}", "{"),
        // alternatives
        ("${X:+w}", "w"),
        ("${EMPTY:+w}", ""),
        ("${EMPTY+w}", "w"),
        ("${UNSET+w}", ""),
        ("${X:+${HOME}/y}", "/home/me/y"),
        // required
        ("${X:?no}", "x"),
        ("${X?no}", "x"),
        ("${EMPTY?no}", ""),
        // prefixes and suffixes
        ("${V#x}", "xyy"),
        ("${V#*x}", "xyy"),
        ("${V##*x}", "yy"),
        ("${V#*x*y}", "y"),
        ("${V##*x*y}", ""),
        ("${V#*}", "xxyy"),
        ("${V##*}", ""),
        ("${V#}", "xxyy"),
        ("${V##}", "xxyy"),
        ("${V%}", "xxyy"),
        ("${V%%}", "xxyy"),
        ("${V#nothing}", "xxyy"),
        ("${V#$X}", "xyy"),
        ("${V#$EMPTY}", "xxyy"),
        ("${V%y}", "xxy"),
        ("${V%y*}", "xxy"),
        ("${V%%y*}", "xx"),
        ("${V%?}", "xxy"),
        ("${V%x}", "xxyy"),
        ("${FILE%.*}", "dir/archive.tar"),
        ("${FILE%%.*}", "dir/archive"),
        ("${FILE##*/}", "archive.tar.gz"),
        ("${FILE#*/}", "archive.tar.gz"),
        ("${STARS%%\\**\\*}", "a"),
        ("${STARS%\\*}", "a***yy"),
        ("${SPECIAL#()[]{\\}^$.\\*\\?|\\\\}", "x"),
        ("${UNSET#x}", ""),
        ("${LINES%%t*}", "one\n"),
        ("${V#\"xx\"}", "yy"),
        // replacement
        ("${V/x/z}", "zxyy"),
        ("${V//x/z}", "zzyy"),
        ("${V//x/}", "yy"),
        ("${V/x*/z}", "z"),
        ("${V//?/$X-}", "x-x-x-x-"),
        ("${PATHS/$NEEDLE/.} - ${PATHS//$NEEDLE/.}", "/foo.*/*.txt - /foo..*.txt"),
        ("${FILE//\\//+}", "dir+archive.tar.gz"),
        ("${FILE/./${UNSET:-_}}", "dir/archive_tar.gz"),
        ("${V/$EMPTY/w}", "wxxyy"),
        ("${V///}", "xxyy"),
        ("${V/nothing/z}", "xxyy"),
        ("${UNSET//a/b}", ""),
    ];
    for (input, expected) in table {
        assert_eq!(word(input).as_deref(), Ok(expected), "{input}");
    }
}

#[test]
fn wrong_words_say_what_is_wrong() {
    let table = [
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ("a\"$X", "unexpected end of statement while looking for matching double-quote"),
        ("${", "syntax error: missing '}' after `${`"),
        ("${X", "syntax error: missing '}' after `${`"),
        ("${X:", "syntax error: missing '}' after `${`"),
        ("${X:-a", "syntax error: missing '}' after `${`"),
        ("${X:-${Y}", "syntax error: missing '}' after `${`"),
        ("${X#a", "syntax error: missing '}' after `${`"),
        ("${X/a/b", "syntax error: missing '}' after `${`"),
        ("${X/a}", "syntax error: missing '/' in ${} between the pattern and its replacement"),
        ("${X//}", "syntax error: missing '/' in ${} between the pattern and its replacement"),
        ("${}", "syntax error: bad substitution: `${` needs the name of a variable"),
        ("${{X}}", "syntax error: bad substitution: `${` needs the name of a variable"),
        ("${:x}", "syntax error: bad substitution: `${` needs the name of a variable"),
        ("${X=a}", "unsupported modifier (=) in substitution"),
        ("${X:=a}", "unsupported modifier (:=) in substitution"),
        ("${X:#a}", "unsupported modifier (:#) in substitution"),
        ("${X:}", "unsupported modifier (:}) in substitution"),
        ("${X^^}", "unsupported modifier (^) in substitution"),
        ("${!X}", "unsupported modifier (X) in substitution"),
        ("${ X}", "unsupported modifier ( ) in substitution"),
        ("${UNSET:?}", "UNSET: is not allowed to be unset"),
        ("${UNSET?}", "UNSET: is not allowed to be unset"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("${UNSET?needs $X}", "UNSET: needs x"),
        ("${EMPTY:?\"set it\"}", "EMPTY: set it"),
        (
            "${V#\\x}",
            "invalid pattern (\\x) in substitution: invalid escape '\\x': only `*`, `?`, `\\`, `/` and `}` can be escaped",
        ),
    ];
    for (input, expected) in table {
        assert_eq!(word(input).expect_err(input).to_string(), expected, "{input}");
    }
}

#[test]
fn errors_point_at_the_substitution() {
    let error = Expander::new('\\').word("a ${UNSET:?no} b", &variables()).unwrap_err();
    assert_eq!(error.span, 2..14);
    let error = Expander::new('\\').word("한 'b", &variables()).unwrap_err();
    assert_eq!(error.span, 4..6);
}

#[test]
fn names_are_reported() {
    let variables = variables();
    let word = Expander::new('\\').word("$X ${NO-1} $X ${V:+$NO2} '$Y'", &variables).unwrap();
    assert_eq!((word.used, word.unset), (vec!["X".into(), "V".into()], vec!["NO".into(), "NO2".into()]));
}

#[test]
fn words_split_after_expansion() {
    let table: [(&str, &[&str]); 10] = [
        ("80", &["80"]),
        ("$TWO", &["a", "b"]),
        ("\"$TWO\"", &["a  b"]),
        ("x$TWO", &["xa", "b"]),
        ("${UNSET}", &[]),
        ("''", &[]),
        (" a  'b c' d\\ e ", &["a", "b c", "d e"]),
        ("$EMPTY a", &["a"]),
        ("${UNSET:-a b}c", &["a", "bc"]),
        ("'a'$TWO'c'", &["aa", "bc"]),
    ];
    for (input, expected) in table {
        assert_eq!(Expander::new('\\').words(input, &variables()).unwrap(), expected, "{input}");
    }
    assert!(Expander::new('\\').words("'a", &variables()).is_err());
}

#[test]
fn the_escape_character_is_the_file_s() {
    let expander = Expander::new('`');
    let table = [("`$X", "$X"), ("C:\\$X", "C:\\x"), ("\"`\"\\\"", "\"\\"), ("``", "`"), ("a`", "a")];
    for (input, expected) in table {
        assert_eq!(expander.word(input, &variables()).unwrap().text, expected, "{input}");
    }
}

#[test]
fn commands_are_shown_with_quotes_and_unset_variables() {
    let expander = Expander::for_display('\\');
    let table = [
        ("RUN echo \"$X $NO\" '$X'", "RUN echo \"x $NO\" '$X'"),
        ("${NO} ${NO:-a} ${NO#a} ${NO/a/b} ${NO//a/b} ${NO+a}", "${NO} ${NO:-a} ${NO#a} ${NO/a/b} ${NO//a/b} ${NO+a}"),
        ("a\\nb", "anb"),
    ];
    for (input, expected) in table {
        assert_eq!(expander.word(input, &variables()).unwrap().text, expected, "{input}");
    }
}

#[test]
fn heredocs_keep_their_quotes() {
    let table = [("it's \"$X\"\n", "it's \"x\"\n"), ("\\$X\n", "$X\n"), ("\\\\\n", "\\\n"), ("\\\n", "\n")];
    for (input, expected) in table {
        assert_eq!(Expander::for_heredoc().word(input, &variables()).unwrap().text, expected, "{input}");
    }
}

#[test]
fn growth_depth_and_patterns_are_bounded() {
    let big = BTreeMap::from([("B".to_owned(), "b".repeat(GROWTH / 2))]);
    let expander = Expander::new('\\');
    assert!(expander.word("$B$B", &big).is_ok());
    let kind = |text: &str| expander.word(text, &big).unwrap_err().kind;
    assert_eq!(kind("$B$B$B"), ExpandErrorKind::TooLong(GROWTH));
    assert_eq!(kind("${B//b/bbbb}"), ExpandErrorKind::TooLong(GROWTH));
    assert!(matches!(kind("${B#$B}"), ExpandErrorKind::PatternTooLong(_)));
    let nested = |levels| format!("{}x{}", "${U:-".repeat(levels), "}".repeat(levels));
    assert_eq!(expander.word(&nested(64), &big).unwrap().text, "x");
    assert!(matches!(kind(&nested(65)), ExpandErrorKind::TooDeep(_)));
}

/// The definition: a star matches any text, tried from the shortest or the longest.
fn glob(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        Some((wanted, rest)) => {
            text.split_first().is_some_and(|(actual, more)| (*wanted == '?' || wanted == actual) && glob(rest, more))
        }
    }
}

proptest! {
    #[test]
    fn no_input_panics(text in "[$ {}:?#%/*+=\\\\'\"a-cX한-]{0,40}", escape in "[\\\\`]") {
        let expander = Expander::new(escape.chars().next().unwrap());
        let _ = expander.word(&text, &variables());
        let _ = expander.words(&text, &variables());
        let _ = Expander::for_display('\\').word(&text, &variables());
        let _ = Expander::for_heredoc().word(&text, &variables());
    }

    #[test]
    fn plain_text_is_unchanged(text in "[^$'\"\\\\]*") {
        prop_assert_eq!(Expander::new('\\').word(&text, &variables()).unwrap().text, text.as_str());
    }

    #[test]
    fn single_quotes_keep_everything(text in "[^']*") {
        let quoted = format!("'{text}'");
        prop_assert_eq!(Expander::new('\\').word(&quoted, &variables()).unwrap().text, text);
    }

    #[test]
    fn stripping_follows_the_definition(pattern in "[ab*?]{0,6}", value in "[abc]{0,8}") {
        let variables = BTreeMap::from([("V".to_owned(), value.clone())]);
        let expand = |text: String| Expander::new('\\').word(&text, &variables).unwrap().text.into_owned();
        let chars: Vec<char> = value.chars().collect();
        let glob_pattern: Vec<char> = pattern.chars().collect();
        let ends: Vec<usize> = (0..=chars.len()).filter(|&end| glob(&glob_pattern, &chars[..end])).collect();
        let starts: Vec<usize> = (0..=chars.len()).filter(|&start| glob(&glob_pattern, &chars[start..])).collect();
        let after = |end: Option<&usize>| value[*end.unwrap_or(&0)..].to_owned();
        let before = |start: Option<&usize>| value[..*start.unwrap_or(&value.len())].to_owned();
        prop_assert_eq!(expand(format!("${{V#{pattern}}}")), after(ends.first()));
        prop_assert_eq!(expand(format!("${{V##{pattern}}}")), after(ends.last()));
        prop_assert_eq!(expand(format!("${{V%{pattern}}}")), before(starts.last()));
        prop_assert_eq!(expand(format!("${{V%%{pattern}}}")), before(starts.first()));
    }
}
