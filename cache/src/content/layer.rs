//! Hashes the directories of a layer, all cores at work.
//!
//! Level by level: the directories of one level are read at once, and the files of a large one at once, too. Each
//! directory is opened from the part's root without following a symbolic link, so neither stack nor open files grow
//! with the depth of a tree.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use builder_solver::ContentDigest;
use builder_solver::digest::FramedHasher;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, Stat};

use super::builder::Trees;
use super::entry::{DataDigest, EntryDigest, EntryKind, EntryMeta};
use super::listing::{Child, ChildDigest, Listing};
use super::place::{Attributes, Found, OPEN, Place, meta_of};
use crate::error::{At, Result};
use crate::store::locked;

/// A directory with fewer entries is not worth splitting among threads.
const SPLIT: usize = 16;

/// A listing that is short, in bytes.
const SHORT: usize = 16 << 10;

/// What is in a layer.
#[derive(Debug, Clone)]
pub struct LayerContent {
    /// The listings; their root is the layer's content digest.
    pub trees: Trees,
    /// The bytes of its files, hard links counted once.
    pub size: u64,
    /// How many entries it has, its root not counted.
    pub files: u64,
}

impl LayerContent {
    /// The content digest.
    pub fn digest(&self) -> ContentDigest {
        self.trees.root
    }

    /// Whether a layer with this digest has the same files. What its root is like does not count: a layer's tar says
    /// nothing of that, so that it is lost on the way to another machine.
    pub fn agrees_with(&self, digest: &ContentDigest) -> bool {
        if self.digest() == *digest {
            return true;
        }
        let encoded = self.trees.listings.last().map_or_else(|| Listing::default().encode(), |(_, root)| root.clone());
        let Some(mut root) = Listing::decode(&encoded) else { return false };
        // What a root is like most of the time; a short listing is hashed with all modes in no time.
        let usual = [0o755, 0o555, 0o775, 0o777, 0o700, 0o750, 0o711, 0o1777].into_iter();
        let all = 0..if encoded.len() > SHORT { 0 } else { 0o10_000 };
        let roots = usual.chain(all).map(|mode| Some(EntryMeta::new(EntryKind::Directory, mode).digest(None)));
        std::iter::once(None).chain(roots).any(|own| {
            root.own = own;
            Listing::digest(&root.encode()) == *digest
        })
    }
}

/// Hashes a layer: the directories that it is made of, topmost first ([`crate::Store::part_dirs`]).
///
/// # Errors
/// When something can't be read, or lies deeper than a path can reach.
pub fn layer_content(parts: &[PathBuf]) -> Result<LayerContent> {
    let scan = Scan::open(parts)?;
    let mut directories = vec![Directory::root(&scan)?];
    let mut level = vec![Task { path: PathBuf::new(), parts: (0..parts.len()).collect() }];
    while !level.is_empty() {
        let first = directories.len() - level.len();
        let read: Result<Vec<_>> = level.par_iter().map(|task| scan.read(task)).collect();
        let mut next = Vec::new();
        for ((task, children), position) in level.iter().zip(read?).zip(first..) {
            for (name, node) in children {
                match node {
                    Node::Leaf(entry) => directories[position].leaves.push((name, entry)),
                    Node::Socket => {}
                    Node::Directory { own, parts } => {
                        let path = task.path.join(std::ffi::OsStr::from_bytes(&name));
                        directories.push(Directory { own, parent: position, name, ..Directory::default() });
                        next.push(Task { path, parts });
                    }
                }
            }
        }
        level = next;
    }
    Ok(LayerContent { trees: hash_up(directories), size: scan.size.into_inner(), files: scan.files.into_inner() })
}

/// The digest of a chain of layers, bottom first. Leave empty layers out.
pub fn chain_content(layers: &[ContentDigest]) -> ContentDigest {
    let mut hasher = FramedHasher::new("chain");
    for layer in layers {
        hasher.part(layer.as_bytes());
    }
    ContentDigest::from_bytes(hasher.finish())
}

/// A directory that is still to be read: its path below each part's root, and the parts that it is made of.
struct Task {
    path: PathBuf,
    parts: Vec<usize>,
}

/// What was read of a directory.
#[derive(Default)]
struct Directory {
    own: Option<EntryDigest>,
    parent: usize,
    name: Vec<u8>,
    leaves: Vec<(Vec<u8>, EntryDigest)>,
}

enum Node {
    Leaf(EntryDigest),
    /// It has a name, and no tar can hold it.
    Socket,
    Directory {
        own: Option<EntryDigest>,
        parts: Vec<usize>,
    },
}

/// Listings from the leaves up. A directory comes after its parent, so backwards is upwards.
fn hash_up(mut directories: Vec<Directory>) -> Trees {
    let mut listings = Vec::with_capacity(directories.len());
    let mut finished: Vec<Vec<Child>> = directories.iter().map(|_| Vec::new()).collect();
    while let Some(Directory { own, parent, name, leaves }) = directories.pop() {
        let position = directories.len();
        let mut children = std::mem::take(&mut finished[position]);
        children.extend(leaves.into_iter().map(|(name, entry)| Child { name, digest: ChildDigest::Entry(entry) }));
        let digest = match own {
            Some(own) if children.is_empty() && position > 0 => ChildDigest::Entry(own),
            own => {
                children.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                let encoded = Listing { own, children }.encode();
                let digest = Listing::digest(&encoded);
                listings.push((digest, encoded));
                ChildDigest::Listing(digest)
            }
        };
        if position > 0 {
            finished[parent].push(Child { name, digest });
        }
    }
    // The root was the last.
    let root = listings.last().map_or_else(|| Listing::digest(&Listing::default().encode()), |(digest, _)| *digest);
    Trees { root, listings }
}

struct Scan<'a> {
    parts: &'a [PathBuf],
    roots: Vec<OwnedFd>,
    /// Files with several names, by device and inode: hashed once, sized once.
    links: Mutex<HashMap<(u64, u64), DataDigest>>,
    size: AtomicU64,
    files: AtomicU64,
}

impl<'a> Scan<'a> {
    fn open(parts: &'a [PathBuf]) -> Result<Self> {
        let open = |path: &PathBuf| rustix::fs::open(path, OPEN | OFlags::DIRECTORY, Mode::empty()).at("open", path);
        Ok(Self {
            parts,
            roots: parts.iter().map(open).collect::<Result<_>>()?,
            links: Mutex::default(),
            size: AtomicU64::new(0),
            files: AtomicU64::new(0),
        })
    }

    /// All entries of a directory.
    fn read(&self, task: &Task) -> Result<Vec<(Vec<u8>, Node)>> {
        let mut opened = Vec::with_capacity(task.parts.len());
        let mut names: BTreeMap<Vec<u8>, Vec<(usize, FileType)>> = BTreeMap::new();
        for (position, &part) in task.parts.iter().enumerate() {
            let path = self.parts[part].join(&task.path);
            let below: &Path = if task.path.as_os_str().is_empty() { Path::new(".") } else { &task.path };
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            let flags = OPEN | OFlags::DIRECTORY;
            let directory = rustix::fs::openat2(&self.roots[part], below, flags, Mode::empty(), resolve);
            let directory = directory.at("open", &path)?;
            for entry in Dir::read_from(&directory).at("list", &path)? {
                let entry = entry.at("list", &path)?;
                let name = entry.file_name().to_bytes();
                if name != b"." && name != b".." {
                    names.entry(name.to_vec()).or_default().push((position, entry.file_type()));
                }
            }
            opened.push((part, directory));
        }
        let hash = |(name, found): (Vec<u8>, Vec<(usize, FileType)>)| -> Result<Option<(Vec<u8>, Node)>> {
            let place = |(position, listed): (usize, FileType)| {
                let (part, directory) = &opened[position];
                let place = Place {
                    directory: directory.as_fd(),
                    name: &name,
                    listed,
                    part: &self.parts[*part],
                    below: &task.path,
                };
                (*part, place)
            };
            let node = self.node(found.into_iter().map(place))?;
            Ok(node.map(|node| (name, node)))
        };
        let names: Vec<_> = names.into_iter().collect();
        let nodes: Result<Vec<_>> = if names.len() < SPLIT {
            names.into_iter().map(hash).collect()
        } else {
            names.into_par_iter().with_min_len(SPLIT / 2).map(hash).collect()
        };
        let nodes: Vec<_> = nodes?.into_iter().flatten().collect();
        self.files.fetch_add(nodes.len() as u64, Ordering::Relaxed);
        Ok(nodes)
    }

    /// What a name is, given the parts that have it, topmost first. The rules stand at the head of the module.
    fn node<'p>(&self, mut places: impl Iterator<Item = (usize, Place<'p>)>) -> Result<Option<Node>> {
        let lowest = self.parts.len() - 1;
        let Some((part, place)) = places.next() else { return Ok(None) };
        if place.kind()? != FileType::Directory {
            let leaf = place.leaf(|file, stat| self.data(file, stat, &place))?;
            return Ok(leaf.and_then(|(kind, digest)| match kind {
                EntryKind::Whiteout if part != lowest => None,
                EntryKind::Socket => Some(Node::Socket),
                _ => Some(Node::Leaf(digest)),
            }));
        }
        let (file, attributes) = place.open_directory()?;
        let stat = rustix::fs::fstat(&file).at_with("look at", || place.path())?;
        drop(file);
        let mut merged = vec![part];
        let mut hides = attributes.opaque;
        let mut merging = !hides;
        for (part, place) in places {
            match place.look()? {
                Found::Directory { opaque } => {
                    if merging {
                        merged.push(part);
                    }
                    hides = opaque;
                    merging &= !opaque;
                }
                Found::Whiteout if part != lowest => {
                    hides = false;
                    merging = false;
                }
                Found::Whiteout => {
                    hides = true;
                    break;
                }
                Found::Other => {
                    hides = false;
                    break;
                }
            }
        }
        let kind = if hides { EntryKind::OpaqueDirectory } else { EntryKind::Directory };
        let meta = EntryMeta { xattrs: attributes.counting, ..meta_of(kind, &stat) };
        Ok(Some(Node::Directory { own: Some(meta.digest(None)), parts: merged }))
    }

    /// The digest of a file's bytes; those of a file with several names are read once.
    fn data(&self, file: &OwnedFd, stat: &Stat, place: &Place<'_>) -> Result<(DataDigest, u64)> {
        let identity = (stat.st_nlink > 1).then_some((stat.st_dev, stat.st_ino));
        if let Some(data) = identity.and_then(|identity| locked(&self.links).get(&identity).copied()) {
            return Ok((data, stat.st_size as u64));
        }
        let (data, size) = DataDigest::of_file_up_to(file, stat.st_size as u64).at_with("read", || place.path())?;
        let first = identity.is_none_or(|identity| locked(&self.links).insert(identity, data).is_none());
        if first {
            self.size.fetch_add(size, Ordering::Relaxed);
        }
        Ok((data, size))
    }
}

impl Directory {
    fn root(scan: &Scan<'_>) -> Result<Self> {
        let Some((root, path)) = scan.roots.first().zip(scan.parts.first()) else { return Ok(Self::default()) };
        let stat = rustix::fs::fstat(root).at("look at", path)?;
        // There is nothing below a root that it could hide within its layer.
        let attributes = Attributes::read(root.as_fd(), || path.clone())?;
        let meta = EntryMeta { xattrs: attributes.counting, ..meta_of(EntryKind::Directory, &stat) };
        let own = meta.digest(None);
        Ok(Self { own: Some(own), ..Self::default() })
    }
}
