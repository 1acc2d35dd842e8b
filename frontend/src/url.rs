//! The parts of a URL, by text alone.

/// A URL in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// What is before `?` and `#`.
    pub(crate) address: &'a str,
    /// What is between the first `?` and `#`.
    pub(crate) query: Option<&'a str>,
    /// What is after the first `#`.
    pub(crate) fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    pub(crate) fn split(text: &'a str) -> Self {
        let (rest, fragment) = match text.split_once('#') {
            Some((rest, fragment)) => (rest, Some(fragment)),
            None => (text, None),
        };
        let (address, query) = match rest.split_once('?') {
            Some((address, query)) => (address, Some(query)),
            None => (rest, None),
        };
        Self { address, query, fragment }
    }

    /// The path of an address with a protocol, from the first slash after the host.
    pub(crate) fn path(&self) -> &'a str {
        let after = self.address.split_once("://").map_or(self.address, |(_, after)| after);
        after.find('/').map_or("", |at| &after[at..])
    }
}

/// The protocol before `://`.
pub(crate) fn protocol(text: &str) -> Option<&str> {
    let (protocol, _) = text.split_once("://")?;
    (!protocol.is_empty() && protocol.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(protocol)
}

/// With escapes (`%20`) replaced, and `+` by a blank if `plus` says so; nothing when an escape is wrong.
pub(crate) fn decode(text: &str, plus: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                (digit(rest.next())? * 16 + digit(rest.next())?) as u8
            }
            b'+' if plus => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The name that a downloaded file gets: the last component of the path.
pub(crate) fn file_name(url: &str) -> String {
    let path = decode(Parts::split(url).path(), false).unwrap_or_default();
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    // What cannot be a name gets the one that files without a name have.
    if matches!(name, "" | "." | "..") || name.contains('\0') { "__unnamed__".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_after_the_path() {
        for (url, name) in [
            ("https://example.org/a/b.tar.gz", "b.tar.gz"),
            ("https://example.org/a/b/", "b"),
            ("https://example.org/b?x=/c#/d", "b"),
            ("https://example.org/a%20b", "a b"),
            ("https://example.org/a%2Fb", "b"),
            ("https://example.org/*.txt", "*.txt"),
            ("https://example.org", "__unnamed__"),
            ("https://example.org/", "__unnamed__"),
            ("https://example.org/%zz", "__unnamed__"),
            ("https://example.org/a/..", "__unnamed__"),
            ("https://example.org/%00", "__unnamed__"),
            ("https://example.org/%ff", "__unnamed__"),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
    }

    #[test]
    fn protocols_are_words() {
        for (text, expected) in [("http://a", Some("http")), ("://a", None), ("a b://c", None), ("git@a:b", None)] {
            assert_eq!(protocol(text), expected, "{text}");
        }
    }
}
