//! Git repositories, through the program `git`: it is what people's servers, credentials and submodules are tested with.
//!
//! ```text
//! resolve: ls-remote ─▶ commit        checkout: fetch (depth 1) ─▶ bare repository ─▶ git archive ─▶ hardened tar reader ─▶ layer
//! ```
//!
//! Files are not checked out by git: it writes a tar of the commit's tree, and the reader that unpacks everything else
//! unpacks that, too. So no repository has a working tree here, and what hostile ones do to working trees (hooks, links
//! at a submodule's path, a `.git` of their own) has nothing to act on. Submodules are fetched like the repository
//! itself, each into a bare repository of its own.

mod command;
mod files;
mod keep;
mod name;
mod references;
mod repository;
mod submodules;

use builder_cache::{LayerId, Snapshot};
use builder_solver::GitSource;
use serde::{Deserialize, Serialize};

use super::error::RemoteError;
use super::{Remotes, Stop, redact, remembered};
use command::Git;
use files::Tree;

/// What a reference means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The commit's id, in full.
    pub id: String,
    /// The reference in full, `refs/heads/main`; none when a commit was asked for.
    pub reference: Option<String>,
    /// The id of the annotated tag that leads to it.
    pub tag: Option<String>,
}

/// The files of a commit.
#[derive(Debug, Clone)]
pub struct Checkout {
    /// Which commit.
    pub commit: Commit,
    /// When it was committed, in seconds since the epoch.
    pub time: i64,
    layer: LayerId,
}

impl Checkout {
    /// The files as a tree of their own.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::scratch().with(self.layer)
    }

    /// The layer that holds them.
    pub fn layer(&self) -> LayerId {
        self.layer
    }
}

/// The layer of files that were unpacked before.
#[derive(Debug, Serialize, Deserialize)]
struct Unpacked {
    layer: LayerId,
    time: i64,
}

/// What is asked for: the reference, or else the commit that it must be.
pub(super) fn wanted(source: &GitSource) -> Option<&str> {
    let checksum = source.checksum.as_deref().filter(|checksum| name::is_commit(checksum));
    source.reference.as_deref().filter(|reference| !reference.is_empty()).or(checksum)
}

/// Asks the remote what a source means now.
pub(super) fn resolve(remotes: &Remotes, source: &GitSource, stop: Stop<'_>) -> Result<Commit, RemoteError> {
    name::check_remote(&source.remote)?;
    let wanted = wanted(source);
    if let Some(reference) = wanted {
        name::check_reference(reference)?;
        if name::is_commit(reference) {
            return Ok(Commit { id: reference.to_owned(), reference: None, tag: None });
        }
    }
    let git = Git::new(remotes, &source.remote, &source.remote, stop)?;
    references::resolve(&git, wanted)
}

/// Refuses a commit that is not the one that the source insists on.
pub(super) fn check(source: &GitSource, commit: &Commit) -> Result<(), RemoteError> {
    let Some(checksum) = source.checksum.as_deref() else { return Ok(()) };
    name::check_checksum(checksum)?;
    let ids = [Some(&commit.id), commit.tag.as_ref()];
    if ids.into_iter().flatten().any(|id| id.starts_with(checksum)) {
        return Ok(());
    }
    Err(RemoteError::CommitDiffers {
        remote: redact(&source.remote),
        expected: checksum.to_owned(),
        reference: wanted(source).unwrap_or("HEAD").to_owned(),
        found: commit.id.clone(),
    })
}

/// The files of a commit as a layer.
pub(super) fn checkout(
    remotes: &Remotes,
    source: &GitSource,
    commit: &Commit,
    stop: Stop<'_>,
) -> Result<Checkout, RemoteError> {
    let subdir = name::clean_subdir(source.subdir.as_deref().unwrap_or_default())?;
    // As in BuildKit, what is not the whole repository is no repository.
    let keep = source.keep_git_dir && subdir.is_empty();
    let store = remotes.store();
    let flags = format!("keep={keep} submodules={} times={}", source.submodules, source.commit_times);
    let names = [&commit.reference, &commit.tag].map(|name| name.as_deref().filter(|_| keep));
    // Names hold no line breaks.
    let kept = names.into_iter().flatten().collect::<Vec<_>>().join("\n");
    let question = [&source.remote, &commit.id, kept.as_str(), &subdir, &flags];
    let place = remembered::place(&remotes.directory("trees"), &question);
    if let Some(Unpacked { layer, time }) = remembered::read(&place)
        && store.layer(&layer).is_ok()
    {
        return Ok(Checkout { commit: commit.clone(), time, layer });
    }
    let active = store.new_layer()?;
    let before = crate::op::RootAttributes::of(&active).map_err(layer_error)?;
    let tree =
        Tree { remotes, main: &source.remote, commit_times: source.commit_times, submodules: source.submodules, stop };
    let time = if subdir.is_empty() {
        tree.write(&source.remote, commit, active.upper(), keep)?
    } else {
        tree.write_subdir(&source.remote, commit, &subdir, &active)?
    };
    let layer = crate::op::commit_upper(active, before).map_err(layer_error)?;
    remembered::write(&place, &Unpacked { layer, time })?;
    Ok(Checkout { commit: commit.clone(), time, layer })
}

fn layer_error(error: crate::op::OpError) -> RemoteError {
    match error {
        crate::op::OpError::Store(error) => RemoteError::Store(error),
        crate::op::OpError::Write { path, source } => RemoteError::Write { path, source },
        other => RemoteError::Write { path: "the layer".into(), source: std::io::Error::other(other.to_string()) },
    }
}
