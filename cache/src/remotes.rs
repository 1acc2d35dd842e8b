//! What was fetched over the network: small answers that name layers, and repositories. Whoever fetches owns the
//! formats; here is only told what may go.
//!
//! | thing | stays while |
//! |---|---|
//! | `remotes/http/*.json`, `remotes/trees/*.json` | the layer is there that it names |
//! | `remotes/git/<hex>`, a repository | a prune of everything does not take it, or it was used since |

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{At, Result};
use crate::prune::PruneOptions;
use crate::store::Store;
use crate::trash;
use crate::usage::bytes_of_tree;

/// Repositories that a prune takes, with their bytes. The lock beside each tells when it was last used.
pub(crate) fn unused(root: &Path, options: &PruneOptions) -> Vec<(PathBuf, u64)> {
    let everything = options.all && !options.only_mounts && !options.only_records && options.keep_bytes.is_none();
    if !everything {
        return Vec::new();
    }
    let old_enough = |path: &Path| {
        let Some(age) = options.older_than else { return true };
        let used = fs::metadata(path.with_extension("lock")).and_then(|found| found.modified());
        used.is_ok_and(|used| SystemTime::now().duration_since(used).is_ok_and(|since| since > age))
    };
    let entries = fs::read_dir(root.join("remotes/git")).into_iter().flatten().flatten().map(|entry| entry.path());
    let taken = entries.filter(|path| path.is_dir() && old_enough(path));
    taken.map(|path| (path.clone(), bytes_of_tree(&path))).collect()
}

/// Removes repositories. The caller has the store alone.
pub(crate) fn remove(root: &Path, repositories: &[(PathBuf, u64)]) -> Result<()> {
    for (path, _) in repositories {
        trash::discard(root, path)?;
        let _ = fs::remove_file(path.with_extension("lock"));
    }
    Ok(())
}

/// Removes answers that name a layer that is gone. The caller has the store alone.
pub(crate) fn sweep(store: &Store) -> Result<()> {
    for kind in ["http", "trees"] {
        let directory = store.root().join("remotes").join(kind);
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let layer = fs::read(&path).ok().and_then(|bytes| {
                let answer: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
                answer["layer"].as_str()?.parse().ok()
            });
            if layer.is_none_or(|layer| store.layer(&layer).is_err()) {
                fs::remove_file(&path).at("remove", &path)?;
            }
        }
    }
    Ok(())
}
