//! What is different in the files of two snapshots.
//!
//! Both are walked from the root at once, each as the list of its layers. A directory that is made of the same parts on
//! both sides, by layer or by the digests of the stored listings, is not looked into: what two images share costs
//! nothing. Layers without stored listings are read from the disk, one directory at a time.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use builder_solver::ContentDigest;
use rustix::fs::{FileType, lgetxattr, major, minor};
use rustix::io::Errno;

use crate::content::{ChildDigest, EntryDigest, EntryKind, EntryMeta, Listing, is_whiteout, layer_content};
use crate::error::{At, Error, Result};
use crate::id::{LayerId, Snapshot};
use crate::store::Store;

/// A path that is not the same in two snapshots. What is a directory in one of them and something else in the other is
/// two: gone, and new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// From the root, without a slash at the beginning; empty for the root itself.
    pub path: Vec<u8>,
    /// What it was, if it was there.
    pub before: Option<FileInfo>,
    /// What it is, if it is there.
    pub after: Option<FileInfo>,
    /// The bytes of a file are not the same.
    pub content: bool,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Of directories, only [`EntryKind::Directory`].
    pub kind: EntryKind,
    /// Permission bits, with set-id and sticky bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The size of a file.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Where a symbolic link points.
    pub target: Vec<u8>,
}

impl Store {
    /// The paths in which two snapshots differ, in the order of a walk. Files of absent layers are brought first when
    /// they matter.
    pub fn compare(&self, before: &Snapshot, after: &Snapshot) -> Result<Vec<Difference>> {
        if before == after {
            return Ok(Vec::new());
        }
        let sides = [self.side(before)?, self.side(after)?];
        let mut walk = Walk { store: self, sides, found: Vec::new(), whiteout: whiteout() };
        walk.run()?;
        walk.found.sort_by(|one, other| one.path.split(|b| *b == b'/').cmp(other.path.split(|b| *b == b'/')));
        Ok(walk.found)
    }

    fn side(&self, snapshot: &Snapshot) -> Result<Vec<Layer>> {
        let mut layers = Vec::new();
        for id in snapshot.layers.iter().rev() {
            let meta = self.layer(id)?.meta;
            if meta.empty {
                continue;
            }
            let stored = match meta.content {
                Some(content) if self.has_tree(&content)? => Some(content),
                _ => None,
            };
            let layer = Layer { id: *id, parts: OnceCell::new(), tree: stored };
            // The rules of several directories for one layer are those of the listings.
            let tree = if stored.is_none() && meta.base.is_some() {
                let content = layer_content(layer.parts(self)?)?;
                self.put_trees(&content.trees)?;
                Some(content.digest())
            } else {
                stored
            };
            layers.push(Layer { tree, ..layer });
        }
        Ok(layers)
    }
}

/// A layer, and where to look.
struct Layer {
    id: LayerId,
    parts: OnceCell<Vec<PathBuf>>,
    /// Its listings, when they are stored.
    tree: Option<ContentDigest>,
}

impl Layer {
    /// Its directories, topmost first.
    fn parts(&self, store: &Store) -> Result<&[PathBuf]> {
        if let Some(parts) = self.parts.get() {
            return Ok(parts);
        }
        let parts = store.part_dirs(&self.id)?;
        Ok(self.parts.get_or_init(|| parts))
    }

    /// What its topmost directory that has this path has there.
    fn info(&self, store: &Store, path: &[u8]) -> Result<Option<(PathBuf, fs::Metadata)>> {
        for part in self.parts(store)? {
            let path = part.join(OsStr::from_bytes(path));
            match fs::symlink_metadata(&path) {
                Ok(metadata) => return Ok(Some((path, metadata))),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => return Err(Error::io("look at", path, error)),
            }
        }
        Ok(None)
    }
}

/// What one layer has under a name.
#[derive(Clone, Copy)]
struct Part {
    /// Its position on its side.
    layer: usize,
    /// What the listings say that it is.
    digest: Option<ChildDigest>,
}

/// One directory of a layer that is part of a directory.
#[derive(Clone, Copy)]
struct Piece {
    layer: usize,
    tree: Option<ContentDigest>,
}

/// What a name is in a snapshot.
enum Node {
    Leaf { part: Part, place: PathBuf, info: FileInfo },
    Directory { info: FileInfo, pieces: Vec<Piece> },
}

struct Walk<'s> {
    store: &'s Store,
    /// The layers of both, topmost first.
    sides: [Vec<Layer>; 2],
    found: Vec<Difference>,
    whiteout: EntryDigest,
}

/// What a listing says of a name that is gone.
fn whiteout() -> EntryDigest {
    EntryMeta::new(EntryKind::Whiteout, 0).digest(None)
}

impl Walk<'_> {
    fn run(&mut self) -> Result<()> {
        let pieces = |side: &Vec<Layer>| {
            side.iter().enumerate().map(|(layer, found)| Piece { layer, tree: found.tree }).collect::<Vec<_>>()
        };
        let root = [pieces(&self.sides[0]), pieces(&self.sides[1])];
        let infos = [self.root(0)?, self.root(1)?];
        if let [Some(before), Some(after)] = infos
            && before != after
        {
            self.found.push(Difference { path: Vec::new(), before: Some(before), after: Some(after), content: false });
        }
        let mut waiting = vec![(Vec::new(), root)];
        while let Some((path, pieces)) = waiting.pop() {
            let names = [self.names(0, &path, &pieces[0])?, self.names(1, &path, &pieces[1])?];
            let [mut before, after] = names;
            let mut both: BTreeMap<Vec<u8>, [Vec<Part>; 2]> = BTreeMap::new();
            for (name, parts) in after {
                let others = before.remove(&name).unwrap_or_default();
                both.insert(name, [others, parts]);
            }
            both.extend(before.into_iter().map(|(name, parts)| (name, [parts, Vec::new()])));
            for (name, parts) in both {
                if self.same(&parts) {
                    continue;
                }
                let mut below = path.clone();
                if !below.is_empty() {
                    below.push(b'/');
                }
                below.extend_from_slice(&name);
                if let Some(pieces) = self.compare(&below, &parts)? {
                    waiting.push((below, pieces));
                }
            }
        }
        Ok(())
    }

    fn root(&self, side: usize) -> Result<Option<FileInfo>> {
        let Some(top) = self.sides[side].first() else { return Ok(None) };
        let found = top.info(self.store, b"")?;
        found.map(|(place, metadata)| info(&place, &metadata)).transpose()
    }

    /// Whether the same parts make up both sides.
    fn same(&self, [before, after]: &[Vec<Part>; 2]) -> bool {
        before.len() == after.len()
            && before.iter().zip(after).all(|(before, after)| {
                self.sides[0][before.layer].id == self.sides[1][after.layer].id
                    || before.digest.is_some_and(|digest| after.digest == Some(digest))
            })
    }

    /// The names in a directory with the layers that have them, topmost first.
    fn names(&self, side: usize, path: &[u8], pieces: &[Piece]) -> Result<BTreeMap<Vec<u8>, Vec<Part>>> {
        let mut names: BTreeMap<Vec<u8>, Vec<Part>> = BTreeMap::new();
        for piece in pieces {
            let mut add = |name: Vec<u8>, digest| {
                names.entry(name).or_default().push(Part { layer: piece.layer, digest });
            };
            if let Some(tree) = &piece.tree {
                let encoded = self.store.get_tree(tree)?.ok_or(Error::DamagedTree(*tree))?;
                let listing = Listing::decode(&encoded).ok_or(Error::DamagedTree(*tree))?;
                listing.children.into_iter().for_each(|child| add(child.name, Some(child.digest)));
                continue;
            }
            for part in self.sides[side][piece.layer].parts(self.store)? {
                let directory = part.join(OsStr::from_bytes(path));
                for entry in fs::read_dir(&directory).at("list", &directory)? {
                    add(entry.at("list", &directory)?.file_name().as_bytes().to_vec(), None);
                }
            }
        }
        Ok(names)
    }

    /// One name that may differ; what is to be walked below it.
    fn compare(&mut self, path: &[u8], parts: &[Vec<Part>; 2]) -> Result<Option<[Vec<Piece>; 2]>> {
        let (before, after) = (self.node(0, path, &parts[0])?, self.node(1, path, &parts[1])?);
        let mut add = |before: Option<FileInfo>, after: Option<FileInfo>, content| {
            self.found.push(Difference { path: path.to_vec(), before, after, content });
        };
        match (before, after) {
            (None, None) => Ok(None),
            (
                Some(Node::Directory { info: before, pieces: old }),
                Some(Node::Directory { info: after, pieces: new }),
            ) => {
                if before != after {
                    add(Some(before), Some(after), false);
                }
                Ok(Some([old, new]))
            }
            (
                Some(Node::Leaf { part: old, place: old_place, info: before }),
                Some(Node::Leaf { part: new, place: new_place, info: after }),
            ) => {
                let same_layer = self.sides[0][old.layer].id == self.sides[1][new.layer].id;
                let digests = old.digest.zip(new.digest);
                if same_layer || digests.is_some_and(|(old, new)| old == new) {
                    return Ok(None);
                }
                let both_files = before.kind == EntryKind::File && after.kind == EntryKind::File;
                let content = both_files && (before.size != after.size || !equal_bytes(&old_place, &new_place)?);
                // Digests also tell of extended attributes.
                if content || before != after || digests.is_some() {
                    add(Some(before), Some(after), content);
                }
                Ok(None)
            }
            (before, after) => {
                let mut below = [Vec::new(), Vec::new()];
                for (side, node) in [before, after].into_iter().enumerate() {
                    let info = match node {
                        None => continue,
                        Some(Node::Leaf { info, .. }) => info,
                        Some(Node::Directory { info, pieces }) => {
                            below[side] = pieces;
                            info
                        }
                    };
                    if side == 0 { add(Some(info), None, false) } else { add(None, Some(info), false) }
                }
                Ok(below.iter().any(|pieces| !pieces.is_empty()).then_some(below))
            }
        }
    }

    /// What a name is, given the layers that have it. Overlay's rules: the topmost decides; a directory goes on below
    /// until one is opaque or something is no directory.
    fn node(&self, side: usize, path: &[u8], parts: &[Part]) -> Result<Option<Node>> {
        let gone = |part: &Part| part.digest == Some(ChildDigest::Entry(self.whiteout));
        let layer = |part: &Part| &self.sides[side][part.layer];
        let Some(first) = parts.first().filter(|first| !gone(first)) else { return Ok(None) };
        let Some((place, metadata)) = layer(first).info(self.store, path)? else { return Ok(None) };
        let info = info(&place, &metadata)?;
        match info.kind {
            EntryKind::Whiteout => return Ok(None),
            EntryKind::Directory => {}
            _ => return Ok(Some(Node::Leaf { part: *first, place, info })),
        }
        let mut pieces = Vec::new();
        for (position, part) in parts.iter().enumerate() {
            if gone(part) {
                break;
            }
            let Some((place, metadata)) = layer(part).info(self.store, path)? else { break };
            if !metadata.is_dir() {
                break;
            }
            match part.digest {
                // An empty one.
                Some(ChildDigest::Entry(_)) => {}
                Some(ChildDigest::Listing(tree)) => pieces.push(Piece { layer: part.layer, tree: Some(tree) }),
                None => pieces.push(Piece { layer: part.layer, tree: None }),
            }
            if position + 1 < parts.len() && self.is_opaque(layer(part), &place, &metadata, part.digest)? {
                break;
            }
        }
        Ok(Some(Node::Directory { info, pieces }))
    }

    /// Whether a directory hides what lies below its layer. Of a layer of several directories, the listing knows.
    fn is_opaque(
        &self,
        layer: &Layer,
        place: &Path,
        metadata: &fs::Metadata,
        digest: Option<ChildDigest>,
    ) -> Result<bool> {
        if layer.parts(self.store)?.len() == 1 {
            return opaque_mark(place);
        }
        let own = match digest {
            None => return opaque_mark(place),
            Some(ChildDigest::Entry(own)) => Some(own),
            Some(ChildDigest::Listing(tree)) => {
                let encoded = self.store.get_tree(&tree)?.ok_or(Error::DamagedTree(tree))?;
                Listing::decode(&encoded).ok_or(Error::DamagedTree(tree))?.own
            }
        };
        let file = fs::File::open(place).at("open", place)?;
        let xattrs = crate::content::read_xattrs(&file).at("look at", place)?;
        let kind = EntryKind::OpaqueDirectory;
        let (uid, gid) = (metadata.uid(), metadata.gid());
        let meta = EntryMeta { uid, gid, xattrs, ..EntryMeta::new(kind, metadata.mode()) };
        Ok(own == Some(meta.digest(None)))
    }
}

fn opaque_mark(place: &Path) -> Result<bool> {
    for name in ["trusted.overlay.opaque", "user.overlay.opaque"] {
        let mut value = [0; 8];
        match lgetxattr(place, name, &mut value) {
            Ok(length) if value[..length] == *b"y" => return Ok(true),
            Ok(_) | Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM | Errno::RANGE) => {}
            Err(error) => return Err(Error::io("look at", place, error)),
        }
    }
    Ok(false)
}

fn info(place: &Path, metadata: &fs::Metadata) -> Result<FileInfo> {
    let device = metadata.rdev();
    let kind = match FileType::from_raw_mode(metadata.mode()) {
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        FileType::CharacterDevice if is_whiteout(device) => EntryKind::Whiteout,
        FileType::CharacterDevice => EntryKind::CharDevice,
        FileType::BlockDevice => EntryKind::BlockDevice,
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        FileType::RegularFile | FileType::Unknown => EntryKind::File,
    };
    let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
    let is_link = kind == EntryKind::Symlink;
    Ok(FileInfo {
        kind,
        mode: if is_link { 0o777 } else { metadata.mode() & 0o7777 },
        uid: metadata.uid(),
        gid: metadata.gid(),
        size: if kind == EntryKind::File { metadata.len() } else { 0 },
        device: if is_device { (major(device), minor(device)) } else { (0, 0) },
        target: if is_link { fs::read_link(place).at("read", place)?.into_os_string().into_vec() } else { Vec::new() },
    })
}

/// Whether two files of the same size hold the same.
fn equal_bytes(one: &Path, other: &Path) -> Result<bool> {
    const CHUNK: u64 = 64 * 1024;
    let (mut first, mut second) = (fs::File::open(one).at("open", one)?, fs::File::open(other).at("open", other)?);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        first.by_ref().take(CHUNK).read_to_end(&mut left).at("read", one)?;
        second.by_ref().take(CHUNK).read_to_end(&mut right).at("read", other)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}
