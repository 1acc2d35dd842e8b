//! Names that say that something is a secret.

/// Words that make the name of a variable suspicious.
const WORDS: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Words that take the suspicion away: a public key, the path of a key, the version of one.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// Files that hold nothing but credentials, wherever they are.
const FILES: [&str; 15] = [
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".env",
    ".git-credentials",
    ".netrc",
    "_netrc",
    ".npmrc",
    ".pypirc",
    ".dockercfg",
    ".pgpass",
    ".vault-token",
    ".htpasswd",
    ".ssh",
];

/// Files that do so in a certain directory.
const PATHS: [&str; 6] = [
    ".aws/credentials",
    ".docker/config.json",
    ".kube/config",
    ".cargo/credentials.toml",
    ".config/gh/hosts.yml",
    ".gem/credentials",
];

/// Endings of files that hold a private key.
const ENDINGS: [&str; 4] = [".key", ".p12", ".pfx", ".ppk"];

/// What an example of a file ends in.
const EXAMPLES: [&str; 6] = ["example", "sample", "template", "dist", "defaults", "test"];

/// Whether a variable of that name probably holds a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let has = |words: &[&str]| name.split('_').any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)));
    has(&WORDS) && !has(&HARMLESS)
}

/// Whether a path names a file that probably holds a secret.
pub(super) fn is_secret_path(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let file = path.rsplit('/').next().unwrap_or_default();
    let ends_in = |end: &str| path.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
    let is_env = file
        .strip_prefix(".env.")
        .is_some_and(|kind| !kind.split('.').any(|part| EXAMPLES.contains(&part.to_ascii_lowercase().as_str())));
    FILES.contains(&file)
        || is_env
        || PATHS.iter().any(|known| ends_in(known))
        || ENDINGS.iter().any(|ending| file.len() > ending.len() && file.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_variables() {
        for name in [
            "apikey",
            "API_KEY",
            "password",
            "DATABASE_PASSWORD",
            "github_TOKEN",
            "secret_message",
            "AUTH",
            "git_key",
            "SECRET_PASSPHRASE",
            "super_duper_secret_token",
            "MY_CREDENTIALS",
            "pword",
            "passwd_1",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "PUBLIC_KEY",
            "public_token",
            "TOKEN_FILE",
            "KEY_VERSION",
            "KEYBOARD",
            "MONKEY",
            "author",
            "sunflower",
            "SECRETS",
            "PASSPHRASE",
            "",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn names_of_files() {
        for path in [
            "id_rsa",
            "/root/.ssh/id_ed25519",
            ".npmrc",
            "config/.npmrc",
            ".env",
            "app/.env",
            ".env.production",
            "tls/server.key",
            "~/.aws/credentials",
            ".docker/config.json",
            ".ssh/",
            "home/.netrc",
        ] {
            assert!(is_secret_path(path), "{path}");
        }
        for path in [
            "id_rsa.pub",
            ".env.example",
            ".env.local.sample",
            "environment",
            "credentials.go",
            "config.json",
            "aws/credentials",
            ".key",
            "keys/",
            "src",
            ".",
            "x.env",
        ] {
            assert!(!is_secret_path(path), "{path}");
        }
    }
}
