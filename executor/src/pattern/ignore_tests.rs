use super::*;
use crate::pattern::oracle;
use proptest::prelude::*;

fn excludes(patterns: &[&str], path: &str) -> bool {
    IgnoreMatcher::new(patterns).unwrap().excludes_path(path.as_bytes())
}

#[test]
fn one_pattern() {
    for (pattern, path, expected) in [
        ("**", "file", true),
        ("**", "dir/file", true),
        ("**/", "file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir", false),
        ("dir/**", "dir/dir2/file", true),
        ("**/dir", "dir", true),
        ("**/dir", "dir/file", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/*", "dir/dir2/dir3/file", true),
        ("**file", "file", true),
        ("**file", "dir/file", true),
        ("**/file", "dir/file", true),
        ("**file", "dir/dir/file", true),
        ("**/file*", "dir/dir/file.txt", true),
        ("**/file*txt", "dir/dir/file.txt", true),
        ("**/file*.txt*", "dir/dir/file.txt", true),
        ("**/**/*.txt", "dir/dir/file.txt", true),
        ("**/**/*.txt2", "dir/dir/file.txt", false),
        ("**/*.txt", "file.txt", true),
        ("a**/*.txt", "a/file.txt", true),
        ("a**/*.txt", "a/dir/file.txt", true),
        ("a/*.txt", "a/dir/file.txt", false),
        ("a/*.txt", "a/file.txt", true),
        ("a/*.txt**", "a/file.txt", true),
        ("a[b-d]e", "ae", false),
        ("a[b-d]e", "ace", true),
        ("a[^b-d]e", "aze", true),
        (".*", ".foo", true),
        (".*", "foo", false),
        ("abc.def", "abcdef", false),
        ("abc.def", "abc.def", true),
        ("abc?def", "abcZdef", true),
        ("abc?def", "abcdef", false),
        ("a\\\\", "a\\", true),
        ("**/foo/bar", "foo/bar", true),
        ("**/foo/bar", "dir/dir2/foo/bar", true),
        ("abc/**", "abc/def/ghi", true),
        ("**/.foo", "bar.foo", false),
        ("**/.foo", ".foo", true),
        ("a(b)c/def", "a(b)c/def", true),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
        ("*.md", "doc/a.md", false),
        ("*/*.md", "doc/a.md", true),
        ("/doc", "doc/a", true),
        ("./doc/", "doc/a", true),
        ("doc/../src", "src/a", true),
        ("a**/b", "a/ab", false),
        ("**/a**/b", "a/ab", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("[*]", "*", true),
        ("[*]", "x", false),
        (".", "a", false),
        ("node_modules", "node_modules/a/b/c", true),
        ("node_modules", "a/node_modules", false),
        ("dir name", "dir name/x", true),
        ("a?c", "aéc", true),
        ("*?", "é", true),
        ("*??", "é", false),
        ("**/*.log", "new\nline/x.log", true),
    ] {
        assert_eq!(excludes(&[pattern], path), expected, "{pattern} {path}");
    }
}

#[test]
fn many_patterns() {
    for (patterns, path, expected) in [
        (&["*", "!keep"][..], "keep/a", false),
        (&["*", "!keep"], "drop/a", true),
        (&["dir", "!dir/keep"], "dir/keep", false),
        (&["dir", "!dir/keep"], "dir/other", true),
        (&["dir", "!dir/keep", "dir/keep/x"], "dir/keep/x", true),
        (&["!dir/keep", "dir"], "dir/keep", true),
        (&["**/*.md", "!README.md"], "README.md", false),
        (&["**/*.md", "!README.md"], "a/README.md", true),
        (&["**", "!**/*.go"], "a/b/c.go", false),
        (&["*", "!src", "src/*.o"], "src/a.o", true),
        (&["*", "!src", "src/*.o"], "src/a.c", false),
        // Moby does not remember `a/b` for `a/b`, where it was not asked; asking all would say yes.
        (&["a", "!a/b/c", "a/b"], "a/b/c", false),
        (&[], "x", false),
    ] {
        assert_eq!(excludes(patterns, path), expected, "{patterns:?} {path}");
    }
}

#[test]
fn bytes_that_are_not_text() {
    let matcher = IgnoreMatcher::new([b"a\xff".as_slice(), b"?.log", b"**/x\xfe*"]).unwrap();
    for (path, expected) in
        [(&b"a\xff"[..], true), (b"a\xfe", false), (b"\xff.log", true), (b"d/x\xfey", true), (b"d/x\xff", false)]
    {
        assert_eq!(matcher.excludes_path(path), expected, "{}", path.escape_ascii());
    }
}

#[test]
fn directories_to_walk_all_the_same() {
    for (patterns, directory, expected) in [
        (&["dir"][..], "dir", false),
        (&["dir", "!dir/keep"], "dir", true),
        (&["dir", "!dir/a/keep"], "dir/a", true),
        (&["dir", "!dir/a/keep"], "dir/b", false),
        (&["dir", "!other"], "dir", false),
        (&["*", "!*/keep"], "dir", true),
        (&["*", "!*/keep"], "dir/deeper", false),
        (&["*", "!**/*.go"], "a/b/c", true),
        (&["*", "!a**b"], "x", true),
        (&["*", "!dir"], "dir/x", false),
        (&["*", "!d[h-j]r/x"], "dir", true),
        (&["*", "!a/x[^b]y"], "a", true),
    ] {
        let matcher = IgnoreMatcher::new(patterns).unwrap();
        assert_eq!(matcher.may_include_below(directory.as_bytes()), expected, "{patterns:?} {directory}");
    }
}

/// Each state of the search is worked out once: time grows with the length of the path, not with its square or worse.
#[test]
fn hostile_patterns_end() {
    let path = "ab/".repeat(1_300) + "x";
    for pattern in ["******/*b.a/r[^aI]", "**/*a*/**/*b*/**/*a*/**/*b*/c", "**a**b**a**b**c", "*/".repeat(600).as_str()]
    {
        let matcher = IgnoreMatcher::new([pattern]).unwrap();
        assert!(!matcher.excludes(path.as_bytes(), &matcher.root()), "{pattern}");
    }
}

fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[ab]{1,2}",
        1 => Just("*".to_owned()),
        1 => Just("**".to_owned()),
        1 => Just("a*".to_owned()),
        1 => Just("*b".to_owned()),
        1 => Just("a**".to_owned()),
        1 => Just("**b".to_owned()),
        1 => Just("?".to_owned()),
        1 => Just("[a-b]".to_owned()),
        1 => Just("[^a]".to_owned()),
        1 => Just("\\a".to_owned()),
    ];
    prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec("[abc]{1,2}", 1..5).prop_map(|parts| parts.join("/"))
}

proptest! {
    #[test]
    fn agrees_with_the_oracle(
        patterns in prop::collection::vec((any::<bool>(), pattern()), 0..6),
        paths in prop::collection::vec(path(), 1..20),
    ) {
        let lines: Vec<String> =
            patterns.iter().map(|(exception, text)| format!("{}{text}", if *exception { "!" } else { "" })).collect();
        let matcher = IgnoreMatcher::new(&lines).unwrap();
        for path in &paths {
            prop_assert_eq!(matcher.excludes_path(path.as_bytes()), oracle::excludes(&patterns, path), "{:?} {}", lines, path);
        }
    }

    /// Whatever is included below an excluded directory is reached by walking.
    #[test]
    fn skipped_directories_hold_nothing(
        patterns in prop::collection::vec((any::<bool>(), pattern()), 1..6),
        path in path(),
    ) {
        let lines: Vec<String> =
            patterns.iter().map(|(exception, text)| format!("{}{text}", if *exception { "!" } else { "" })).collect();
        let matcher = IgnoreMatcher::new(&lines).unwrap();
        if !matcher.excludes_path(path.as_bytes()) {
            for (end, _) in path.match_indices('/') {
                let parent = &path.as_bytes()[..end];
                prop_assert!(!matcher.excludes_path(parent) || matcher.may_include_below(parent), "{:?} {}", lines, path);
            }
        }
    }

    #[test]
    fn never_panics(text in prop::collection::vec(any::<u8>(), 0..40), path in prop::collection::vec(any::<u8>(), 0..20)) {
        if let Ok(matcher) = crate::pattern::parse_ignore_file(&text) {
            matcher.excludes_path(&path);
            matcher.may_include_below(&path);
        }
    }
}
