//! The parts of URLs that matter here.

/// The longest URL that a server may send somebody to.
const LONGEST: usize = 8 << 10;

/// The host of a URL, with its port when it has one; without user and password.
pub fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (!host.is_empty()).then_some(host)
}

/// The same without the port, and without the brackets of an address.
pub fn host(url: &str) -> Option<&str> {
    let authority = authority(url)?;
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map(|(host, _)| host);
    }
    Some(authority.split_once(':').map_or(authority, |(host, _)| host))
}

/// User and password of a URL, with escapes undone.
pub fn credentials(url: &str) -> Option<(String, String)> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (user, _) = rest[..end].rsplit_once('@')?;
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    Some((unescape(name), unescape(password)))
}

/// A URL without user and password.
pub fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{}", &rest[end..]),
        None => url.to_owned(),
    }
}

/// The URL is one of HTTP over TLS.
pub fn is_secure(url: &str) -> bool {
    url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
}

/// Scheme, host and port: what credentials and connections belong to. Written alike for URLs that mean the same.
pub fn origin(url: &str) -> Option<String> {
    let scheme = url.split_once("://")?.0.to_ascii_lowercase();
    let authority = authority(url)?.to_ascii_lowercase();
    let usual = if scheme == "https" { ":443" } else { ":80" };
    Some(format!("{scheme}://{}", authority.strip_suffix(usual).unwrap_or(&authority)))
}

/// The host is this machine itself.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Where a `Location` leads that `base` answered; nothing when it is no URL of HTTP. Users and fragments are left out.
pub fn join(base: &str, location: &str) -> Option<String> {
    let location = location.trim();
    let location = location.split_once('#').map_or(location, |(before, _)| before);
    if location.is_empty() || location.len() > LONGEST || location.chars().any(|c| c.is_control() || c == ' ') {
        return None;
    }
    let (scheme, rest) = base.split_once("://")?;
    let root = &base[..scheme.len() + "://".len() + rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let path_end = base.find(['?', '#']).unwrap_or(base.len());
    let path = &base[root.len()..path_end.max(root.len())];
    let whole = if location.split_once("://").is_some_and(|(scheme, _)| !scheme.contains(['/', '?'])) {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{root}{location}")
    } else if location.starts_with('?') {
        format!("{root}{path}{location}")
    } else {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{root}{directory}/{location}")
    };
    let scheme = whole.split_once("://")?.0;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    host(&whole).filter(|host| !host.is_empty())?;
    Some(without_credentials(&whole))
}

/// A text as a part of a query.
pub fn encode(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            whole.push(char::from(byte));
        } else {
            use std::fmt::Write;
            // Writing to a string does not fail.
            let _ = write!(whole, "%{byte:02X}");
        }
    }
    whole
}

/// Adds `name=value` to the query of a URL.
pub fn with_query(url: &str, name: &str, value: &str) -> String {
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}{name}={}", encode(value))
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

    #[test]
    fn locations_are_followed_as_browsers_do() {
        let base = "https://host:5000/v2/a/blobs/uploads/1?state=x";
        for (location, whole) in [
            ("/v2/b?c=d", Some("https://host:5000/v2/b?c=d")),
            ("http://other/x#f", Some("http://other/x")),
            ("HTTPS://u:p@other/x", Some("HTTPS://other/x")),
            ("//other/x", Some("https://other/x")),
            ("2?s=y", Some("https://host:5000/v2/a/blobs/uploads/2?s=y")),
            ("?s=y", Some("https://host:5000/v2/a/blobs/uploads/1?s=y")),
            ("/x?to=http://y", Some("https://host:5000/x?to=http://y")),
            ("x?to=http://y", Some("https://host:5000/v2/a/blobs/uploads/x?to=http://y")),
            ("file:///etc/passwd", None),
            ("https://", None),
            ("https:///x", None),
            ("/a b", None),
            ("/a\nb", None),
            ("", None),
        ] {
            assert_eq!(join(base, location).as_deref(), whole, "{location}");
        }
        assert_eq!(join("http://host", "x").as_deref(), Some("http://host/x"));
        assert_eq!(join(base, &"x".repeat(9 << 10)), None);
    }

    #[test]
    fn origins_are_alike_for_what_is_the_same() {
        for (one, other, same) in [
            ("https://Host/a", "HTTPS://host:443/b?c", true),
            ("http://u@host:80/", "http://host", true),
            ("http://host:443", "https://host", false),
            ("https://host:5000", "https://host", false),
        ] {
            assert_eq!(origin(one) == origin(other), same, "{one} {other}");
        }
        assert!(is_secure("HTTPS://h") && !is_secure("http://h") && !is_secure("https"));
        for (host, here) in [("localhost", true), ("127.9.9.9", true), ("[::1]", true), ("::ffff:127.0.0.1", true)] {
            assert_eq!(is_loopback(host), here, "{host}");
        }
        assert!(!is_loopback("127.0.0.1.example.com") && !is_loopback("10.0.0.1"));
        assert_eq!(with_query("https://h/?a=b", "digest", "sha256:0 &"), "https://h/?a=b&digest=sha256%3A0%20%26");
    }
}
