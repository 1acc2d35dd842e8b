//! What may be handed to git: remotes, references, commits and directories that can't be taken for anything else.

use crate::remote::error::RemoteError;

/// The protocols that repositories are fetched by.
pub(super) const PROTOCOLS: [&str; 4] = ["https", "http", "ssh", "git"];

/// Whether it is a commit's id in full.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether it can be the beginning of a commit's id.
pub(super) fn is_hex(text: &str) -> bool {
    (4..=64).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// How a remote is reached; nothing for one that is none.
pub(super) fn protocol(remote: &str) -> Option<&'static str> {
    if let Some((scheme, _)) = remote.split_once("://") {
        return PROTOCOLS.into_iter().find(|known| known.eq_ignore_ascii_case(scheme));
    }
    // user@host:path
    let (host, path) = remote.split_once(':')?;
    let (user, host) = host.split_once('@').unwrap_or(("git", host));
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let fits = word(user) && word(host) && !host.starts_with('-') && !user.starts_with('-') && !path.starts_with(':');
    (fits && !path.is_empty()).then_some("ssh")
}

/// Refuses what is no remote.
pub(super) fn check_remote(remote: &str) -> Result<(), RemoteError> {
    let invalid = |why| RemoteError::Invalid { what: "git repository", text: crate::remote::redact(remote), why };
    if remote.starts_with('-') || remote.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(invalid("it begins with a dash, or holds spaces or control characters"));
    }
    if protocol(remote).is_none() {
        return Err(invalid("give https://…, http://…, ssh://…, git://… or user@host:path"));
    }
    // ssh takes a host that begins with a dash for an option.
    let host = builder_image::http::url::host(remote).unwrap_or("host");
    if host.starts_with('-') {
        return Err(invalid("its host begins with a dash"));
    }
    Ok(())
}

/// Refuses what can't be a reference (git-check-ref-format), and what git could take for an option or an expression.
pub(super) fn check_reference(reference: &str) -> Result<(), RemoteError> {
    let bad = reference.is_empty()
        || reference.starts_with(['-', '/', '.'])
        || reference.ends_with(['/', '.'])
        || reference.strip_suffix(".lock").is_some()
        || reference.contains("..")
        || reference.contains("//")
        || reference.contains("/.")
        || reference.contains("@{")
        || reference == "@"
        || reference.chars().any(|c| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c));
    if bad {
        let why = "give a branch, a tag, a reference in full such as refs/heads/main, or a commit";
        return Err(RemoteError::Invalid { what: "git reference", text: reference.to_owned(), why });
    }
    Ok(())
}

/// Refuses what can't be the beginning of a commit.
pub(super) fn check_checksum(checksum: &str) -> Result<(), RemoteError> {
    if is_hex(checksum) {
        return Ok(());
    }
    let why = "give a commit, or its first digits (lower case, hexadecimal)";
    Err(RemoteError::Invalid { what: "commit", text: checksum.to_owned(), why })
}

/// A directory of a repository without `.`, doubled slashes and slashes at its ends; the root is empty.
pub(super) fn clean_subdir(subdir: &str) -> Result<String, RemoteError> {
    let invalid = |why| RemoteError::Invalid { what: "directory of a repository", text: subdir.to_owned(), why };
    let mut parts = Vec::new();
    for part in subdir.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return Err(invalid("it leads out of the repository"));
        }
        if part.eq_ignore_ascii_case(".git") {
            return Err(invalid(".git belongs to git itself"));
        }
        if part.contains('\0') {
            return Err(invalid("it holds a zero byte"));
        }
        parts.push(part);
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_are_checked() {
        for good in [
            "https://host/a.git",
            "http://user:pass@host:81/a",
            "HTTPS://host/a",
            "ssh://git@host/a",
            "git://host/a",
            "git@host:a/b.git",
            "host:a",
        ] {
            assert!(check_remote(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "--upload-pack=touch /x",
            "-oProxyCommand=x:y",
            "ssh://-oProxyCommand=x/y",
            "ext::sh -c x",
            "ext::sh",
            "file:///etc",
            "/etc/x.git",
            "./x",
            "../x",
            "https://host/a b",
            "https://host/a\n",
            "git@-x:y",
            "ftp://host/x",
        ] {
            assert!(check_remote(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn references_are_checked() {
        for good in ["main", "v1.0", "feature/x", "refs/heads/a", "a@b", "0123", "HEAD", "refs/pull/1/head"] {
            assert!(check_reference(good).is_ok(), "{good}");
        }
        for bad in [
            "", "-x", "--all", "a b", "a..b", "a:b", "a^", "a~1", "*", "a//b", "/a", "a/", ".a", "a.lock", "@{u}",
            "a\n",
        ] {
            assert!(check_reference(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn directories_stay_inside() {
        for (given, clean) in
            [("", ""), ("/", ""), ("./a//b/", "a/b"), ("/a", "a"), ("a/./b", "a/b"), ("%2e%2e", "%2e%2e")]
        {
            assert_eq!(clean_subdir(given).ok().as_deref(), Some(clean), "{given}");
        }
        for bad in ["..", "a/../..", "../a", "a/..", ".git", "a/.GIT/x", "a\0b"] {
            assert!(clean_subdir(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn commits_are_known() {
        assert!(is_commit(&"a".repeat(40)) && is_commit(&"0".repeat(64)));
        assert!(!is_commit(&"A".repeat(40)) && !is_commit(&"a".repeat(39)));
        assert!(check_checksum("abc").is_err() && check_checksum("abcd").is_ok() && check_checksum("xyzw").is_err());
    }
}
