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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Absolute destination, a trailing `/` kept: with it, with several sources, or when a directory is there, the
    /// destination is a directory.
    pub dest: String,
    /// Owner of everything that is copied.
    pub owner: Owner,
    /// Permission bits for everything that is copied, directories included.
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
}

impl Op {
    /// The op's kind in one word, for graphs and listings.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Source(Source::Scratch) => "scratch",
            Self::Source(Source::Image { .. }) => "image",
            Self::Source(Source::Local { .. }) => "local",
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
                    }),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}
