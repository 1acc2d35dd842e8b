//! Contexts that are no directories of the user: fetched, unpacked where nobody else looks, and gone with the build.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context;
use builder_cache::{ActiveLayer, Store};
use builder_executor::agent::Agent;
use builder_executor::remote::{Access, Remotes, redact};
use builder_frontend::git_address::GitAddress;
use builder_image::compress::Format;
use builder_image::layer::{UnpackOptions, unpack};
use builder_image::tar::{Limits, Reader, Reason};
use builder_solver::{HttpSource, Source};

use super::address::Address;
use super::{MAX_DOCKERFILE, open_directory};
use crate::error::{CliError, CliResult};

/// How much of a file tells whether it is a tarball: its first header, with long names.
const PEEK: u64 = 64 << 10;

/// The name of a file that is a whole context, as in `BuildKit`.
const CONTEXT: &str = "context";

/// A tree of files that belongs to the build.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its files belong to whom they say, and not to the one who builds.
    pub(crate) owned: bool,
    /// When it was made, if anybody says so.
    pub(crate) time: Option<i64>,
    /// Goes away with the last one who holds it; trees in the store's layers stay there.
    _held: Option<Arc<ActiveLayer>>,
}

impl Tree {
    /// When its files were made: what the server or the commit says, or else the time of the youngest of them.
    pub(crate) fn newest(&self) -> CliResult<Option<i64>> {
        if self.time.is_some() {
            return Ok(self.time);
        }
        let mut newest = None;
        let mut waiting = vec![self.path.clone()];
        while let Some(directory) = waiting.pop() {
            let entries = std::fs::read_dir(&directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            for entry in entries.with_context(|| format!("{} can't be read", directory.display()))? {
                let about = entry.metadata().with_context(|| format!("{} can't be read", entry.path().display()))?;
                newest = newest.max(Some(about.mtime()));
                if about.is_dir() {
                    waiting.push(entry.path());
                }
            }
        }
        Ok(newest)
    }
}

/// What an address led to.
#[derive(Debug, Clone)]
pub(crate) enum Fetched {
    /// Files.
    Tree(Tree),
    /// One file that is no tarball, alone in a tree, and its name.
    File(Tree, String),
}

impl Fetched {
    /// The files, whatever they are.
    pub(crate) fn tree(self) -> Tree {
        match self {
            Self::Tree(tree) | Self::File(tree, _) => tree,
        }
    }
}

/// Fetches contexts and Dockerfiles, each once. Clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    remotes: Remotes,
    /// Standard input was read.
    read: Cell<bool>,
    known: RefCell<Vec<(Address, Fetched)>>,
}

/// With the agent of the environment as `default` for contexts that are reached by ssh, when none is offered.
pub(crate) fn with_agent<'a>(mut access: Access, addresses: impl IntoIterator<Item = &'a Address>) -> Access {
    if access.agents.get("default").is_none()
        && addresses.into_iter().any(Address::is_ssh)
        && let Some(socket) = std::env::var_os("SSH_AUTH_SOCK")
        && let Ok(agent) = Agent::open(&[PathBuf::from(socket)], false)
    {
        access.agents.insert("default", agent);
    }
    access
}

impl Fetcher {
    /// Fetches into a store.
    pub(crate) fn new(store: &Store, access: Access) -> Self {
        let remotes = Remotes::new(store.clone(), access);
        Self { inner: Rc::new(Inner { remotes, read: Cell::new(false), known: RefCell::default() }) }
    }

    /// What an address led to, if it was fetched.
    pub(crate) fn known(&self, address: &Address) -> Option<Fetched> {
        self.inner.known.borrow().iter().find(|(known, _)| known == address).map(|(_, found)| found.clone())
    }

    /// When a file or a commit was made.
    pub(crate) fn time(&self, source: &Source) -> CliResult<Option<i64>> {
        Ok(match source {
            Source::Http(http) => self.remotes().http(http, &|| false).map_err(failed)?.last_modified,
            Source::Git(git) => Some(self.remotes().git(git, &|| false).map_err(failed)?.time),
            Source::Scratch | Source::Image { .. } | Source::Local { .. } => None,
        })
    }

    /// What fetches, for the steps of the build.
    pub(crate) fn remotes(&self) -> &Remotes {
        &self.inner.remotes
    }

    fn store(&self) -> &Store {
        self.inner.remotes.store()
    }

    /// The files of an address that is no directory and no image.
    pub(crate) fn fetch(&self, address: &Address) -> CliResult<Fetched> {
        if let Some(known) = self.known(address) {
            return Ok(known);
        }
        let fetched = match address {
            Address::Stdin => self.stdin()?,
            Address::Git(git) => Fetched::Tree(self.git(git)?),
            Address::Http(url) => self.http(url, true)?,
            Address::File(url) => self.http(url, false)?,
            Address::Directory(path) => {
                return Err(CliError::message(format!("{} is a directory already", path.display())));
            }
            Address::Image(name) | Address::Layout(name) => {
                return Err(CliError::message(format!("{name} is an image, and no directory")));
            }
        };
        self.inner.known.borrow_mut().push((address.clone(), fetched.clone()));
        Ok(fetched)
    }

    fn git(&self, address: &GitAddress) -> CliResult<Tree> {
        let source = address.source();
        let checkout = self.remotes().git(&source, &|| false).map_err(failed)?;
        let path =
            self.store().part_dirs(&checkout.layer())?.pop().context("the layer of the repository is not there")?;
        Ok(Tree { path, owned: false, time: Some(checkout.time), _held: None })
    }

    fn http(&self, url: &str, archives: bool) -> CliResult<Fetched> {
        let source = HttpSource { url: url.to_owned(), name: CONTEXT.to_owned(), checksum: None };
        let file = self.remotes().http(&source, &|| false).map_err(failed)?;
        let shown = redact(url);
        let mut opened = File::open(file.path()).with_context(|| format!("what came from {shown} can't be read"))?;
        let first = peek(&mut opened).with_context(|| format!("what came from {shown} can't be read"))?;
        if !archives || !is_archive(&first) {
            let path = file.path().parent().unwrap_or(file.path()).to_owned();
            let tree = Tree { path, owned: true, time: file.last_modified, _held: None };
            return Ok(Fetched::File(tree, CONTEXT.to_owned()));
        }
        let tree = self.unpack(Cursor::new(first).chain(opened), &format!("the context {shown}"))?;
        Ok(Fetched::Tree(Tree { time: file.last_modified.or(tree.time), ..tree }))
    }

    fn stdin(&self) -> CliResult<Fetched> {
        let mut input = self.take_stdin("context")?;
        let first = peek(&mut input).context("the context can't be read from standard input")?;
        if first.is_empty() {
            return Err(CliError::with_hint(
                anyhow::anyhow!("there is nothing on standard input"),
                "give a tarball of the context, or a Dockerfile",
            ));
        }
        if is_archive(&first) {
            let tree = self.unpack(Cursor::new(first).chain(input), "the context from standard input")?;
            return Ok(Fetched::Tree(tree));
        }
        let mut bytes = first;
        input
            .take(MAX_DOCKERFILE + 1)
            .read_to_end(&mut bytes)
            .context("the Dockerfile can't be read from standard input")?;
        let active = self.store().new_layer()?;
        // Beside the tree, which is empty: a Dockerfile is no file of the context here.
        let name = "Dockerfile".to_owned();
        let beside = active.work().join(&name);
        std::fs::write(&beside, &bytes).with_context(|| format!("{} can't be written", beside.display()))?;
        let tree = Tree { path: active.upper().to_owned(), owned: true, time: None, _held: Some(Arc::new(active)) };
        Ok(Fetched::File(tree, beside.display().to_string()))
    }

    /// Standard input, for one reader.
    pub(crate) fn take_stdin(&self, what: &str) -> CliResult<io::Stdin> {
        if self.inner.read.replace(true) {
            return Err(CliError::Usage(format!(
                "standard input can be read once only, and the {what} would be the second to come from there: give one of them as a file"
            )));
        }
        Ok(io::stdin())
    }

    /// The bytes of a Dockerfile behind a URL.
    pub(crate) fn dockerfile(&self, url: &str) -> CliResult<Vec<u8>> {
        let source = HttpSource { url: url.to_owned(), name: "Dockerfile".to_owned(), checksum: None };
        let file = self.remotes().http(&source, &|| false).map_err(failed)?;
        let mut bytes = Vec::new();
        File::open(file.path())
            .and_then(|file| file.take(MAX_DOCKERFILE + 1).read_to_end(&mut bytes))
            .with_context(|| format!("what came from {} can't be read", redact(url)))?;
        Ok(bytes)
    }

    /// Unpacks a tarball to a directory of the build. It is never a layer: an archive may hold anything.
    fn unpack(&self, input: impl Read + Send, what: &str) -> CliResult<Tree> {
        let active = self.store().new_layer()?;
        let root = open_directory(active.upper())?;
        unpack(input, root.as_fd(), Path::new(""), &UnpackOptions::default())
            .with_context(|| format!("{what} can't be unpacked"))?;
        let path = active.upper().to_owned();
        Ok(Tree { path, owned: true, time: None, _held: Some(Arc::new(active)) })
    }
}

/// One sentence, and the hint that comes with it.
fn failed(error: builder_executor::remote::RemoteError) -> CliError {
    CliError::Failed { error: error.into(), hint: None }
}

/// The first bytes of a stream.
fn peek(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    input.by_ref().take(PEEK).read_to_end(&mut first)?;
    Ok(first)
}

/// Whether a stream that begins so is a tarball, whole or damaged.
fn is_archive(first: &[u8]) -> bool {
    if Format::of(first) != Format::Plain {
        return true;
    }
    match Reader::new(first, Limits::default()).next_entry() {
        Ok(entry) => entry.is_some(),
        Err(error) => !matches!(error.reason, Reason::Checksum) && first.len() >= builder_image::tar::RECORD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tarballs_are_told_from_dockerfiles() {
        for text in [b"FROM scratch\n".as_slice(), b"", b"# syntax=x\n", &[b'F'; 4000]] {
            assert!(!is_archive(text), "{}", String::from_utf8_lossy(text));
        }
        for magic in [b"\x1f\x8b\x08\x00".as_slice(), b"\xfd7zXZ\0", b"BZh91AY&SY", b"\x28\xb5\x2f\xfd"] {
            assert!(is_archive(magic), "{magic:?}");
        }
    }
}
