//! Addresses of git repositories: any text is one, is none, or is an error; the directory that is taken of a repository
//! lies inside of it.

#![no_main]

use builder_frontend::git_address::GitAddress;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for outcome in [GitAddress::parse(text), GitAddress::parse_known(text, true), GitAddress::parse_context(text)] {
        match outcome {
            Ok(Some(address)) => check(&address),
            Ok(None) => {}
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    assert_eq!(GitAddress::parse(text), GitAddress::parse(text));
});

fn check(address: &GitAddress) {
    assert!(!address.remote.is_empty());
    if let Some(subdir) = &address.subdir {
        assert!(subdir.split('/').all(|name| !matches!(name, "" | "." | "..")), "{address:?}");
    }
    let texts = [&address.reference, &address.subdir, &address.checksum];
    assert!(texts.into_iter().flatten().all(|text| !text.is_empty()), "{address:?}");
    let source = address.source();
    assert_eq!((&source.remote, &source.subdir), (&address.remote, &address.subdir));
}
