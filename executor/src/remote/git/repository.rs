//! The bare repository in the store that holds what was fetched of one remote.
//!
//! One process at a time works in it, under a lock that its git processes share: should the builder be killed, the next
//! one waits until they are gone as well. Everything that was fetched has a reference of its own
//! (`refs/builder/<id>`), so that the server is told what is here already and nothing of it counts as garbage.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use builder_image::http::url;
use rustix::fs::FlockOperation;

use super::command::{Git, Ran};
use super::{Commit, name};
use crate::remote::error::RemoteError;
use crate::remote::{pause, remembered};

/// Written last when a repository is made; it also undoes what a repository says of its own archives.
const ATTRIBUTES: &str = "* -export-ignore -export-subst\n";

/// How long to wait before a lock is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// What a git process that was killed leaves behind, and the next one would stumble over.
const LEFTOVERS: [&str; 5] = ["shallow.lock", "config.lock", "packed-refs.lock", "HEAD.lock", "FETCH_HEAD.lock"];

/// What git says when a server does not give out commits by their ids, or no part of a history.
const REFUSALS: [&str; 6] =
    ["not our ref", "unadvertised object", "shallow", "--depth", "couldn't find remote ref", "does not allow request"];

/// What git says when the repository here is damaged.
const DAMAGES: [&str; 7] = [
    "not a git repository",
    "corrupt",
    "bad object",
    "unable to read",
    "did not send all necessary",
    "is too small",
    "File exists",
];

/// A repository that is locked.
pub(super) struct Repository<'g, 'a> {
    git: &'g Git<'a>,
    path: PathBuf,
    lock: File,
}

impl<'g, 'a> Repository<'g, 'a> {
    /// Locks the repository of the remote, and makes it when it is not there. `id` tells its hash function.
    pub(super) fn open(git: &'g Git<'a>, id: &str) -> Result<Self, RemoteError> {
        let format = if id.len() == 64 { "sha256" } else { "sha1" };
        let remote = url::without_credentials(git.remote());
        let path = remembered::place(&git.remotes().directory("git"), &[&remote, format]);
        let failed = |source| RemoteError::Write { path: path.clone(), source };
        let lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.with_extension("lock"))
            .map_err(failed)?;
        loop {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => pause(LOCK_PAUSE, git.stop)?,
                Err(error) => return Err(failed(error.into())),
            }
        }
        // When it was last used.
        let _ = lock.set_modified(std::time::SystemTime::now());
        let repository = Self { git, path, lock };
        repository.make(format)?;
        Ok(repository)
    }

    fn make(&self, format: &str) -> Result<(), RemoteError> {
        let failed = |source| RemoteError::Write { path: self.path.clone(), source };
        let info = self.path.join("info");
        if fs::read(info.join("attributes")).is_ok_and(|text| text == ATTRIBUTES.as_bytes()) {
            self.sweep();
            return Ok(());
        }
        self.remove()?;
        let mut command = self.hold(self.git.local(None))?;
        command.args(["init", "--quiet", "--bare", "--template=", &format!("--object-format={format}"), "--"]);
        self.git.ok(command.arg(&self.path))?;
        fs::create_dir_all(&info).map_err(failed)?;
        fs::write(info.join("attributes"), ATTRIBUTES).map_err(failed)
    }

    /// Removes what processes left that were killed; nobody else works here.
    fn sweep(&self) {
        for name in LEFTOVERS {
            let _ = fs::remove_file(self.path.join(name));
        }
        for (directory, front, end) in [("refs/builder", "", ".lock"), ("objects/pack", "tmp_", "")] {
            let entries = fs::read_dir(self.path.join(directory)).into_iter().flatten().flatten();
            for entry in entries {
                let name = entry.file_name();
                if name.to_str().is_some_and(|name| name.starts_with(front) && name.ends_with(end)) {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }

    fn remove(&self) -> Result<(), RemoteError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(RemoteError::Write { path: self.path.clone(), source: error })
            }
            _ => Ok(()),
        }
    }

    /// The process keeps the lock, too: what stands in for its input is the locked file, which is empty.
    fn hold(&self, mut command: Command) -> Result<Command, RemoteError> {
        let lock = self.lock.try_clone();
        let lock = lock.map_err(|source| RemoteError::Write { path: self.path.clone(), source })?;
        command.stdin(Stdio::from(lock));
        Ok(command)
    }

    /// A command on the repository that talks to no server.
    pub(super) fn local(&self) -> Result<Command, RemoteError> {
        self.hold(self.git.local(Some(&self.path)))
    }

    pub(super) fn git(&self) -> &'g Git<'a> {
        self.git
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a commit is here, or a tag that leads to one.
    fn has(&self, id: &str) -> Result<bool, RemoteError> {
        let mut command = self.local()?;
        command.args(["cat-file", "-e", &format!("{id}^{{commit}}")]);
        Ok(self.git.run(&mut command)?.success)
    }

    /// Makes sure that a commit is here; with `keep` the tag that leads to it, too.
    pub(super) fn fetch(&self, commit: &Commit, keep: bool) -> Result<(), RemoteError> {
        let ids: Vec<&str> = match &commit.tag {
            Some(tag) if keep => vec![&commit.id, tag],
            _ => vec![&commit.id],
        };
        for id in ids {
            if self.has(id)? && self.has_reference(id)? {
                continue;
            }
            match self.fetch_object(id, commit) {
                Err(RemoteError::Git { reason, .. }) if DAMAGES.iter().any(|sign| reason.contains(sign)) => {
                    // What is here is damaged, and all of it can be had again.
                    self.remove()?;
                    self.make(if id.len() == 64 { "sha256" } else { "sha1" })?;
                    self.fetch_object(id, commit)?;
                }
                result => result?,
            }
        }
        Ok(())
    }

    fn has_reference(&self, id: &str) -> Result<bool, RemoteError> {
        let mut command = self.local()?;
        command.args(["show-ref", "--verify", "--quiet", &reference(id)]);
        Ok(self.git.run(&mut command)?.success)
    }

    /// Asks for the object itself; of a server that does not give it out for its reference, and then for everything.
    fn fetch_object(&self, id: &str, commit: &Commit) -> Result<(), RemoteError> {
        let own = format!("+{id}:{}", reference(id));
        let ran = self.fetch_from(&["--depth=1", "--no-tags"], &[&own])?;
        if ran.success {
            return Ok(());
        }
        if !REFUSALS.iter().any(|sign| ran.stderr.contains(sign)) {
            return Err(self.git.error(self.git.explain(&ran.stderr)));
        }
        if let Some(name) = &commit.reference {
            let by_name = format!("+{name}:refs/fetched/reference");
            let shallow = self.fetch_from(&["--depth=1", "--no-tags"], &[&by_name])?;
            if shallow.success && self.has(id)? {
                return self.name(id);
            }
        }
        let everything = ["+refs/heads/*:refs/fetched/heads/*", "+refs/tags/*:refs/fetched/tags/*"];
        let deepen: &[&str] = if self.path.join("shallow").exists() { &["--unshallow"] } else { &[] };
        let all = self.fetch_from(&[deepen, &["--no-tags"]].concat(), &everything)?;
        if !all.success {
            return Err(self.git.error(self.git.explain(&all.stderr)));
        }
        if self.has(id)? {
            return self.name(id);
        }
        Err(RemoteError::NoReference {
            remote: self.git.shown(),
            reference: commit.reference.clone().unwrap_or_else(|| id.to_owned()),
            hint: match &commit.reference {
                Some(_) => format!(" at {id} any more: it moved while it was fetched, build again"),
                None => ": no branch or tag has it in its history".to_owned(),
            },
        })
    }

    fn name(&self, id: &str) -> Result<(), RemoteError> {
        let mut command = self.local()?;
        command.args(["update-ref", &reference(id), id]);
        self.git.ok(&mut command).map(drop)
    }

    fn fetch_from(&self, options: &[&str], what: &[&str]) -> Result<Ran, RemoteError> {
        let mut command = self.hold(self.git.network(Some(&self.path))?)?;
        command.args(["fetch", "--quiet", "--no-write-fetch-head", "--no-recurse-submodules"]).args(options);
        command.args(["--", self.git.remote()]).args(what);
        self.git.run(&mut command)
    }

    /// What kind of thing is at a path of a commit (`commit:a/b`): `tree`, `blob` or nothing.
    pub(super) fn kind(&self, expression: &str) -> Result<Option<String>, RemoteError> {
        let mut command = self.local()?;
        let ran = self.git.run(command.args(["cat-file", "-t", expression]))?;
        Ok(ran.success.then(|| String::from_utf8_lossy(&ran.stdout).trim().to_owned()))
    }

    /// When a commit was made, in seconds since the epoch.
    pub(super) fn time(&self, id: &str) -> Result<i64, RemoteError> {
        let mut command = self.local()?;
        // A tag's id is as good as a commit's.
        let commit = format!("{id}^{{commit}}");
        let text =
            self.git.ok(command.args(["show", "--no-patch", "--no-show-signature", "--format=%ct", &commit, "--"]))?;
        let text = String::from_utf8_lossy(&text);
        text.trim().parse().map_err(|_| self.git.error(format!("the commit {id} has no time")))
    }

    /// The directories in a tree (`commit:a`).
    pub(super) fn directories(&self, expression: &str) -> Result<Vec<String>, RemoteError> {
        let mut command = self.local()?;
        let ran = self.git.run(command.args(["ls-tree", "-d", "-z", "--name-only", expression]))?;
        let names = ran.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }
}

/// The reference that keeps an object here.
pub(super) fn reference(id: &str) -> String {
    debug_assert!(name::is_commit(id), "only ids are kept");
    format!("refs/builder/{id}")
}
