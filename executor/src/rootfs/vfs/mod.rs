//! The driver for kernels without overlay: a private copy of the whole tree.
//!
//! Before a step the layers are applied one over the other into a working copy; after it, what differs is moved
//! into the directory for changes in the form that overlay would have written. Both directories lie below one work
//! directory, so moving is renaming: hard links, holes, times and attributes stay by themselves.
//!
//! Paths are plain here: every directory on the way was just seen to be a directory, and nothing else runs in
//! these trees at that time.

mod apply;
mod copy;
mod difference;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::temporary::Temporary;
use super::{Error, Result};
pub(super) use apply::is_opaque;
pub(super) use copy::xattrs;

/// A copy of a chain of layers that a step works on.
#[derive(Debug)]
pub(super) struct WorkingCopy {
    tree: PathBuf,
    lower: Vec<PathBuf>,
    changes: Option<(PathBuf, difference::Manifest)>,
    _temporary: Option<Temporary>,
}

impl WorkingCopy {
    /// A copy that changes are made in. It lies in `work`, which the owner of the layer removes.
    pub(super) fn beside(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<Self> {
        let tree = materialise(lower, work)?;
        let manifest = difference::Manifest::take(&tree, work)?;
        Ok(Self { tree, lower: lower.to_vec(), changes: Some((upper.to_owned(), manifest)), _temporary: None })
    }

    /// A copy to read from, in `directory`, which is removed with this value.
    pub(super) fn temporary(lower: &[PathBuf], directory: Temporary) -> Result<Self> {
        let tree = materialise(lower, directory.path())?;
        Ok(Self { tree, lower: lower.to_vec(), changes: None, _temporary: Some(directory) })
    }

    /// The root of the copy.
    pub(super) fn tree(&self) -> &Path {
        &self.tree
    }

    /// Moves what differs from the layers into the directory for changes. The copy is of no use afterwards.
    pub(super) fn write_difference(self) -> Result<()> {
        match &self.changes {
            Some((upper, manifest)) => manifest.write_difference(&self.tree, &self.lower, upper),
            None => Ok(()),
        }
    }
}

fn materialise(lower: &[PathBuf], directory: &Path) -> Result<PathBuf> {
    let tree = directory.join("tree");
    fs::create_dir(&tree).map_err(failed("make", &tree))?;
    for layer in lower.iter().rev() {
        apply::apply(layer, &tree)?;
    }
    Ok(tree)
}

/// Turns an error of the operating system into one that names the file.
fn failed<E: Into<io::Error>>(what: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what, path, source: source.into() }
}
