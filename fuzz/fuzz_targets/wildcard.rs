//! The wildcards of `COPY` agree with a slow and plain `filepath.Match`.

#![no_main]

use builder_executor::pattern::{Wildcard, has_wildcard};
use libfuzzer_sys::fuzz_target;

#[path = "../../executor/src/pattern/oracle.rs"]
#[allow(dead_code, reason = "one half of it is for the other language of patterns")]
mod oracle;

// The pattern, a zero byte, the name.
fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |&byte| byte == 0);
    let (pattern, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let compiled = Wildcard::compile(pattern, false);
    let verdict = compiled.as_ref().map(|wildcard| wildcard.matches(name));
    if let Some(Wildcard::Name(plain)) = &compiled {
        assert_eq!(verdict, Some(plain == name));
        assert!(!has_wildcard(pattern) || pattern.contains(&b'['));
    }
    if let Some(deep) = Wildcard::compile(pattern, true) {
        deep.matches(name);
    }
    let stars = pattern.iter().filter(|&&byte| byte == b'*').count();
    if let (Ok(pattern), Ok(name)) = (str::from_utf8(pattern), str::from_utf8(name))
        && stars <= 5
        && name.len() <= 24
        // Components have no `/`.
        && !name.contains('/')
        && !pattern.contains('/')
    {
        assert_eq!(verdict, oracle::go_match(pattern, name), "{pattern:?} {name:?}");
    }
});
