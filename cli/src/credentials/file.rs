//! Docker's `config.json`, and podman's `auth.json`, which looks the same.
//!
//! What is in it and nobody here knows stays as it is, in its order. It is replaced whole, readable by its owner only,
//! while no other `builder` changes it.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use builder_image::registry::Login;
use serde::Serialize as _;
use serde_json::{Map, Value};

use super::entry;
use crate::config;

/// A file as it was read.
#[derive(Default)]
pub(super) struct AuthFile(Map<String, Value>);

impl fmt::Debug for AuthFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthFile(..)")
    }
}

impl AuthFile {
    /// Reads a file; one that is not there is empty.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        match config::read(path) {
            Ok(text) => Self::parse(&text).with_context(|| format!("{} can't be used", path.display())),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(Self::default())
            }
            Err(error) => Err(error).with_context(|| format!("{} can't be read", path.display())),
        }
    }

    /// Reads a text; an empty one is an empty file.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        // Of what the parser says only the place is shown: it may quote a password.
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => bail!("it is no JSON object"),
            Err(error) => bail!("it is no valid JSON at line {} column {}", error.line(), error.column()),
        }
    }

    /// The helper that has a host's login: the host's own, else everybody's.
    pub(super) fn helper(&self, host: &str) -> Option<&str> {
        let own = entry::find(self.0.get("credHelpers"), host).and_then(Value::as_str);
        own.or_else(|| self.0.get("credsStore").and_then(Value::as_str)).filter(|name| !name.is_empty())
    }

    /// The login that the file itself holds.
    pub(super) fn login(&self, host: &str) -> anyhow::Result<Option<Login>> {
        let entry = entry::find(self.0.get("auths"), host);
        let login =
            entry.map(entry::decode).transpose().with_context(|| format!("the entry of {host} can't be used"))?;
        Ok(login.flatten())
    }

    /// The user that the file names for a host, whatever the login is.
    pub(super) fn user(&self, host: &str) -> Option<String> {
        let auth = entry::find(self.0.get("auths"), host)?.get("auth")?;
        match entry::decode(&serde_json::json!({ "auth": auth })) {
            Ok(Some(Login::Basic { user, .. })) => Some(user),
            _ => None,
        }
    }

    /// Whether there is an entry, be it an empty one.
    #[cfg(test)]
    fn knows(&self, host: &str) -> bool {
        entry::find(self.0.get("auths"), host).is_some()
    }

    /// Keeps an entry for a host, in the place of all that mean the same.
    pub(super) fn insert(&mut self, host: &str, value: Value) -> anyhow::Result<()> {
        let auths = self.0.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        if auths.is_null() {
            *auths = Value::Object(Map::new());
        }
        let Value::Object(auths) = auths else { bail!("its `auths` is no object") };
        let key = entry::key(host);
        auths.retain(|name, _| name == key || !entry::means(name, host));
        auths.insert(key.to_owned(), value);
        Ok(())
    }

    /// Forgets a host; whether it was known.
    pub(super) fn remove(&mut self, host: &str) -> bool {
        let Some(Value::Object(auths)) = self.0.get_mut("auths") else { return false };
        let before = auths.len();
        auths.retain(|name, _| !entry::means(name, host));
        auths.len() < before
    }

    /// As Docker writes it.
    fn text(&self) -> anyhow::Result<Vec<u8>> {
        let mut text = Vec::new();
        let form = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        self.0.serialize(&mut serde_json::Serializer::with_formatter(&mut text, form))?;
        Ok(text)
    }
}

/// Reads a file, changes it and writes it again; it is left alone when `change` returns false.
pub(super) fn edit(path: &Path, change: impl FnOnce(&mut AuthFile) -> anyhow::Result<bool>) -> anyhow::Result<()> {
    // What a link leads to is replaced, not the link.
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = place.parent().unwrap_or(Path::new("/"));
    let failed = || format!("{} can't be written", path.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(failed)?;
    let lock = File::open(directory).with_context(failed)?;
    lock.lock().with_context(failed)?;
    let mut file = AuthFile::read(&place)?;
    if !change(&mut file).with_context(|| format!("{} can't be used", path.display()))? {
        return Ok(());
    }
    let text = file.text().with_context(failed)?;
    let written = write(directory, &place, &text);
    written.with_context(failed)
}

fn write(directory: &Path, place: &PathBuf, text: &[u8]) -> io::Result<()> {
    let owner_only = Permissions::from_mode(0o600);
    let mut aside = tempfile::Builder::new().prefix(".config.json-").permissions(owner_only).tempfile_in(directory)?;
    aside.write_all(text)?;
    // `sudo` does not take a user's logins away from them.
    if let Ok(before) = fs::metadata(place) {
        let _ = fchown(aside.as_file(), Some(before.uid()), Some(before.gid()));
    }
    aside.as_file().sync_all()?;
    aside.persist(place).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use builder_image::registry::Secret;

    use super::*;

    fn basic(user: &str, password: &str) -> Login {
        Login::Basic { user: user.to_owned(), password: Secret::new(password) }
    }

    #[test]
    fn what_is_unknown_stays_in_its_place() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("sub/config.json");
        fs::create_dir(dir.path().join("sub")).expect("a fresh name");
        fs::write(&path, r#"{"z":[1,{"b":2,"a":1}],"auths":{"other":{"auth":"bzpw","x":1}},"a":null}"#)
            .expect("writable");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("it is ours");
        let owner = fs::metadata(&path).map(|file| (file.uid(), file.gid())).expect("it is there");
        let add = |file: &mut AuthFile| file.insert("r.lan", entry::encode("me", &basic("me", "x"))).map(|()| true);
        edit(&path, add).expect("it can be changed");
        let text = fs::read_to_string(&path).expect("it is there");
        let want = "{\n\t\"z\": [\n\t\t1,\n\t\t{\n\t\t\t\"b\": 2,\n\t\t\t\"a\": 1\n\t\t}\n\t],\n\t\"auths\": {\n\t\t\"other\": {\n\t\t\t\"auth\": \"bzpw\",\n\t\t\t\"x\": 1\n\t\t},\n\t\t\"r.lan\": {\n\t\t\t\"auth\": \"bWU6eA==\"\n\t\t}\n\t},\n\t\"a\": null\n}";
        assert_eq!(text, want);
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&path).map(|file| (file.uid(), file.gid())).expect("it is there"), owner);
        edit(&path, |file| Ok(file.remove("r.lan"))).expect("it can be changed");
        let file = AuthFile::read(&path).expect("it is right");
        assert!(!file.knows("r.lan") && !format!("{file:?}").contains("bzpw"));
        assert_eq!(fs::read_dir(dir.path().join("sub")).expect("it is there").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_link_stays_a_link_and_a_directory_is_made() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let add = |file: &mut AuthFile| file.insert("r.lan", Value::Object(Map::new())).map(|()| true);
        let real = dir.path().join("real/config.json");
        edit(&real, add).expect("it can be made");
        assert_eq!(fs::metadata(dir.path().join("real")).expect("it is there").permissions().mode() & 0o777, 0o700);
        let link = dir.path().join("link.json");
        std::os::unix::fs::symlink(&real, &link).expect("a fresh name");
        edit(&link, |file| Ok(file.remove("r.lan"))).expect("it can be changed");
        assert!(link.is_symlink());
        assert!(!AuthFile::read(&real).expect("it is right").knows("r.lan"));
    }

    #[test]
    fn nobody_loses_what_another_one_writes_meanwhile() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("config.json");
        let hosts: Vec<String> = (0..16).map(|number| format!("r{number}.lan")).collect();
        std::thread::scope(|scope| {
            for host in &hosts {
                let entry = entry::encode("me", &basic("me", "x"));
                scope.spawn(|| edit(&path, |file| file.insert(host, entry).map(|()| true)).expect("it can be changed"));
            }
        });
        let file = AuthFile::read(&path).expect("it is right");
        assert!(hosts.iter().all(|host| file.knows(host)));
    }

    #[test]
    fn helpers_and_logins_are_found() {
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6eA=="},"r.lan/user":{"auth":"bjp4"}},
            "credHelpers":{"h.lan":"own","index.docker.io":"hub","none.lan":""},"credsStore":"all"}"#;
        let file = AuthFile::parse(text).expect("it is right");
        for (host, helper) in
            [("h.lan", Some("own")), ("docker.io", Some("hub")), ("x.lan", Some("all")), ("none.lan", None)]
        {
            assert_eq!(file.helper(host), helper, "{host}");
        }
        assert_eq!(file.login("docker.io").expect("it is right"), Some(basic("me", "x")));
        assert_eq!(file.login("r.lan").expect("it is right"), None, "a user's part of a host is not the host");
    }

    #[test]
    fn what_is_wrong_is_said_without_quoting() {
        for (text, part) in [
            ("[]", "no JSON object"),
            ("{\"auths\": {\"h\": {\"auth\": hunter2}}}", "line 1 column 26"),
            ("\"hunter2\"", "no JSON object"),
        ] {
            let error = AuthFile::parse(text).expect_err(text).to_string();
            assert!(error.contains(part) && !error.contains("hunter2"), "{error}");
        }
        assert!(AuthFile::parse(" \n").is_ok());
    }
}
