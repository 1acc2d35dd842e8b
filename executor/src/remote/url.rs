//! The parts of addresses that matter here.

/// The host of a URL, with its port when it has one; without user and password.
pub(super) fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (!host.is_empty()).then_some(host)
}

/// The same without the port, and without the brackets of an address.
pub(super) fn host(url: &str) -> Option<&str> {
    let authority = authority(url)?;
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map(|(host, _)| host);
    }
    Some(authority.split_once(':').map_or(authority, |(host, _)| host))
}

/// User and password of a URL, with escapes undone.
pub(super) fn credentials(url: &str) -> Option<(String, String)> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (user, _) = rest[..end].rsplit_once('@')?;
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    Some((unescape(name), unescape(password)))
}

/// A URL without user and password.
pub(super) fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{}", &rest[end..]),
        None => url.to_owned(),
    }
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (first, digit(0), digit(1)) {
            bytes.push((high * 16 + low) as u8);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found() {
        for (url, with_port, alone) in [
            ("https://host/a", "host", "host"),
            ("http://u:p@host:80?x", "host:80", "host"),
            ("http://[::1]:80/", "[::1]:80", "::1"),
        ] {
            assert_eq!((authority(url), host(url)), (Some(with_port), Some(alone)));
        }
        assert_eq!(host("https:///a"), None);
        assert_eq!(credentials("https://a%40b:c%3Ad@host/"), Some(("a@b".into(), "c:d".into())));
        assert_eq!(credentials("https://a:%+1%zz%4@host/"), Some(("a".into(), "%+1%zz%4".into())));
        assert_eq!(credentials("https://host/x@y"), None);
        assert_eq!(without_credentials("https://a:b@host/x"), "https://host/x");
    }
}
