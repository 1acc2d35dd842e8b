//! Ignore files: any bytes give a matcher or an error that names a line; matchers agree with a slow and plain one; and
//! a directory that is not walked holds nothing that is included.

#![no_main]

use builder_executor::pattern::{IgnoreMatcher, clean, parse_ignore_file};
use libfuzzer_sys::fuzz_target;

#[path = "../../executor/src/pattern/oracle.rs"]
#[allow(dead_code, reason = "one half of it is for the other language of patterns")]
mod oracle;

/// The slow matcher tries everything: it gets short texts with few stars.
const LONGEST: usize = 24;
const STARS: usize = 5;

// The ignore file, a zero byte, paths with a zero byte between them.
fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|&byte| byte == 0);
    let file = parts.next().unwrap_or_default();
    let lines = file.split(|&byte| byte == b'\n').count();
    let matcher = match parse_ignore_file(file) {
        Ok(matcher) => matcher,
        Err(error) => {
            assert!((1..=lines).contains(&error.line()));
            return;
        }
    };
    for path in parts.take(8) {
        let verdict = matcher.excludes_path(path);
        matcher.may_match_below(path);
        if !is_clean(path) {
            continue;
        }
        if !verdict && path.len() <= 256 {
            for (end, _) in path.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
                let parent = &path[..end];
                assert!(!matcher.excludes_path(parent) || matcher.may_include_below(parent));
            }
        }
        if let (Some(patterns), Ok(path)) = (patterns(file), str::from_utf8(path))
            && path.len() <= LONGEST
        {
            let matcher =
                IgnoreMatcher::new(patterns.iter().map(|(exception, pattern)| {
                    format!("{}{pattern}", if *exception { "!" } else { "" }).into_bytes()
                }));
            assert_eq!(matcher.map(|matcher| matcher.excludes_path(path.as_bytes())), Ok(verdict));
            assert_eq!(verdict, oracle::excludes(&patterns, path), "{patterns:?} {path}");
        }
    }
});

/// As paths come from walking a directory.
fn is_clean(path: &[u8]) -> bool {
    !path.is_empty() && path.split(|&byte| byte == b'/').all(|name| !matches!(name, b"" | b"." | b".."))
}

/// The patterns of a file that the slow matcher can take: cleaned, without what only the real one has to deal with.
fn patterns(file: &[u8]) -> Option<Vec<(bool, String)>> {
    let text = str::from_utf8(file).ok()?;
    if text.bytes().filter(|&byte| byte == b'*').count() > STARS || text.contains('\u{feff}') {
        return None;
    }
    let mut patterns = Vec::new();
    for line in text.split('\n').filter(|line| !line.starts_with('#')) {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let (exception, pattern) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim_ascii()),
            None => (false, line),
        };
        let cleaned = String::from_utf8(clean(pattern.as_bytes())).ok()?;
        let cleaned = cleaned.strip_prefix('/').unwrap_or(&cleaned).to_owned();
        // A class may hold a `/`, and cleaning goes through classes and escapes alike: the two need not agree there.
        let odd = cleaned.contains('[') && cleaned.contains('/') || cleaned.contains("\\/");
        // Compiled a second time, these would mean something else.
        let again = cleaned.starts_with('!') || cleaned.contains('\u{b}') || cleaned != cleaned.trim_ascii();
        if cleaned.is_empty() || cleaned.len() > LONGEST || odd || again {
            return None;
        }
        patterns.push((exception, cleaned));
    }
    Some(patterns)
}
