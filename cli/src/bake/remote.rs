//! Definitions that lie elsewhere: `builder bake https://host/project.git#main [CONTEXT-URL] [TARGET…]`.
//!
//! What such a definition calls `.` is the place that it came from, and other directories are directories there;
//! `cwd://` is the directory of the person who builds.

use builder_executor::remote::{Access, redact};
use builder_executor::secret::SecretSource;

use super::entry::{Entry, Kind};
use super::error::{BakeError, BakeResult, SourceFile};
use super::files::{self, DEFAULT_FILES};
use super::functions::clean;
use crate::build::{RemoteFiles, remote_files};
use crate::commands::Global;
use crate::store;

/// For private repositories: the variable, and the secret's id.
const CREDENTIALS: [(&str, &str); 2] =
    [("BUILDX_BAKE_GIT_AUTH_TOKEN", "GIT_AUTH_TOKEN"), ("BUILDX_BAKE_GIT_AUTH_HEADER", "GIT_AUTH_HEADER")];

/// Where a definition lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    url: String,
}

/// What the arguments of the command line are.
#[derive(Debug)]
pub(crate) struct Called<'a> {
    pub(crate) remote: Option<Remote>,
    /// `BAKE_CMD_CONTEXT`
    pub(crate) context: &'a str,
    pub(crate) targets: &'a [String],
}

impl<'a> Called<'a> {
    /// URLs come before the names of targets.
    pub(crate) fn new(arguments: &'a [String]) -> Self {
        let local = Self { remote: None, context: "cwd://", targets: arguments };
        match arguments {
            [url, context, targets @ ..] if is_remote(url) && is_remote(context) => {
                Self { remote: Some(Remote { url: url.clone() }), context, targets }
            }
            [url, targets @ ..] if is_remote(url) => {
                Self { remote: Some(Remote { url: url.clone() }), targets, ..local }
            }
            _ => local,
        }
    }
}

/// Whether it is no path of this machine.
pub(crate) fn is_remote(place: &str) -> bool {
    place.contains("://") || place.starts_with("git@") || place.starts_with("github.com/")
}

/// Reads the files of a definition, here or there. `cwd://` files are here in any case.
pub(crate) fn read(global: &Global, called: &Called<'_>, flags: &[String]) -> BakeResult<Vec<SourceFile>> {
    let named = files::named(flags);
    let Some(Remote { url }) = &called.remote else { return files::read(&named) };
    let (here, there): (Vec<String>, Vec<String>) = named.into_iter().partition(|name| name.starts_with("cwd://"));
    let wanted = match &there[..] {
        [] => DEFAULT_FILES.map(str::to_owned).to_vec(),
        _ => there.clone(),
    };
    let failed = |error: crate::error::CliError| BakeError::new(error.text());
    let mut access = Access::default();
    for (variable, id) in set_credentials() {
        access.secrets.insert(id, SecretSource::Variable(variable.to_owned()));
    }
    let store = store::open(global).map_err(failed)?;
    let shown = redact(url);
    let mut read = match remote_files(&store, url, &wanted, access).map_err(failed)? {
        RemoteFiles::File(bytes) => vec![files::source(&shown, bytes)?],
        RemoteFiles::Tree(found) => {
            if let Some(missing) = there.iter().find(|name| !found.iter().any(|(known, _)| known == *name)) {
                return Err(BakeError::new(format!("there is no {missing} in {shown}")));
            }
            found.into_iter().map(|(name, bytes)| files::source(&name, bytes)).collect::<BakeResult<_>>()?
        }
    };
    if !here.is_empty() {
        read.extend(files::read(&here)?);
    }
    if read.is_empty() {
        return Err(
            BakeError::new(format!("couldn't find a bake definition in {shown}")).help("name a file in it with -f")
        );
    }
    Ok(read)
}

fn set_credentials() -> impl Iterator<Item = (&'static str, &'static str)> {
    CREDENTIALS.into_iter().filter(|(variable, _)| std::env::var_os(variable).is_some_and(|value| !value.is_empty()))
}

/// What builds need to fetch from a private repository.
pub(crate) fn secrets() -> BakeResult<Vec<Entry>> {
    let entry = |(variable, id)| Entry::of_text(Kind::Secret, &format!("id={id},env={variable}"));
    Ok(set_credentials().map(entry).collect::<BakeResult<Vec<_>>>()?.concat())
}

impl Remote {
    /// A directory there.
    fn directory(&self, path: &str) -> BakeResult<String> {
        if path == "." {
            return Ok(self.url.clone());
        }
        let (base, fragment) = self.url.split_once('#').unwrap_or((&self.url, ""));
        if base.contains('?') || path.starts_with("..") || path.starts_with('/') || !is_repository(base) {
            let shown = redact(&self.url);
            return Err(BakeError::new(format!("the directory {path} can't be reached from {shown}")).help(
                "a definition from elsewhere can use directories of its repository; cwd://PATH is one of yours",
            ));
        }
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        Ok(format!("{base}#{reference}:{}", clean(&format!("{directory}/{path}")).trim_start_matches('/')))
    }
}

fn is_repository(base: &str) -> bool {
    let http = base.starts_with("http://") || base.starts_with("https://");
    !http || base.strip_suffix(".git").is_some() || base.starts_with("https://github.com/")
}

/// Where a context is in the end.
pub(crate) fn place(context: &str, remote: Option<&Remote>) -> BakeResult<String> {
    match (context.strip_prefix("cwd://"), remote) {
        (Some(path), _) => Ok(clean(path)),
        (None, _) if is_remote(context) || context == "-" => Ok(context.to_owned()),
        (None, Some(remote)) => remote.directory(&clean(context)),
        (None, None) => Ok(clean(context)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_a_definition_from_elsewhere() {
        let table = [
            ("https://h/p.git", ".", "https://h/p.git"),
            ("https://h/p.git", "./a/b/", "https://h/p.git#:a/b"),
            ("https://h/p.git#main", "a", "https://h/p.git#main:a"),
            ("git@h:p#v1:sub", "a/../b", "git@h:p#v1:sub/b"),
            ("https://h/p.git", "cwd://x/", "x"),
            ("https://h/p.git", "docker-image://a", "docker-image://a"),
        ];
        for (url, context, expected) in table {
            let remote = Remote { url: url.to_owned() };
            assert_eq!(place(context, Some(&remote)).unwrap(), expected, "{url} {context}");
        }
        for (url, context) in [("https://h/p.git", "../x"), ("https://h/p.git", "/etc"), ("https://h/a.tar.gz", "a")] {
            assert!(place(context, Some(&Remote { url: url.to_owned() })).is_err(), "{url} {context}");
        }
    }

    #[test]
    fn urls_come_first() {
        let words = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let arguments = words(&["https://h/p.git", "https://h/c.git", "app"]);
        let called = Called::new(&arguments);
        assert_eq!((called.context, called.targets), ("https://h/c.git", &arguments[2..]));
        let arguments = words(&["app", "https://h/p.git"]);
        assert_eq!(Called::new(&arguments).targets, arguments);
        let arguments = words(&["git@h:p"]);
        let called = Called::new(&arguments);
        assert_eq!((called.context, called.targets.len()), ("cwd://", 0));
    }
}
