//! Sources of `ADD` that come over the network.

use builder_solver::address::redact;
use builder_solver::{GitSource, HttpSource};

use crate::ast::Word;
use crate::git_address::GitAddress;
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::url;

/// Where a source of `ADD` or `COPY` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In a tree of files.
    Path,
    /// Behind a URL.
    Url,
    /// In a git repository.
    Git(GitAddress),
}

/// Tells what a source is. With `git` every `http` address is one of a repository.
pub(super) fn place(source: &str, git: bool, word: &Word) -> Result<Place, PlanError> {
    let fail = |kind| PlanError::new(kind, word.span.clone());
    // Only what has one of these can be remote, and most sources are files.
    if !source.contains(['@', ':']) {
        return Ok(Place::Path);
    }
    match GitAddress::parse_known(source, git) {
        Ok(Some(address)) => return Ok(Place::Git(address)),
        Ok(None) => {}
        Err(error) => return Err(fail(PlanErrorKind::GitAddress(error))),
    }
    match url::protocol(source) {
        Some("http" | "https") => Ok(Place::Url),
        Some(protocol) => {
            let kind = PlanErrorKind::Protocol { address: redact(source), protocol: protocol.to_owned() };
            let help = "`http`, `https` and the addresses of git repositories are".to_owned();
            Err(fail(kind).help(help))
        }
        None => Ok(Place::Path),
    }
}

/// What `ADD` of a URL downloads.
pub(super) fn http(address: &str, checksum: Option<(String, &Word)>) -> Result<HttpSource, PlanError> {
    let checksum = match checksum {
        None => None,
        Some((text, _)) if is_sha256(&text) => Some(text),
        Some((text, word)) => {
            let help = "give `sha256:` and 64 hexadecimal digits in lower case, as `sha256sum` prints them".to_owned();
            return Err(PlanError::new(PlanErrorKind::Checksum(text), word.span.clone()).help(help));
        }
    };
    let url = address.split('#').next().unwrap_or_default().to_owned();
    Ok(HttpSource { url, name: url::file_name(address), checksum })
}

/// What `ADD` of a repository checks out: flags and address have to agree.
pub(super) fn git(
    mut address: GitAddress,
    keep_git_dir: Option<bool>,
    checksum: Option<(String, &Word)>,
    word: &Word,
) -> Result<GitSource, PlanError> {
    match (keep_git_dir, address.keep_git_dir) {
        (Some(flag), Some(query)) if flag != query => {
            return Err(PlanError::new(PlanErrorKind::KeepGitDir, word.span.clone()));
        }
        (flag, query) => address.keep_git_dir = query.or(flag),
    }
    if let Some((flag, flag_word)) = checksum {
        let is_commit = (1..=64).contains(&flag.len()) && flag.bytes().all(|b| b.is_ascii_hexdigit());
        match &address.checksum {
            _ if !is_commit => {
                let help = "give a commit, or the beginning of one".to_owned();
                return Err(PlanError::new(PlanErrorKind::Checksum(flag), flag_word.span.clone()).help(help));
            }
            Some(query) if *query != flag => {
                let kind = PlanErrorKind::GitChecksum { flag, address: query.clone() };
                return Err(PlanError::new(kind, flag_word.span.clone()));
            }
            _ => address.checksum = Some(flag),
        }
    }
    Ok(address.source())
}

fn is_sha256(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
