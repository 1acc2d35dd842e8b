//! `--keep-git-dir`: a `.git` in which `git log`, `git describe` and `git status` work.
//!
//! It is made by git from the repository in the store: one commit without its history, its branch or tag, an index,
//! and the remote's address without a password. Submodules have theirs below `.git/modules`, as git itself keeps them.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::Commit;
use super::files::open_beneath;
use super::repository::{Repository, reference};
use crate::remote::error::RemoteError;

/// Writes the repository of what was unpacked at `path` of `root` to `place`, `.git` or a directory below it.
pub(super) fn write(
    repository: &Repository<'_, '_>,
    commit: &Commit,
    root: &Path,
    tree: &OwnedFd,
    place: &str,
    path: &[u8],
) -> Result<(), RemoteError> {
    let git = repository.git();
    let directory = root.join(place);
    let failed = |source| RemoteError::Write { path: directory.clone(), source };
    fs::create_dir_all(&directory).map_err(failed)?;
    let format = if commit.id.len() == 64 { "sha256" } else { "sha1" };
    let mut init = git.local(Some(&directory));
    git.ok(init.args(["init", "--quiet", "--template=", &format!("--object-format={format}")]))?;

    let (from, to) = match (&commit.tag, &commit.reference) {
        (Some(tag), Some(name)) => (tag, name.clone()),
        (None, Some(name)) => (&commit.id, name.clone()),
        (_, None) => (&commit.id, reference(&commit.id)),
    };
    let mut fetch = git.between(&directory);
    fetch.args(["fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--update-head-ok", "--"]);
    fetch.arg(url_of(repository.path())).arg(format!("+{}:{to}", reference(from)));
    git.ok(&mut fetch)?;
    let run = |args: &[&str]| git.ok(git.local(Some(&directory)).args(args)).map(drop);
    run(&["update-ref", "--no-deref", "HEAD", &commit.id])?;
    if commit.reference.is_none() {
        run(&["update-ref", "-d", &reference(&commit.id)])?;
    }
    run(&["read-tree", "HEAD"])?;
    run(&["config", "core.bare", "false"])?;
    run(&["config", "remote.origin.url", &git.shown()])?;
    run(&["config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"])?;
    if path.is_empty() {
        return Ok(());
    }
    // The submodule says where its repository is, and the repository where the submodule is.
    let up = "../".repeat(path.split(|byte| *byte == b'/').count());
    let down = "../".repeat(place.split('/').count());
    let files = [down.as_bytes(), path].concat();
    let mut worktree = git.local(Some(&directory));
    worktree.args(["config", "core.worktree"]).arg(std::ffi::OsStr::from_bytes(&files));
    git.ok(&mut worktree)?;
    let write = || -> std::io::Result<()> {
        // A link in the tree must not lead this elsewhere.
        let parent = open_beneath(tree, path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = rustix::fs::openat(&parent, ".git", flags, Mode::from_raw_mode(0o644))?;
        fs::File::from(link).write_all(format!("gitdir: {up}{place}\n").as_bytes())
    };
    let link = root.join(std::ffi::OsStr::from_bytes(path)).join(".git");
    write().map_err(|source| RemoteError::Write { path: link, source })
}

/// A repository of the store as a URL: what is read through a URL is never linked to, always copied.
fn url_of(path: &Path) -> std::ffi::OsString {
    let mut url = std::ffi::OsString::from("file://");
    url.push(path);
    url
}
