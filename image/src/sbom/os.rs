//! `os-release`: which distribution it is.

use super::root::Root;
use super::text;

/// The largest file that is read.
const LIMIT: u64 = 64 << 10;

/// A distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Os {
    /// `debian`.
    pub id: String,
    /// `12`; empty when it has none.
    pub version: String,
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub name: String,
}

impl Os {
    /// `debian-12`, as package URLs have it.
    pub fn distro(&self) -> String {
        if self.version.is_empty() { self.id.clone() } else { format!("{}-{}", self.id, self.version) }
    }
}

pub(super) fn read(root: &Root<'_>) -> Option<Os> {
    let text = ["etc/os-release", "usr/lib/os-release"].iter().find_map(|path| root.text(path, LIMIT))?;
    parse(&text)
}

fn parse(all: &str) -> Option<Os> {
    let get = |key: &str| {
        let value = all.lines().rev().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
        text(&unquoted(value.unwrap_or_default()))
    };
    let id = get("ID");
    let named = id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if id.is_empty() || !named {
        return None;
    }
    let name = match get("PRETTY_NAME") {
        name if name.is_empty() => id.clone(),
        name => name,
    };
    Some(Os { id: id.to_lowercase(), version: get("VERSION_ID"), name })
}

/// A value as a shell would read it.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner.replace("\\\"", "\"").replace("\\$", "$").replace("\\`", "`").replace("\\\\", "\\");
        }
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_distributions_write() {
        let os = parse("NAME=\"X\"\nID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian \\\"12\\\"\"\n").unwrap();
        assert_eq!((os.id.as_str(), os.version.as_str(), os.name.as_str()), ("debian", "12", "Debian \"12\""));
        assert_eq!(os.distro(), "debian-12");
        let os = parse("ID='arch'\n").unwrap();
        assert_eq!((os.distro().as_str(), os.name.as_str()), ("arch", "arch"));
        assert_eq!(parse("ID=\"a b/c\"\n"), None);
        assert_eq!(parse("VERSION_ID=1\n"), None);
    }
}
