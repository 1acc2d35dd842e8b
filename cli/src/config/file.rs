//! One `builder.toml`, and what is wrong with it, with its line.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use builder_frontend::diagnostic::Diagnostic;
use builder_image::Reference;
use serde::Deserialize;
use toml::Spanned;

/// A file that was read. Its paths are absolute, its hosts are what references call them.
#[derive(Debug, Default)]
pub(super) struct File {
    /// The tables `[registry."host"]`.
    pub(super) registries: BTreeMap<String, Table>,
}

/// One table. What is not there says nothing.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) mirrors: Option<Vec<String>>,
    pub(super) insecure: Option<bool>,
    pub(super) http: Option<bool>,
    pub(super) ca: Option<Vec<PathBuf>>,
    pub(super) client: Option<Client>,
    pub(super) credentials_helper: Option<String>,
}

/// A certificate of the client, as PEM files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Client {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// The text as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    registry: BTreeMap<Spanned<String>, WrittenTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenTable {
    mirrors: Option<Vec<Spanned<String>>>,
    insecure: Option<bool>,
    http: Option<bool>,
    ca: Option<Vec<PathBuf>>,
    client: Option<Client>,
    credentials_helper: Option<Spanned<String>>,
}

impl File {
    /// Reads a text. Relative paths in it begin at the directory of `path`.
    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, Diagnostic> {
        let written: Written = toml::from_str(text).map_err(|error| {
            let message =
                error.message().replace("unknown field", "unknown key").replace("expected one of", "use one of");
            Diagnostic::new(message, error.span().unwrap_or(0..0))
        })?;
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let base = path.parent().unwrap_or(Path::new("/"));
        let mut registries = BTreeMap::new();
        for (host, table) in written.registry {
            let name = self::host(&host).map_err(|what| wrong(what, host.span()))?;
            let twice = registries.insert(name.clone(), table.check(base)?).is_some();
            if twice {
                return Err(wrong(format!("`{}` is {name}, which has a table already", host.get_ref()), host.span()));
            }
        }
        Ok(Self { registries })
    }
}

impl WrittenTable {
    fn check(self, base: &Path) -> Result<Table, Diagnostic> {
        let mut mirrors = None;
        for mirror in self.mirrors.iter().flatten() {
            check_mirror(mirror.get_ref()).map_err(|what| wrong(what, mirror.span()))?;
        }
        if let Some(list) = self.mirrors {
            mirrors = Some(list.into_iter().map(Spanned::into_inner).collect());
        }
        if let Some(helper) = &self.credentials_helper
            && !crate::credentials::is_helper(helper.get_ref())
        {
            let what = format!(
                "`{}` is not the name of a credential helper: write what follows `docker-credential-`",
                helper.get_ref()
            );
            return Err(wrong(what, helper.span()));
        }
        Ok(Table {
            mirrors,
            insecure: self.insecure,
            http: self.http,
            ca: self.ca.map(|files| files.into_iter().map(|file| base.join(file)).collect()),
            client: self.client.map(|Client { cert, key }| Client { cert: base.join(cert), key: base.join(key) }),
            credentials_helper: self.credentials_helper.map(Spanned::into_inner),
        })
    }
}

/// The text as it may be shown, every character in its place: with what lies between a `:` and an `@` hidden, which is a
/// password that does not belong there.
pub(super) fn without_passwords(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for word in text.split_inclusive(|letter: char| letter.is_whitespace() || matches!(letter, '/' | '"' | '\'')) {
        match word.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?, host))) {
            Some(((user, password), host)) => {
                shown.extend([user, ":", &"*".repeat(password.len()), "@", host]);
            }
            None => shown.push_str(word),
        }
    }
    shown
}

fn wrong(what: String, span: Range<usize>) -> Diagnostic {
    Diagnostic::new(what, span)
}

/// What references call a host.
fn host(written: &Spanned<String>) -> Result<String, String> {
    let text = written.get_ref().as_str();
    if crate::registry::is_docker_hub(text) {
        return Ok(crate::registry::DOCKER_HUB.to_owned());
    }
    if text.contains('@') {
        return Err("the host of a registry holds no user and password: use `builder login`".to_owned());
    }
    if text.contains("://") {
        return Err(format!("`{text}` is a URL: write the host alone, and `http = true` where it speaks plain HTTP"));
    }
    match format!("{text}/x").parse::<Reference>() {
        Ok(reference) if reference.registry().as_str() == text => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not the host of a registry: write `host` or `host:port`")),
    }
}

/// A mirror is a host with a port, or an address with a path.
fn check_mirror(text: &str) -> Result<(), String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return Err("a mirror holds no user and password: use `builder login` with its host".to_owned());
    }
    let is_host = format!("{host}/x").parse::<Reference>().is_ok_and(|reference| reference.registry().as_str() == host);
    let is_plain = |letter: char| letter.is_ascii_graphic() && !matches!(letter, '?' | '#');
    if matches!(scheme, "http" | "https") && is_host && rest.chars().all(is_plain) {
        Ok(())
    } else {
        Err(format!("`{text}` is not a mirror: write `host`, `host:port` or `https://host/path`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        let wrong = File::parse(text, Path::new("/etc/builder/builder.toml")).expect_err(text);
        let (line, column) = wrong.position(text);
        format!("{line}:{column} {}", wrong.message)
    }

    #[test]
    fn every_key_is_read() {
        let text = r#"
            [registry."index.docker.io"]
            mirrors = ["mirror.lan:5000", "https://proxy.lan/hub"]
            credentials-helper = "pass"
            [registry."registry.lan:5000"]
            insecure = true
            http = false
            ca = ["lan.pem", "/abs.pem"]
            client = { cert = "me.pem", key = "keys/me.key" }
        "#;
        let file = File::parse(text, Path::new("/etc/builder/builder.toml")).expect("it is right");
        let hub = &file.registries["docker.io"];
        assert_eq!(
            hub.mirrors.as_deref(),
            Some(&["mirror.lan:5000".to_owned(), "https://proxy.lan/hub".to_owned()][..])
        );
        assert_eq!((hub.credentials_helper.as_deref(), hub.insecure), (Some("pass"), None));
        let lan = &file.registries["registry.lan:5000"];
        assert_eq!((lan.insecure, lan.http), (Some(true), Some(false)));
        assert_eq!(lan.ca.as_deref(), Some(&["/etc/builder/lan.pem".into(), "/abs.pem".into()][..]));
        let client = lan.client.as_ref().expect("it is set");
        assert_eq!(client.cert, Path::new("/etc/builder/me.pem"));
        assert_eq!(client.key, Path::new("/etc/builder/keys/me.key"));
    }

    #[test]
    fn passwords_are_not_shown() {
        for (text, shown) in [
            (
                "mirrors = [\"https://u:hush@m.lan:5000/x\"] # ok: 1",
                "mirrors = [\"https://u:****@m.lan:5000/x\"] # ok: 1",
            ),
            ("['u:hä@sh@m.lan', \"n@m\"]", "['u:******@m.lan', \"n@m\"]"),
            ("a = \"r.lan:5000\"\n", "a = \"r.lan:5000\"\n"),
        ] {
            assert_eq!(without_passwords(text), shown);
            assert_eq!(shown.len(), text.len());
        }
    }

    #[test]
    fn what_is_wrong_is_shown_where_it_is() {
        for (text, complains) in [
            ("x = 1", "1:1 unknown key `x`"),
            ("[registry.\"a.b\"]\nmirors = []", "2:1 unknown key `mirors`, use one of `mirrors`, `insecure`"),
            ("[registry.\"a.b\"]\ninsecure = \"yes\"", "2:12 invalid type: string \"yes\", expected a boolean"),
            ("[registry.\"a.b\"\n", "1:16 "),
            ("[registry.\"https://a.b\"]", "1:11 `https://a.b` is a URL"),
            ("[registry.\"a b\"]", "1:11 `a b` is not the host"),
            ("[registry.\"https://u:p@a.b\"]", "1:11 the host of a registry holds no user"),
            ("[registry.\"docker.io\"]\n[registry.\"index.docker.io\"]", "2:11 `index.docker.io` is docker.io"),
            ("[registry.\"a.b\"]\nmirrors = [\"u:p@m.lan\"]", "2:12 a mirror holds no user"),
            ("[registry.\"a.b\"]\nmirrors = [\"ok.lan\", \"ftp://m.lan\"]", "2:22 `ftp://m.lan` is not a mirror"),
            ("[registry.\"a.b\"]\ncredentials-helper = \"../x\"", "2:22 `../x` is not the name"),
            ("[registry.\"a.b\"]\nclient = { cert = \"c\" }", "2:10 missing field `key`"),
        ] {
            let complaint = complaint(text);
            assert!(complaint.starts_with(complains), "{text}\n{complaint}");
        }
    }
}
