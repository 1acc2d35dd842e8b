//! Addresses as they are shown: names of steps, records, errors and history never hold a password.

/// An address without its password: `https://user:xxxxx@host/`. What can't be read is shown as it is.
pub fn redact(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{scheme}://{name}:xxxxx@{host}{path}"),
            // A lone name is a token as often as a name.
            None if scheme.to_ascii_lowercase().starts_with("http") => format!("{scheme}://xxxxx@{host}{path}"),
            None => address.to_owned(),
        },
        None => address.to_owned(),
    }
}

/// A text without the passwords of the addresses in it.
pub fn redact_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let before = rest[..at].char_indices().rev().take_while(|(_, c)| c.is_ascii_alphanumeric()).last();
        let start = before.map_or(at, |(start, _)| start);
        let authority = at + "://".len();
        let length = rest[authority..].find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"'));
        let end = length.map_or(rest.len(), |length| authority + length);
        out.push_str(&rest[..start]);
        out.push_str(&redact(&rest[start..end]));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_show() {
        for (address, shown) in [
            ("https://host/a", "https://host/a"),
            ("https://user:secret@host/a", "https://user:xxxxx@host/a"),
            ("https://user:p@ss@host:1/a@b", "https://user:xxxxx@host:1/a@b"),
            ("https://:secret@host", "https://:xxxxx@host"),
            ("https://token@host/a", "https://xxxxx@host/a"),
            ("HTTPS://token@host/a", "HTTPS://xxxxx@host/a"),
            ("ssh://git@host/a", "ssh://git@host/a"),
            ("ssh://git:secret@host/a.git", "ssh://git:xxxxx@host/a.git"),
            ("git@host:a/b", "git@host:a/b"),
            ("https://host/?q=a@b", "https://host/?q=a@b"),
        ] {
            assert_eq!(redact(address), shown);
            assert_eq!(redact_text(address), shown);
        }
    }

    #[test]
    fn addresses_are_found_in_a_text() {
        for (text, shown) in [
            ("ADD https://u:p@h/a http://t@h#x /d/", "ADD https://u:xxxxx@h/a http://xxxxx@h#x /d/"),
            ("ADD [\"https://u:p@h/a\", \"/d\"]", "ADD [\"https://u:xxxxx@h/a\", \"/d\"]"),
            ("ADD é://u:p@h a@b", "ADD é://u:xxxxx@h a@b"),
            ("://", "://"),
            ("https://a/https://u:p@c", "https://a/https://u:xxxxx@c"),
        ] {
            assert_eq!(redact_text(text), shown);
        }
    }
}
