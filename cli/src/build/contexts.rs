//! The directories that the builds of one graph read, each opened once however many builds name it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use builder_cache::Store;
use builder_executor::context::LocalContext;
use builder_executor::op::OpError;
use builder_executor::pattern::{IgnoreMatcher, parse_ignore_file};
use builder_executor::remote::redact;
use builder_solver::Source;

use super::source::{Address, BuildSource, Fetched, Fetcher, Tree, ignore_file, open_directory};
use crate::error::{CliError, CliResult};
use crate::progress::Progress;

/// An ignore file: its name and its bytes.
type Ignore = Option<(String, Vec<u8>)>;

/// Directories by the name of their local source. Two builds that see the same files have the same name, so that
/// their steps are the same. Named contexts are fetched when a plan reads them; what was fetched stays as long as this.
#[derive(Debug)]
pub(super) struct Contexts {
    known: RefCell<Vec<Context>>,
    fetcher: Fetcher,
    progress: Progress,
}

#[derive(Debug)]
struct Context {
    name: String,
    files: Files,
}

#[derive(Debug, Clone)]
enum Files {
    /// A directory of the user.
    Directory { path: PathBuf, ignore: Ignore },
    /// What was fetched.
    Tree(Tree),
    /// A named context that nobody has looked at.
    Named(Address),
}

impl Contexts {
    pub(super) fn new(fetcher: Fetcher, progress: Progress) -> Self {
        Self { known: RefCell::default(), fetcher, progress }
    }

    /// What fetches.
    pub(super) fn fetcher(&self) -> &Fetcher {
        &self.fetcher
    }

    /// The name of the local source for the main context of a build.
    pub(super) fn name(&self, source: &BuildSource) -> String {
        let bytes = |ignore: &Ignore| ignore.as_ref().map(|(_, bytes)| bytes.clone());
        let same = |known: &Files| match known {
            Files::Directory { path, ignore } => *path == source.context && bytes(ignore) == bytes(&source.ignore),
            Files::Tree(tree) => tree.path == source.context,
            Files::Named(_) => false,
        };
        let files = || match &source.tree {
            Some(tree) => Files::Tree(tree.clone()),
            None => Files::Directory { path: source.context.clone(), ignore: source.ignore.clone() },
        };
        self.add("context", same, files)
    }

    /// The name of the local source for a named context.
    pub(super) fn named(&self, key: &str, address: &Address) -> String {
        let same = |known: &Files| matches!(known, Files::Named(known) if known == address);
        self.add(key, same, || Files::Named(address.clone()))
    }

    fn add(&self, wanted: &str, same: impl Fn(&Files) -> bool, files: impl FnOnce() -> Files) -> String {
        let mut known = self.known.borrow_mut();
        if let Some(known) = known.iter().find(|known| same(&known.files)) {
            return known.name.clone();
        }
        let numbers = (1..).map(|number| format!("{wanted}-{number}"));
        let free = |name: &String| !known.iter().any(|known| known.name == *name);
        let name = std::iter::once(wanted.to_owned()).chain(numbers).find(free).unwrap_or_default();
        known.push(Context { name: name.clone(), files: files() });
        name
    }

    /// Fetches an address that is no directory, as a step of the build.
    pub(super) fn fetch(&self, address: &Address, prefix: &str) -> CliResult<Option<Fetched>> {
        let shown = match address {
            Address::Directory(_) | Address::Image(_) | Address::Layout(_) => return Ok(None),
            Address::Stdin => "build context from standard input".to_owned(),
            Address::Git(git) => {
                let reference = git.reference.as_deref().map(|reference| format!("#{reference}")).unwrap_or_default();
                format!("git source {}{reference}", redact(&git.remote))
            }
            Address::Http(url) | Address::File(url) => format!("remote build context {}", redact(url)),
        };
        if let Some(known) = self.fetcher.known(address) {
            return Ok(Some(known));
        }
        let step = self.progress.step(&format!("{prefix} load {shown}"));
        match self.fetcher.fetch(address) {
            Ok(fetched) => {
                step.done();
                Ok(Some(fetched))
            }
            Err(error) => {
                step.failed(error.text());
                Err(error)
            }
        }
    }

    fn fetch_named(&self, name: &str, address: &Address) -> CliResult<Option<Fetched>> {
        let fetched = self.fetch(address, &format!("[context {name}]"));
        fetched.map_err(|error| error.context(&format!("the build context `{name}` can't be used")))
    }

    /// When the files of a source were made, for whoever wants all times to be that one.
    pub(super) fn time(&self, source: &Source) -> CliResult<Option<i64>> {
        let name = match source {
            Source::Local { name } => name,
            Source::Http(_) | Source::Git(_) => return self.fetcher.time(source),
            Source::Scratch | Source::Image { .. } => return Ok(None),
        };
        match self.files(name) {
            Some(Files::Tree(tree)) => tree.newest(),
            Some(Files::Named(address)) => match self.fetch_named(name, &address)? {
                Some(fetched) => fetched.tree().newest(),
                None => Ok(None),
            },
            Some(Files::Directory { .. }) | None => Ok(None),
        }
    }

    /// Where the files of a local source came from; nothing for those of a build's main context, which were fetched.
    pub(super) fn address(&self, name: &str) -> Option<Address> {
        match self.files(name)? {
            Files::Directory { path, .. } => Some(Address::Directory(path)),
            Files::Named(address) => Some(address),
            Files::Tree(_) => None,
        }
    }

    fn files(&self, name: &str) -> Option<Files> {
        self.known.borrow().iter().find(|known| known.name == name).map(|known| known.files.clone())
    }

    /// Opens those that the plans read.
    pub(super) fn open<'a>(
        &self,
        used: impl IntoIterator<Item = &'a String>,
        store: &Store,
    ) -> CliResult<BTreeMap<String, LocalContext>> {
        let mut open = BTreeMap::new();
        for name in used {
            let Some(files) = self.files(name).filter(|_| !open.contains_key(name)) else { continue };
            let opened = match files {
                Files::Directory { path, ignore } => directory(&path, &ignore, store)?,
                Files::Tree(tree) => fetched_tree(&tree, store)?,
                Files::Named(Address::Directory(path)) => {
                    let path = path.canonicalize().with_context(|| {
                        format!("the directory {} of the context `{name}` can't be opened", path.display())
                    })?;
                    let ignore = ignore_file(&open_directory(&path)?, None)?;
                    directory(&path, &ignore, store)?
                }
                Files::Named(address) => match self.fetch_named(name, &address)? {
                    Some(fetched) => fetched_tree(&fetched.tree(), store)?,
                    None => continue,
                },
            };
            open.insert(name.clone(), opened);
        }
        Ok(open)
    }
}

fn fetched_tree(tree: &Tree, store: &Store) -> CliResult<LocalContext> {
    let opened = if tree.owned {
        LocalContext::open_tree(&tree.path)
    } else {
        // A layer does not change, and the next build of the same commit reads the same one.
        LocalContext::open(&tree.path, IgnoreMatcher::default(), Some(store.context_index(&tree.path)))
    };
    Ok(opened.map_err(OpError::from)?)
}

fn directory(path: &Path, ignore: &Ignore, store: &Store) -> CliResult<LocalContext> {
    let ignore = match ignore {
        None => IgnoreMatcher::default(),
        Some((file, bytes)) => {
            parse_ignore_file(bytes).map_err(|error| CliError::message(format!("{file}:{}: {error}", error.line())))?
        }
    };
    Ok(LocalContext::open(path, ignore, Some(store.context_index(path))).map_err(OpError::from)?)
}
