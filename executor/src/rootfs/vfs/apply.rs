//! Applying one layer in overlay form to a tree.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::copy::{self, OPAQUE};
use super::{Result, failed};
use builder_cache::content;

/// Applies `layer` to `tree`.
pub(super) fn apply(layer: &Path, tree: &Path) -> Result<()> {
    let mut links = HashMap::new();
    directory(layer, tree, &mut links)
}

/// Names of files with several of them, by inode: where the first one was put.
type Links = HashMap<(u64, u64), PathBuf>;

fn directory(from: &Path, to: &Path, links: &mut Links) -> Result<()> {
    for entry in fs::read_dir(from).map_err(failed("read", from))? {
        let entry = entry.map_err(failed("read", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let metadata = fs::symlink_metadata(&source).map_err(failed("look at", &source))?;
        if is_whiteout(&metadata) {
            remove(&target)?;
        } else if metadata.is_dir() {
            match fs::symlink_metadata(&target) {
                Ok(existing) if existing.is_dir() && !is_opaque(&source)? => {}
                Ok(_) => {
                    remove(&target)?;
                    fs::create_dir(&target).map_err(failed("make", &target))?;
                }
                Err(_) => fs::create_dir(&target).map_err(failed("make", &target))?,
            }
            directory(&source, &target, links)?;
        } else {
            remove(&target)?;
            let first = links.get(&(metadata.dev(), metadata.ino()));
            if let Some(first) = first {
                fs::hard_link(first, &target).map_err(failed("link", &target))?;
            } else {
                copy::node(&source, &metadata, &target)?;
                if metadata.nlink() > 1 {
                    links.insert((metadata.dev(), metadata.ino()), target);
                }
            }
        }
    }
    // After the contents, which change the times.
    let metadata = fs::symlink_metadata(from).map_err(failed("look at", from))?;
    copy::attributes(from, &metadata, to)
}

/// Whether this stands for something that was removed.
pub(super) fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && content::is_whiteout(metadata.rdev())
}

/// Whether a directory of a layer hides what is below it.
pub(in crate::rootfs) fn is_opaque(path: &Path) -> Result<bool> {
    Ok(copy::xattr(path, OPAQUE)?.as_deref() == Some(b"y"))
}

fn remove(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(failed("remove", path))
}
