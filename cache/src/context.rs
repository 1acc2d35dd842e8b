//! Where the stat index of a local context lives. Its format is the business of whoever scans contexts.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{At, Result};
use crate::store::Store;

impl Store {
    /// The file for the stat index of a context directory; it may not exist yet.
    pub fn context_index(&self, canonical_context_dir: &Path) -> PathBuf {
        let name = blake3::hash(canonical_context_dir.as_os_str().as_bytes()).to_hex();
        self.root().join("contexts").join(format!("{name}.index"))
    }

    /// Replaces the stat index of a context directory: readers see the old file or the new one, but after a power
    /// cut maybe neither, so it should carry a checksum.
    pub fn replace_context_index(&self, canonical_context_dir: &Path, bytes: &[u8]) -> Result<()> {
        let target = self.context_index(canonical_context_dir);
        let (_, new) = self.session()?.fresh("index-")?;
        fs::write(&new, bytes).at("write", &new)?;
        fs::rename(&new, &target).at("create", &target)
    }
}
