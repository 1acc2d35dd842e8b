//! What a `COPY` names, found in a source.
//!
//! A source without wildcards is followed through links, inside the root only. In one with wildcards the components
//! before the first wildcard are followed, the others are names of real directories, and what matches last is
//! followed again. With `parents` nothing is followed: paths stay what they are.

use builder_cache::content::EntryDigest;
use builder_solver::Selection;
use rustix::fs::FileType;

use super::digest::SelectionDigest;
use super::entry::{Entry, EntryContent};
use super::error::{SourceError, show};
use super::filter::{End, Filter, filter, filter_with_parents};
use super::resolve::{Found, ResolveError, Resolved, probe, resolve_with};
use super::root::{self, components, join, split};
use super::source::FileSource;
use super::tree::{Branch, Directory};
use crate::pattern::{IgnoreMatcher, Wildcard, clean_rooted, has_wildcard};

/// What one selection picks, in the order in which it is copied.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The sources' items; those of one source are sorted.
    pub items: Vec<Item>,
}

/// One thing to copy.
#[derive(Debug, Clone)]
pub struct Item {
    /// The path as it was named or matched, before links were followed; its last component is the name of the copy.
    /// With `parents` the directory below which paths are kept.
    pub path: Vec<u8>,
    /// What it is.
    pub content: ItemContent,
}

/// A name that matches, and whether it is a directory.
type Matched = (Box<[u8]>, bool);

/// What an [`Item`] is.
#[derive(Debug, Clone)]
pub enum ItemContent {
    /// Anything but a directory: the only entry of this branch's directory.
    Entry(Branch),
    /// The contents of a directory.
    Directory(Branch),
}

impl FileSource {
    /// The digest of what selections pick; of everything when there are none. Writes the stat index.
    pub fn digest(&self, selections: &[Selection]) -> Result<SelectionDigest, SourceError> {
        let selections: Vec<_> = selections.iter().map(|selection| (selection, true)).collect();
        self.digest_with(&selections)
    }

    /// As [`FileSource::digest`], each selection with the modes of its files, or without where every copy gets its
    /// mode from `--chmod` ([`crate::copy::Chmod::is_absolute`]).
    pub fn digest_with(&self, selections: &[(&Selection, bool)]) -> Result<SelectionDigest, SourceError> {
        let selected = if selections.is_empty() {
            vec![(self.select_all()?, true)]
        } else {
            selections
                .iter()
                .map(|(selection, modes)| Ok((self.select(selection)?, *modes)))
                .collect::<Result<Vec<_>, SourceError>>()?
        };
        self.save_index();
        SelectionDigest::new(&selected).ok_or(SourceError::NotHashed)
    }

    /// Finds what `selection` picks. A source without wildcards must be there.
    ///
    /// The first answer stays: what is copied is what was hashed, even when names come and go meanwhile.
    pub fn select(&self, selection: &Selection) -> Result<Selected, SourceError> {
        if let Some(known) = self.selected(selection) {
            return Ok(known);
        }
        let selected = self.select_now(selection)?;
        Ok(self.remember(selection, selected))
    }

    fn select_now(&self, selection: &Selection) -> Result<Selected, SourceError> {
        let exclude = IgnoreMatcher::new(&selection.exclude)?;
        let mut items = Vec::new();
        for source in &selection.sources {
            if selection.parents {
                self.select_with_parents(source, &exclude, &mut items)?;
            } else {
                self.select_source(source, &exclude, &mut items)?;
            }
        }
        Ok(Selected { items })
    }

    /// Everything in the source.
    pub fn select_all(&self) -> Result<Selected, SourceError> {
        let whole = Selection { sources: vec![".".to_owned()], exclude: Vec::new(), parents: false };
        self.select(&whole)
    }

    fn select_source(&self, source: &str, exclude: &IgnoreMatcher, items: &mut Vec<Item>) -> Result<(), SourceError> {
        for named in self.expand(source)? {
            let content = self.follow(&named)?;
            items.extend(without(exclude, Item { path: named, content }));
        }
        Ok(())
    }

    /// The directories that `selection` names, links followed: what they are themselves, without what is in them.
    pub fn named_directories(&self, selection: &Selection) -> Result<Vec<EntryDigest>, SourceError> {
        let mut digests = Vec::new();
        for source in &selection.sources {
            for named in self.expand(source)? {
                let resolved = self.resolve(&named)?;
                if resolved.found == Found::Directory {
                    digests.extend(self.directory_entry(&resolved.path)?.0.digest(true));
                }
            }
        }
        Ok(digests)
    }

    /// What is at a path, links followed; an error when nothing is.
    fn follow(&self, named: &[u8]) -> Result<ItemContent, SourceError> {
        let not_found = |ignored| SourceError::NotFound { source_path: show(named), ignored };
        let resolved = self.resolve(named)?;
        if resolved.path != named && self.ignore().excludes_path(named) {
            return Err(not_found(true));
        }
        match resolved.found {
            Found::Missing | Found::Link(_) => Err(not_found(false)),
            Found::Directory => {
                let branch = self.branch(&resolved.path)?.ok_or_else(|| not_found(true))?;
                Ok(ItemContent::Directory(branch))
            }
            Found::Other => {
                let ignored = self.ignore().excludes_path(&resolved.path);
                let leaf = self.leaf(&resolved.path)?.ok_or_else(|| not_found(ignored))?;
                Ok(ItemContent::Entry(leaf))
            }
        }
    }

    fn resolve(&self, path: &[u8]) -> Result<Resolved, SourceError> {
        resolve_with(path, |path| probe(self.root(), path)).map_err(|error| match error {
            ResolveError::TooManyLinks => SourceError::TooManyLinks { source_path: show(path) },
            ResolveError::Probe(error) => SourceError::read("look at", path, error),
        })
    }

    /// The paths that a source stands for, as they are named: itself, or what its wildcards match.
    fn expand(&self, source: &str) -> Result<Vec<Vec<u8>>, SourceError> {
        let cleaned = clean_rooted(source.as_bytes());
        let wildcards = compile(source, &cleaned)?;
        let fixed = wildcards.iter().take_while(|part| matches!(part, Wildcard::Name(_))).count();
        let (fixed, rest) = wildcards.split_at(fixed);
        let mut base = Vec::new();
        for part in fixed {
            if let Wildcard::Name(name) = part {
                base = join(&base, name);
            }
        }
        if rest.is_empty() {
            return Ok(vec![base]);
        }
        let resolved = self.resolve(&base)?;
        if resolved.found != Found::Directory {
            return Err(SourceError::NotFound { source_path: show(&base), ignored: false });
        }
        let mut matched = Vec::new();
        self.expand_below(&resolved.path, &base, rest, &mut matched)?;
        Ok(matched)
    }

    fn expand_below(
        &self,
        real: &[u8],
        named: &[u8],
        rest: &[Wildcard],
        matched: &mut Vec<Vec<u8>>,
    ) -> Result<(), SourceError> {
        let Some((first, rest)) = rest.split_first() else { return Ok(()) };
        for (name, is_directory) in self.matching(real, first)? {
            let path = join(real, &name);
            let named = join(named, &name);
            if rest.is_empty() {
                // A directory that is excluded, and stays only for what is included below it, may be empty.
                if !self.ignore().is_empty() && is_directory && self.branch(&path)?.is_none() {
                    continue;
                }
                matched.push(named);
            } else if is_directory {
                self.expand_below(&path, &named, rest, matched)?;
            }
        }
        Ok(())
    }

    /// The names in a directory that match, sorted, those that a pattern excludes left out; with whether they are
    /// directories.
    fn matching(&self, directory: &[u8], part: &Wildcard) -> Result<Vec<Matched>, SourceError> {
        let failed = |error| SourceError::read("read the directory", directory, error);
        let opened = root::open_directory(self.root(), directory).map_err(failed)?;
        let mut names = if let Wildcard::Name(name) = part {
            vec![root::Name { name: name.as_slice().into(), file_type: FileType::Unknown }]
        } else {
            root::list(&opened).map_err(failed)?
        };
        names.retain(|name| part.matches(&name.name));
        names.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let mut found = Vec::with_capacity(names.len());
        for root::Name { name, mut file_type } in names {
            if file_type == FileType::Unknown {
                match root::stat(&opened, &name).map_err(failed)? {
                    Some(stat) => file_type = FileType::from_raw_mode(stat.st_mode),
                    None => continue,
                }
            }
            let is_directory = file_type == FileType::Directory;
            let path = join(directory, &name);
            let excluded = !self.ignore().is_empty()
                && self.ignore().excludes_path(&path)
                && !(is_directory && self.ignore().may_include_below(&path));
            // Of a snapshot, no sockets: they cannot be in a layer.
            if !excluded && (file_type != FileType::Socket || self.verify()) {
                found.push((name, is_directory));
            }
        }
        Ok(found)
    }

    fn select_with_parents(
        &self,
        source: &str,
        exclude: &IgnoreMatcher,
        items: &mut Vec<Item>,
    ) -> Result<(), SourceError> {
        let (pivot, pattern) = source.split_once("/./").unwrap_or(("", source));
        let required = !has_wildcard(source.as_bytes());
        let pattern = clean_rooted(pattern.as_bytes());
        for named in self.expand(pivot)? {
            let resolved = self.resolve(&named)?;
            let branch = if resolved.found == Found::Directory {
                self.pick_with_parents(source, &resolved.path, &pattern, exclude)?
            } else {
                None
            };
            match branch {
                Some(branch) if required || !branch.directory().entries.is_empty() => {
                    items.push(Item { path: named, content: ItemContent::Directory(branch) });
                }
                None if required => {
                    let path = join(&named, &pattern);
                    let ignored = root::stat(self.root(), &path).is_ok_and(|stat| stat.is_some())
                        && self.ignore().excludes_path(&path);
                    return Err(SourceError::NotFound { source_path: show(&path), ignored });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What `pattern` picks below the directory `pivot`, as a tree with `pivot` as its root; `None` when the part of
    /// it without wildcards is not there.
    fn pick_with_parents(
        &self,
        source: &str,
        pivot: &[u8],
        pattern: &[u8],
        exclude: &IgnoreMatcher,
    ) -> Result<Option<Branch>, SourceError> {
        let mut parents: Vec<(Vec<u8>, Entry)> = vec![(pivot.to_vec(), self.directory_entry(pivot)?.0)];
        let mut path = pivot.to_vec();
        let mut end = None;
        let mut parts = components(pattern).peekable();
        while let Some(part) = parts.next_if(|part| !has_wildcard(part)) {
            let Some(Wildcard::Name(name)) = Wildcard::compile(part, true) else {
                return Err(SourceError::Syntax { text: source.to_owned() });
            };
            path = join(&path, &name);
            match probe(self.root(), &path).map_err(|error| SourceError::read("look at", &path, error))? {
                Found::Missing => return Ok(None),
                Found::Directory => parents.push((path.clone(), self.directory_entry(&path)?.0)),
                Found::Link(_) | Found::Other => {
                    let Some(leaf) = self.leaf(&path)? else { return Ok(None) };
                    // A file can have nothing below it.
                    if parts.peek().is_some() {
                        return Ok(None);
                    }
                    end = leaf.directory().entries.first().cloned();
                }
            }
        }
        let end = if let Some(entry) = end {
            End::Entry(entry)
        } else {
            if parents.len() > 1 {
                parents.pop();
            }
            let Some(branch) = self.branch(&path)? else { return Ok(None) };
            End::Directory(branch)
        };
        // The pattern language of `--parents` has no `!`.
        let escaped = if pattern.starts_with(b"!") { [b"\\", pattern].concat() } else { pattern.to_vec() };
        let include = if pattern.is_empty() { None } else { Some(IgnoreMatcher::new([escaped])?) };
        Ok(filter_with_parents(&parents, &end, &Filter { include: include.as_ref(), exclude }))
    }
}

fn compile(source: &str, cleaned: &[u8]) -> Result<Vec<Wildcard>, SourceError> {
    components(cleaned)
        .map(|part| Wildcard::compile(part, false))
        .collect::<Option<_>>()
        .ok_or_else(|| SourceError::Syntax { text: source.to_owned() })
}

/// The item without what is excluded: paths below a directory, the name of anything else.
fn without(exclude: &IgnoreMatcher, item: Item) -> Option<Item> {
    if exclude.is_empty() {
        return Some(item);
    }
    match item.content {
        ItemContent::Entry(_) if exclude.excludes_path(split(&item.path).1) => None,
        ItemContent::Entry(_) => Some(item),
        ItemContent::Directory(branch) => {
            let content = ItemContent::Directory(filter(&branch, &Filter { include: None, exclude }));
            Some(Item { path: item.path, content })
        }
    }
}

impl ItemContent {
    /// The directory, or the directory that the entry is in.
    pub(crate) fn directory(&self) -> &Directory {
        match self {
            Self::Entry(branch) | Self::Directory(branch) => branch.directory(),
        }
    }

    /// The entry, when it is no directory.
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Entry(branch) => {
                branch.directory().entries.first().filter(|entry| !matches!(entry.content, EntryContent::Directory(_)))
            }
            Self::Directory(_) => None,
        }
    }
}
