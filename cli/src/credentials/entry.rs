//! What configuration files keep of a login, and what they call the host that it is for.

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use builder_image::registry::{Login, Secret};
use serde_json::{Map, Value, json};

use crate::registry::{DOCKER_HUB, is_docker_hub};

/// What Docker calls its hub where logins are kept.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The user's name in the place of which there is a token.
pub(super) const TOKEN_USER: &str = "<token>";

/// What Docker keeps a host's login under.
pub(super) fn key(host: &str) -> &str {
    if host == DOCKER_HUB { HUB_KEY } else { host }
}

/// The host that a person or a file means: without scheme and path, Docker Hub by one name.
pub(crate) fn hostname(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    if is_docker_hub(host) { DOCKER_HUB } else { host }
}

/// Whether a key of a file means this host. `host/user` is narrower than a host and means none.
pub(super) fn means(key: &str, host: &str) -> bool {
    let is_whole = key.contains("://")
        || key.split_once('/').is_none_or(|(_, path)| matches!(path.trim_end_matches('/'), "" | "v1" | "v2"));
    is_whole && hostname(key) == host
}

/// The value of the key that means this host: the one that Docker writes first, then any other.
pub(super) fn find<'v>(table: Option<&'v Value>, host: &str) -> Option<&'v Value> {
    let table = table?.as_object()?;
    table.get(key(host)).or_else(|| table.iter().find(|(name, _)| means(name, host)).map(|(_, value)| value))
}

/// The login that an entry of `auths` holds; an empty one says that a helper has it.
pub(super) fn decode(entry: &Value) -> anyhow::Result<Option<Login>> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Login::IdentityToken(Secret::new(token))));
    }
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Login::Bearer(Secret::new(token))));
    }
    if let Some(auth) = text("auth") {
        let bytes = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth)).ok();
        let both = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        // The value itself is a secret, so what is wrong with it is said without it.
        let both = both.context("its `auth` is not base64 of `user:password`")?;
        let Some((user, password)) = both.split_once(':') else {
            bail!("its `auth` is not base64 of `user:password`");
        };
        let password = Secret::new(password.trim_end_matches('\0'));
        return Ok(Some(Login::Basic { user: user.to_owned(), password }));
    }
    Ok(text("username")
        .zip(text("password"))
        .map(|(user, password)| Login::Basic { user: user.to_owned(), password: Secret::new(password) }))
}

/// The entry that holds a login, as Docker writes it. The user is kept beside a token.
pub(super) fn encode(user: &str, login: &Login) -> Value {
    let mut entry = Map::new();
    let mut auth = |user: &str, password: &str| {
        entry.insert("auth".to_owned(), json!(STANDARD.encode(format!("{user}:{password}"))));
    };
    match login {
        Login::Basic { user, password } => auth(user, password.expose()),
        Login::IdentityToken(token) => {
            auth(user, "");
            entry.insert("identitytoken".to_owned(), json!(token.expose()));
        }
        Login::Bearer(token) => {
            entry.insert("registrytoken".to_owned(), json!(token.expose()));
        }
    }
    Value::Object(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_name() {
        for (text, host) in [
            ("docker.io", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("registry-1.docker.io", "docker.io"),
            ("https://r.lan:5000/v2/", "r.lan:5000"),
            ("http://r.lan", "r.lan"),
            ("r.lan/user", "r.lan"),
            ("localhost:5000", "localhost:5000"),
        ] {
            assert_eq!(hostname(text), host, "{text}");
        }
        for (key, host, yes) in [
            ("https://index.docker.io/v1/", "docker.io", true),
            ("docker.io", "docker.io", true),
            ("r.lan", "r.lan", true),
            ("r.lan/v1/", "r.lan", true),
            ("http://r.lan/any", "r.lan", true),
            ("r.lan/user", "r.lan", false),
            ("r.lan:5000", "r.lan", false),
        ] {
            assert_eq!(means(key, host), yes, "{key}");
        }
    }

    #[test]
    fn entries_are_read_in_every_form() {
        let basic =
            |user: &str, password: &str| Some(Login::Basic { user: user.to_owned(), password: Secret::new(password) });
        for (entry, login) in [
            (json!({}), None),
            (json!({ "auth": "" }), None),
            (json!({ "auth": "bWU6cGFzczp3b3Jk" }), basic("me", "pass:word")),
            (json!({ "auth": "bWU6eA==" }), basic("me", "x")),
            (json!({ "auth": "bWU6eA" }), basic("me", "x")),
            (json!({ "username": "me", "password": "x" }), basic("me", "x")),
            (json!({ "auth": "bWU6", "identitytoken": "t" }), Some(Login::IdentityToken(Secret::new("t")))),
            (json!({ "registrytoken": "t" }), Some(Login::Bearer(Secret::new("t")))),
        ] {
            assert_eq!(decode(&entry).expect("it is right"), login, "{entry}");
        }
        for auth in ["!", "bWU=", "/w=="] {
            let error = decode(&json!({ "auth": auth })).expect_err("it is wrong").to_string();
            assert!(!error.contains(auth), "{error}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for login in [
            Login::Basic { user: "me".into(), password: Secret::new("p:ä\"") },
            Login::IdentityToken(Secret::new("t")),
            Login::Bearer(Secret::new("t")),
        ] {
            assert_eq!(decode(&encode("me", &login)).expect("it is right"), Some(login));
        }
    }
}
