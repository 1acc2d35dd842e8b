//! The operations of the graph, in the vocabulary of BuildKit's LLB.
//!
//! An op is pure data: what to do, never how far it has come. Everything in it goes into the cache key
//! ([`crate::cache_key`] holds the table), so nothing belongs here that does not change the result.

use serde::{Deserialize, Serialize};

/// What a vertex does to its inputs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    /// Brings in a tree of files from outside; has no inputs.
    Source(Source),
    /// Runs a process on top of input 0.
    Exec(Exec),
    /// Changes files on top of input 0, copying from the other inputs.
    File(FileOp),
    /// Puts the layers of input 1 on top of input 0 without looking at either (`COPY --link`).
    Merge,
}

/// Where a tree of files comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// The empty tree (`FROM scratch`).
    Scratch,
    /// An image of the store.
    Image {
        /// The reference in full, for people: `docker.io/library/debian:12`.
        reference: String,
        /// What the reference resolved to: the image id, `sha256:…`. The only part of the key.
        id: String,
    },
    /// A directory of the client, by its name (`context` for the main one). It has no key of its own: whoever
    /// copies from it contributes the content digest of what it selects.
    Local {
        /// The name under which the client offers the directory.
        name: String,
    },
    /// One file from a URL, at the root of a tree of its own.
    Http(HttpSource),
    /// The files of a git repository at one commit.
    Git(GitSource),
}

/// A file to download.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HttpSource {
    /// `http://…` or `https://…`.
    pub url: String,
    /// The name that the file gets.
    pub name: String,
    /// The digest that its bytes must have, `sha256:…`.
    pub checksum: Option<String>,
}

/// A repository to check out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GitSource {
    /// The remote without fragment and query: `https://…`, `ssh://…`, `git://…`, `user@host:path`.
    pub remote: String,
    /// A branch, tag, full reference or commit; the remote's HEAD without one.
    pub reference: Option<String>,
    /// The directory of the repository that becomes the tree's root.
    pub subdir: Option<String>,
    /// A commit, or the beginning of one, that the reference must resolve to.
    pub checksum: Option<String>,
    /// Keep `.git`.
    pub keep_git_dir: bool,
    /// Check out submodules, too.
    pub submodules: bool,
    /// Files get the time of the commit, not of the checkout.
    pub commit_times: bool,
}

/// Which network a process sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// What the builder gives by default; today the host's network.
    #[default]
    Default,
    /// Only a loopback interface.
    None,
    /// The host's network.
    Host,
}

/// One process on a root file system.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Exec {
    /// The program and its arguments, never empty.
    pub args: Vec<String>,
    /// The whole environment, in order, names unique.
    pub env: Vec<(String, String)>,
    /// The working directory, absolute.
    pub cwd: String,
    /// `user[:group]` by name or number as in the image config; empty means root.
    pub user: String,
    /// The network to run in.
    pub network: NetworkMode,
    /// A script that is put at `/dev/pipes/<name>` (read-only, 0755) while the process runs: a heredoc with a
    /// shebang line.
    pub script: Option<Script>,
    /// Proxy variables (`HTTP_PROXY`, …): added to the environment, absent from the cache key and from history.
    pub proxy_env: Vec<(String, String)>,
    /// What is mounted while it runs, in order.
    pub mounts: Vec<Mount>,
    /// Secrets that it sees as variables.
    pub secret_env: Vec<SecretEnv>,
    /// How it is kept apart from the machine.
    pub security: SecurityMode,
    /// More names for `/etc/hosts`, with their addresses (`--add-host`); `host-gateway` stands for the host's own.
    pub hosts: Vec<(String, String)>,
    /// The host name that it sees, when it is not that of all steps.
    pub hostname: Option<String>,
    /// The platform that it is for, `linux/arm64`, when that is not the machine's own.
    pub platform: Option<String>,
}

/// How a process is kept apart from the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecurityMode {
    /// The capabilities, masked paths and system call filter of a container.
    #[default]
    Sandbox,
    /// All capabilities and devices (`RUN --security=insecure`).
    Insecure,
}

/// Something that is mounted while a process runs and is not part of its layer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mount {
    /// Where, absolute and clean; made when it is not there.
    pub target: String,
    /// Writing fails.
    pub read_only: bool,
    /// What.
    pub kind: MountKind,
}

/// What a [`Mount`] shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MountKind {
    /// Files of an input of the vertex. What is written to them is thrown away.
    Bind {
        /// Which input (1 or more); never a local source: files of the context are copied into a result first.
        input: usize,
        /// A directory or file of its result, absolute; symlinks are resolved inside the result.
        source: String,
    },
    /// A directory that outlives the build.
    Cache(CacheMount),
    /// Memory.
    Tmpfs {
        /// Its limit in bytes.
        size: Option<u64>,
    },
    /// A file with a secret.
    Secret(SecretFile),
    /// The socket of an ssh agent; `SSH_AUTH_SOCK` names the first.
    Ssh(SecretFile),
}

/// A directory that outlives the build (`RUN --mount=type=cache`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CacheMount {
    /// Which one, namespace included.
    pub id: String,
    /// Who may use it at the same time.
    pub sharing: Sharing,
    /// What it holds when it is made: an input and a directory of it.
    pub seed: Option<(usize, String)>,
    /// Permission bits when it is made.
    pub mode: u32,
    /// Owner when it is made.
    pub uid: u32,
    /// Group when it is made.
    pub gid: u32,
}

/// Who may use a cache mount at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// Each user gets one of its own, used again when it is free.
    Private,
    /// One after the other.
    Locked,
}

/// A secret or agent socket as a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SecretFile {
    /// The id under which the client offers it.
    pub id: String,
    /// The step fails when the client does not offer it; otherwise there is no such file.
    pub required: bool,
    /// Permission bits of the file.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A secret as a variable.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SecretEnv {
    /// The id under which the client offers it.
    pub id: String,
    /// The variable's name.
    pub name: String,
    /// The step fails when the client does not offer it; otherwise the variable is not set.
    pub required: bool,
}

/// A script file that exists only while its step runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Script {
    /// The file's name below `/dev/pipes`.
    pub name: String,
    /// Its bytes, shebang line included.
    pub data: Vec<u8>,
}

/// A list of changes to files that together make one layer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileOp {
    /// Carried out in order.
    pub actions: Vec<FileAction>,
}

/// One change to files.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FileAction {
    /// Copies from another input.
    Copy(CopyAction),
    /// Makes a directory and its missing parents (0755); an existing one is left as it is.
    Mkdir {
        /// Absolute path; symlinks on the way are followed inside the root.
        path: String,
        /// Permission bits of a directory that is made.
        mode: u32,
        /// Owner of a directory that is made, missing parents included.
        owner: Owner,
    },
    /// Writes one file.
    Mkfile {
        /// Absolute destination; with a trailing `/` (or when a directory is there) the file `name` inside it.
        dest: String,
        /// The file's name when `dest` is a directory.
        name: String,
        /// Its bytes.
        data: Vec<u8>,
        /// Its permission bits (0644 for a heredoc).
        mode: FileMode,
        /// Its owner.
        owner: Owner,
    },
}

/// Who owns what an action creates.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Owner {
    /// `0:0` for what is made and for what comes from a local source; what is copied from another result keeps its own.
    #[default]
    Default,
    /// `user[:group]`, by name through the root's `/etc/passwd` and `/etc/group`, or by number. A lone number is
    /// the group, too; a lone name takes the user's own group.
    Named(String),
}

/// Permission bits to set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FileMode {
    /// Up to `0o7777`.
    Octal(u32),
    /// The chmod(1) language: `u=rwX,go=rX`.
    Symbolic(String),
}

/// Copies what `selection` picks from an input to `dest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CopyAction {
    /// Which input of the vertex the files come from (1 or more; input 0 is the tree that is changed).
    pub input: usize,
    /// What to copy.
    pub selection: Selection,
    /// Absolute destination, a trailing `/` kept: with it, or when a directory is there, the destination is a
    /// directory.
    pub dest: String,
    /// Owner of everything that is copied.
    pub owner: Owner,
    /// Permission bits for everything that is copied, directories included; a destination that is made is 0755.
    pub mode: Option<FileMode>,
    /// Unpack sources that are tar archives, plain or compressed, found by content (`ADD`).
    pub unpack: bool,
}

/// Picks files of an input.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Selection {
    /// Paths below the input's root, with Go `filepath.Match` wildcards (`* ? [..] \`); `**` too with `parents`.
    /// A source without wildcard must exist. A directory stands for its contents.
    pub sources: Vec<String>,
    /// Patterns in the `.dockerignore` language, relative to each source directory, of what is left out.
    pub exclude: Vec<String>,
    /// Keep the source's parent directories below the destination (`COPY --parents`).
    pub parents: bool,
}

/// Files that an op picks from an input, and what of them can change its result.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Picked {
    /// Which.
    pub selection: Selection,
    /// Whether their permission bits count; they do not when the op sets them all.
    pub modes: bool,
    /// Whether a directory that is named counts itself, and not only what is in it: a copy drops its attributes, a mount
    /// shows them.
    pub itself: bool,
}

impl Op {
    /// The op's kind in one word, for graphs and listings.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Source(Source::Scratch) => "scratch",
            Self::Source(Source::Image { .. }) => "image",
            Self::Source(Source::Local { .. }) => "local",
            Self::Source(Source::Http(_)) => "http",
            Self::Source(Source::Git(_)) => "git",
            Self::Exec(_) => "exec",
            Self::File(_) => "file",
            Self::Merge => "merge",
        }
    }

    /// What this op picks from input `index`; nothing means all of it.
    pub fn picks(&self, index: usize) -> Vec<Picked> {
        match self {
            Self::File(file) => file
                .actions
                .iter()
                .filter_map(|action| match action {
                    FileAction::Copy(copy) if copy.input == index => Some(Picked {
                        selection: copy.selection.clone(),
                        modes: !matches!(copy.mode, Some(FileMode::Octal(_))),
                        itself: false,
                    }),
                    _ => None,
                })
                .collect(),
            Self::Exec(exec) if index > 0 => {
                let whole = |source: &str| source.trim_matches('/').is_empty();
                let mounted = exec.mounts.iter().filter_map(|mount| match &mount.kind {
                    MountKind::Bind { input, source } if *input == index => Some(source),
                    MountKind::Cache(CacheMount { seed: Some((input, source)), .. }) if *input == index => Some(source),
                    _ => None,
                });
                let mut sources: Vec<String> = mounted.cloned().collect();
                sources.dedup();
                if sources.iter().any(|source| whole(source)) {
                    return Vec::new();
                }
                sources
                    .into_iter()
                    .map(|source| Picked {
                        selection: Selection { sources: vec![literal(&source)], exclude: Vec::new(), parents: false },
                        modes: true,
                        itself: true,
                    })
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether what it brings in comes over the network.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Source(Source::Http(_) | Source::Git(_)))
    }
}

/// A path as a pattern that matches nothing else.
fn literal(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
