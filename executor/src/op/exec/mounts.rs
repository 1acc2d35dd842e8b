//! What a step sees beside its root: its `--mount`s, secrets as variables, more host names.
//!
//! Everything is prepared as trees that are attached nowhere; the sandbox attaches what the step asks for. Mount points
//! that the image lacks are made for the step and removed after it, so nothing of a mount is in the layer.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use builder_cache::{ActiveLayer, CacheDirectory, Snapshot};
use builder_solver::{Exec, Mount, MountKind, SecretFile, TaskInput};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::cache::Caches;
use super::files;
use super::memory::{Attributes, Memory};
use crate::agent::AgentServer;
use crate::op::{Grant, Inner, OpError};
use crate::rootfs::{Purpose, RootMount, in_root};
use crate::sandbox::{SpecOptions, TreePath, mount};
use crate::secret::Secret;

/// Names the agent's socket to programs.
const SSH_AUTH_SOCK: &str = "SSH_AUTH_SOCK";

/// What was prepared; it is there as long as this value is.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    trees: Vec<Tree>,
    sources: HashMap<PathBuf, TreePath>,
    servers: Vec<AgentServer>,
    /// Values that must not show in the step's output.
    pub(super) hidden: Vec<Secret>,
}

/// Where results, caches and secrets come from.
pub(super) struct Machine<'a> {
    pub(super) inner: &'a Inner,
    pub(super) grant: &'a Grant,
}

/// Something to mount, or to mount parts of.
#[derive(Debug)]
enum Tree {
    Result(Box<ResultTree>),
    Cache { tree: OwnedFd, _directory: Arc<CacheDirectory> },
    Memory(Memory),
}

/// A result, and where writes to it go until they are thrown away. The mount goes before the directory.
#[derive(Debug)]
struct ResultTree {
    root: RootMount,
    _changes: Option<ActiveLayer>,
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Result(result) => result.root.as_fd(),
            Self::Cache { tree, .. } => tree.as_fd(),
            Self::Memory(memory) => memory.as_fd(),
        }
    }
}

/// Whether `exec` needs anything of this.
pub(super) fn needed(exec: &Exec) -> bool {
    !(exec.mounts.is_empty() && exec.secret_env.is_empty() && exec.hosts.is_empty() && exec.hostname.is_none())
}

impl Mounted {
    /// Prepares everything, and adds it to the options of the specification.
    pub(super) fn prepare(
        machine: &Machine<'_>,
        exec: &Exec,
        inputs: &[TaskInput<Snapshot>],
        caches: &Caches,
        root: &RootMount,
        options: &mut SpecOptions,
    ) -> Result<Self, OpError> {
        let mut preparing =
            Preparing { machine, inputs, mounted: Self::default(), memory: None, results: HashMap::new(), options };
        if !exec.hosts.is_empty() || exec.hostname.is_some() {
            preparing.hosts(exec)?;
        }
        for (position, mount) in in_order(&exec.mounts) {
            preparing.mount(mount, caches.get(&position), root)?;
        }
        if let Some(first) = exec.mounts.iter().find(|mount| matches!(mount.kind, MountKind::Ssh(_))) {
            preparing.set_variable(SSH_AUTH_SOCK, &first.target);
        }
        for secret in &exec.secret_env {
            match machine.grant.secrets.get(&secret.id)? {
                Some(value) => preparing.secret_variable(&secret.name, &secret.id, value)?,
                None if secret.required => return Err(OpError::NoSecret { id: secret.id.clone() }),
                None => {}
            }
        }
        Ok(preparing.finish())
    }

    /// The trees, in the order in which the sources name them.
    pub(super) fn trees(&self) -> Vec<BorrowedFd<'_>> {
        self.trees.iter().map(AsFd::as_fd).collect()
    }

    /// What of which tree is seen where. To be taken once.
    pub(super) fn take_sources(&mut self) -> HashMap<PathBuf, TreePath> {
        std::mem::take(&mut self.sources)
    }
}

/// Parents before what is mounted in them. Of several mounts at one place the last one is seen.
fn in_order(mounts: &[Mount]) -> Vec<(usize, &Mount)> {
    let mut ordered: Vec<(usize, &Mount)> = mounts.iter().enumerate().collect();
    ordered.sort_by_key(|(position, mount)| (components(&mount.target), usize::MAX - position));
    ordered.dedup_by(|next, first| components(&next.1.target) == components(&first.1.target));
    ordered
}

fn components(path: &str) -> Vec<&str> {
    path.split('/').filter(|name| !name.is_empty()).collect()
}

/// The mounts as far as they are prepared.
struct Preparing<'a> {
    machine: &'a Machine<'a>,
    inputs: &'a [TaskInput<Snapshot>],
    mounted: Mounted,
    memory: Option<Memory>,
    /// The tree of each input that was mounted read-only.
    results: HashMap<usize, usize>,
    options: &'a mut SpecOptions,
}

/// The tree in memory is the last one: its number is known when all others are there.
const MEMORY: usize = usize::MAX;

impl Preparing<'_> {
    fn finish(mut self) -> Mounted {
        if let Some(memory) = self.memory.take() {
            for source in self.mounted.sources.values_mut().filter(|source| source.tree == MEMORY) {
                source.tree = self.mounted.trees.len();
            }
            self.mounted.trees.push(Tree::Memory(memory));
        }
        self.mounted
    }

    fn memory(&mut self) -> Result<&mut Memory, OpError> {
        match &mut self.memory {
            Some(memory) => Ok(memory),
            none => Ok(none.insert(Memory::new()?)),
        }
    }

    fn hosts(&mut self, exec: &Exec) -> Result<(), OpError> {
        let attributes = Attributes { mode: 0o644, uid: 0, gid: 0 };
        let path = self.memory()?.file(files::hosts(exec).as_bytes(), attributes)?;
        // The mount is among those of every step; only what it shows is another file.
        self.mounted.sources.insert(PathBuf::from("/etc/hosts"), TreePath { tree: MEMORY, path });
        if let Some(name) = &exec.hostname {
            self.options.hostname.clone_from(name);
        }
        Ok(())
    }

    fn set_variable(&mut self, name: &str, value: &str) {
        let set = |variable: &String| variable.split_once('=').is_some_and(|(known, _)| known == name);
        self.options.env.retain(|variable| !set(variable));
        self.options.env.push(format!("{name}={value}"));
    }

    fn secret_variable(&mut self, name: &str, id: &str, value: Secret) -> Result<(), OpError> {
        let text = std::str::from_utf8(value.bytes()).ok().filter(|text| !text.contains('\0'));
        let text = text.ok_or_else(|| OpError::SecretVariable { id: id.to_owned(), name: name.to_owned() })?;
        self.set_variable(name, text);
        self.mounted.hidden.push(value);
        Ok(())
    }

    fn mount(&mut self, mount: &Mount, cache: Option<&Arc<CacheDirectory>>, root: &RootMount) -> Result<(), OpError> {
        let access = if mount.read_only { "ro" } else { "rw" };
        match &mount.kind {
            MountKind::Bind { input, source } => self.bind(mount, *input, source, &["bind", access]),
            MountKind::Cache(_) => {
                let directory =
                    cache.ok_or_else(|| failed(mount, "find the directory of", io::ErrorKind::NotFound.into()))?;
                let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
                let tree = open_tree(rustix::fs::CWD, directory.path(), flags)
                    .map_err(|error| failed(mount, "bind the directory of", error.into()))?;
                self.mounted.trees.push(Tree::Cache { tree, _directory: Arc::clone(directory) });
                let tree = self.mounted.trees.len() - 1;
                self.show(mount, TreePath { tree, path: PathBuf::from("/") }, &["bind", access]);
                Ok(())
            }
            MountKind::Tmpfs { size } => {
                self.temporary(mount, *size, access, root);
                Ok(())
            }
            MountKind::Secret(secret) => self.secret(mount, secret),
            MountKind::Ssh(agent) => self.agent(mount, agent),
        }
    }

    /// Adds the mount to the specification.
    fn show(&mut self, shown: &Mount, source: TreePath, options: &[&str]) {
        let target = PathBuf::from(&shown.target);
        self.options.mounts.push(mount("bind", Path::new("/"), &target, options));
        self.mounted.sources.insert(target, source);
    }

    fn bind(&mut self, mount: &Mount, input: usize, source: &str, options: &[&str]) -> Result<(), OpError> {
        let from = self.inputs.get(input).ok_or(OpError::Inputs {
            op: "exec",
            expected: input + 1,
            found: self.inputs.len(),
        })?;
        let tree = match self.results.get(&input) {
            Some(tree) if mount.read_only => *tree,
            _ => {
                let store = &self.machine.inner.store;
                let layer = if mount.read_only { None } else { Some(store.new_layer()?) };
                let upper = layer.as_ref().map(|layer| (layer.upper(), layer.work()));
                let root = self.machine.inner.driver.mount(store, &from.output, upper, Purpose::Files)?;
                self.mounted.trees.push(Tree::Result(Box::new(ResultTree { root, _changes: layer })));
                let tree = self.mounted.trees.len() - 1;
                if mount.read_only {
                    self.results.insert(input, tree);
                }
                tree
            }
        };
        if let Some(found) = self.mounted.trees.get(tree)
            && let Err(error) = in_root::open(found, Path::new(source), OFlags::PATH, Mode::empty())
        {
            if error.kind() == io::ErrorKind::NotFound {
                let (path, target) = (source.to_owned(), mount.target.clone());
                return Err(OpError::NoMountSource { path, target, from: from.vertex.origin.stage.clone() });
            }
            return Err(failed(mount, &format!("open {source} for"), error));
        }
        self.show(mount, TreePath { tree, path: PathBuf::from(source) }, options);
        Ok(())
    }

    /// Memory, with the mode of the directory that it covers.
    fn temporary(&mut self, shown: &Mount, size: Option<u64>, access: &str, root: &RootMount) {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let covered = in_root::open(root, Path::new(&shown.target), flags, Mode::empty());
        let mode = covered.ok().and_then(|directory| rustix::fs::fstat(directory).ok()).map(|stat| stat.st_mode);
        let mut options = vec!["nosuid".to_owned(), access.to_owned()];
        options.push(format!("mode={:o}", mode.unwrap_or(0o1777) & 0o7777));
        options.extend(size.map(|size| format!("size={size}")));
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        self.options.mounts.push(mount("tmpfs", Path::new("tmpfs"), Path::new(&shown.target), &options));
    }

    fn secret(&mut self, mount: &Mount, secret: &SecretFile) -> Result<(), OpError> {
        let Some(value) = self.machine.grant.secrets.get(&secret.id)? else {
            return if secret.required { Err(OpError::NoSecret { id: secret.id.clone() }) } else { Ok(()) };
        };
        let path = self.memory()?.file(value.bytes(), attributes(secret))?;
        self.show(mount, TreePath { tree: MEMORY, path }, &["bind", "ro", "nosuid", "noexec"]);
        Ok(())
    }

    fn agent(&mut self, mount: &Mount, wanted: &SecretFile) -> Result<(), OpError> {
        let Some(agent) = self.machine.grant.agents.get(&wanted.id) else {
            return if wanted.required { Err(OpError::NoAgent { id: wanted.id.clone() }) } else { Ok(()) };
        };
        let (listener, path) = self.memory()?.socket(attributes(wanted))?;
        let server =
            AgentServer::start(listener, agent.clone()).map_err(|error| failed(mount, "start the agent for", error))?;
        self.mounted.servers.push(server);
        self.show(mount, TreePath { tree: MEMORY, path }, &["bind", "nosuid", "noexec"]);
        Ok(())
    }
}

fn failed(mount: &Mount, what: &str, source: io::Error) -> OpError {
    OpError::Mount { what: format!("{what} the mount at {}", mount.target), source }
}

fn attributes(file: &SecretFile) -> Attributes {
    Attributes { mode: file.mode, uid: file.uid, gid: file.gid }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_the_last_one_wins() {
        let mounts: Vec<Mount> = ["/a/b", "/a-b", "/c", "/a", "/c", "/a/b/c"]
            .iter()
            .map(|target| Mount {
                target: (*target).to_owned(),
                read_only: true,
                kind: MountKind::Tmpfs { size: None },
            })
            .collect();
        let ordered: Vec<(usize, &str)> =
            in_order(&mounts).into_iter().map(|(position, mount)| (position, mount.target.as_str())).collect();
        assert_eq!(ordered, [(3, "/a"), (0, "/a/b"), (5, "/a/b/c"), (1, "/a-b"), (4, "/c")]);
    }
}
