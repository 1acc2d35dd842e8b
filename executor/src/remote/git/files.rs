//! A commit's files → a directory.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use builder_cache::ActiveLayer;
use builder_image::layer::{UnpackOptions, unpack};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::command::Git;
use super::references::near;
use super::repository::Repository;
use super::submodules::Submodules;
use super::{Commit, keep};
use crate::remote::error::RemoteError;
use crate::remote::{Remotes, Stop, redact};

/// How deep submodules of submodules go.
const DEPTH: usize = 16;

/// How many submodules a repository may have in all.
const MOST: usize = 1000;

/// How files are written.
pub(super) struct Tree<'a> {
    pub(super) remotes: &'a Remotes,
    /// The repository that was asked for; its secrets are not for all of its submodules.
    pub(super) main: &'a str,
    pub(super) commit_times: bool,
    pub(super) submodules: bool,
    pub(super) stop: Stop<'a>,
}

/// A submodule that is still to be written.
struct Waiting {
    remote: String,
    commit: String,
    /// Where its files go, relative to the root.
    path: Vec<u8>,
    depth: usize,
    /// Where its repository goes below `.git`, if that is kept.
    place: Option<String>,
}

/// Path and commit of each submodule.
type Links = Vec<(Vec<u8>, String)>;

impl Tree<'_> {
    /// Writes everything to `root`; when it was committed, in seconds since the epoch.
    pub(super) fn write(&self, remote: &str, commit: &Commit, root: &Path, keep: bool) -> Result<i64, RemoteError> {
        self.write_all(remote, commit, root, "", keep)
    }

    /// Writes a directory of the commit to a layer.
    pub(super) fn write_subdir(
        &self,
        remote: &str,
        commit: &Commit,
        subdir: &str,
        active: &ActiveLayer,
    ) -> Result<i64, RemoteError> {
        let whole = active.work().join("tree");
        let failed = |path: &Path, source| RemoteError::Write { path: path.to_owned(), source };
        fs::create_dir(&whole).map_err(|source| failed(&whole, source))?;
        let time = self.write_all(remote, commit, &whole, subdir, false)?;
        move_directory(&whole, subdir, active.upper()).map_err(|source| failed(&whole.join(subdir), source))?;
        fs::remove_dir_all(&whole).map_err(|source| failed(&whole, source))?;
        Ok(time)
    }

    fn write_all(
        &self,
        remote: &str,
        commit: &Commit,
        root: &Path,
        subdir: &str,
        keep: bool,
    ) -> Result<i64, RemoteError> {
        let failed = |source| RemoteError::Write { path: root.to_owned(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(root, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let place = keep.then(|| ".git".to_owned());
        let first = Waiting { remote: remote.to_owned(), commit: commit.id.clone(), path: Vec::new(), depth: 0, place };
        let mut waiting = vec![first];
        let (mut count, mut time) = (0, 0);
        while let Some(next) = waiting.pop() {
            count += 1;
            if count > MOST || next.depth > DEPTH {
                let path = String::from_utf8_lossy(&next.path).into_owned();
                let reason = format!("is one too many: at most {MOST}, nested {DEPTH} deep, are fetched");
                return Err(RemoteError::Submodule { path, remote: redact(remote), reason });
            }
            let is_first = next.depth == 0;
            let git = Git::new(self.remotes, &next.remote, self.main, self.stop)?;
            let repository = Repository::open(&git, &next.commit)?;
            let plain = Commit { id: next.commit.clone(), reference: None, tag: None };
            let wanted = if is_first { commit } else { &plain };
            repository.fetch(wanted, keep && is_first).map_err(|error| in_submodule(error, &next, remote))?;
            if is_first {
                time = repository.time(&commit.id)?;
            }
            let below = if is_first { subdir } else { "" };
            if !below.is_empty() {
                check_directory(&repository, &next.commit, below)?;
            }
            let links = links(&repository, &next.commit, below)?;
            self.unpack(&repository, &next, &fd, below)?;
            if let Some(place) = &next.place {
                keep::write(&repository, wanted, root, &fd, place, &next.path)?;
            }
            if self.submodules && !links.is_empty() {
                Self::enter(&repository, &next, links, &mut waiting)?;
            }
        }
        Ok(time)
    }

    /// Streams the commit's files through the tar reader.
    fn unpack(
        &self,
        repository: &Repository<'_, '_>,
        next: &Waiting,
        root: &OwnedFd,
        below: &str,
    ) -> Result<(), RemoteError> {
        let git = repository.git();
        // A tree has no time, and its files get that of now.
        let tree = if self.commit_times { next.commit.clone() } else { format!("{}^{{tree}}", next.commit) };
        let mut command = repository.local()?;
        command.args(["archive", "--format=tar", &tree]);
        if !below.is_empty() {
            command.args(["--", below]);
        }
        let mut running = git.start(&mut command)?;
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let options = UnpackOptions { owner: Some(owner), ..UnpackOptions::default() };
        let path = Path::new(std::ffi::OsStr::from_bytes(&next.path));
        let unpacked = unpack(running.output(), root.as_fd(), path, &options);
        if (self.stop)() {
            return Err(RemoteError::Cancelled);
        }
        // When git failed, the tar that it did not finish is no news.
        let (success, stderr) = match &unpacked {
            Ok(_) => running.finish().map_err(|error| git.broken(&error))?,
            Err(_) => (true, String::new()),
        };
        if !success {
            return Err(git.error(git.explain(&stderr)));
        }
        unpacked.map(drop).map_err(|source| RemoteError::Unpack { remote: git.shown(), source })
    }

    /// Puts the submodules of a commit on the list.
    fn enter(
        repository: &Repository<'_, '_>,
        parent: &Waiting,
        links: Links,
        waiting: &mut Vec<Waiting>,
    ) -> Result<(), RemoteError> {
        let known = Submodules::read(repository, &parent.commit)?;
        for (path, commit) in links {
            let Some(found) = known.find(&path, &parent.remote)? else { continue };
            let full = if parent.path.is_empty() { path } else { [&parent.path[..], b"/", &path].concat() };
            let place = parent.place.as_ref().map(|place| format!("{place}/modules/{}", found.name));
            waiting.push(Waiting { remote: found.remote, commit, path: full, depth: parent.depth + 1, place });
        }
        Ok(())
    }
}

/// Moves a directory of a tree to where an empty one is. Links in the tree are not followed, whatever it was unpacked
/// from: git's own objects can hold a link and a directory of one name.
fn move_directory(tree: &Path, directory: &str, target: &Path) -> std::io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(tree, flags, Mode::empty())?;
    let (above, name) = directory.rsplit_once('/').unwrap_or((".", directory));
    let above = open_beneath(&root, above)?;
    let stat = rustix::fs::statat(&above, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR.into());
    }
    Ok(rustix::fs::renameat(&above, name, CWD, target)?)
}

/// Opens a directory of a tree without following a link.
pub(super) fn open_beneath(root: &OwnedFd, path: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

/// The submodules of a commit. Refuses what git itself would never check out.
fn links(repository: &Repository<'_, '_>, commit: &str, below: &str) -> Result<Links, RemoteError> {
    let git = repository.git();
    let mut command = repository.local()?;
    command.args(["ls-tree", "-r", "-z", "--full-tree", commit]);
    if !below.is_empty() {
        command.args(["--", below]);
    }
    let listing = git.ok(&mut command)?;
    let mut links = Vec::new();
    for entry in listing.split(|byte| *byte == 0) {
        // mode SP type SP id TAB path
        let Some(tab) = entry.iter().position(|byte| *byte == b'\t') else { continue };
        let (about, path) = (&entry[..tab], &entry[tab + 1..]);
        let reserved = |part: &[u8]| part.eq_ignore_ascii_case(b".git") || matches!(part, b"" | b"." | b"..");
        if path.split(|byte| *byte == b'/').any(reserved) {
            let path = String::from_utf8_lossy(path);
            return Err(git.error(format!("the commit {commit} holds the path `{path}`, which no repository may have")));
        }
        if about.starts_with(b"160000 ") {
            let id = about.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
            links.push((path.to_vec(), String::from_utf8_lossy(id).into_owned()));
        }
    }
    Ok(links)
}

/// Refuses a directory that the commit does not have, or that is something else.
fn check_directory(repository: &Repository<'_, '_>, commit: &str, subdir: &str) -> Result<(), RemoteError> {
    let expression = |path: &str| format!("{commit}:{path}");
    if repository.kind(&expression(subdir))?.as_deref() == Some("tree") {
        return Ok(());
    }
    // The part of the path that is there.
    let mut parent = String::new();
    let mut hint = String::new();
    for part in subdir.split('/') {
        let path = if parent.is_empty() { part.to_owned() } else { format!("{parent}/{part}") };
        match repository.kind(&expression(&path))?.as_deref() {
            Some("tree") => parent = path,
            Some("blob") => {
                hint = format!(": `{path}` is a file or a link");
                break;
            }
            _ => {
                hint = near(part, repository.directories(&expression(&parent))?);
                break;
            }
        }
    }
    let (remote, directory) = (repository.git().shown(), subdir.to_owned());
    Err(RemoteError::NoDirectory { remote, directory, commit: commit.to_owned(), hint })
}

fn in_submodule(error: RemoteError, next: &Waiting, remote: &str) -> RemoteError {
    if next.depth == 0 || matches!(error, RemoteError::Cancelled | RemoteError::NoGit(_) | RemoteError::Store(_)) {
        return error;
    }
    RemoteError::Submodule {
        path: String::from_utf8_lossy(&next.path).into_owned(),
        remote: redact(remote),
        reason: format!("can't be had: {error}"),
    }
}
