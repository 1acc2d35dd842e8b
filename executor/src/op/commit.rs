//! From an upper directory to a layer of the store.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::slice;
use std::time::{SystemTime, UNIX_EPOCH};

use builder_cache::content::layer_content;
use builder_cache::{ActiveLayer, DiffId, LayerId, LayerMeta};

use super::error::OpError;

/// What `/` is like. A step can change that and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RootAttributes {
    mode: u32,
    uid: u32,
    gid: u32,
}

impl RootAttributes {
    /// Those of a directory.
    pub(crate) fn of_directory(path: &std::path::Path) -> Result<Self, OpError> {
        let found = fs::metadata(path).map_err(|source| OpError::Write { path: path.to_owned(), source })?;
        Ok(Self { mode: found.mode(), uid: found.uid(), gid: found.gid() })
    }

    /// Those of an upper directory, which are the base's as soon as it is mounted.
    pub(crate) fn of(active: &ActiveLayer) -> Result<Self, OpError> {
        let found = fs::metadata(active.upper());
        let found = found.map_err(|source| OpError::Write { path: active.upper().to_owned(), source })?;
        Ok(Self { mode: found.mode(), uid: found.uid(), gid: found.gid() })
    }
}

/// Commits what a step left in its upper directory; one walk tells digest, size and number of files. `before` is what
/// the root was like when the step began.
pub(crate) fn commit_upper(active: ActiveLayer, before: RootAttributes) -> Result<LayerId, OpError> {
    let upper = active.upper().to_owned();
    let same_root = RootAttributes::of(&active)? == before;
    let content = layer_content(slice::from_ref(&upper))?;
    // A layer's tar has no entry for the root.
    let nothing = content.files == 0;
    let meta = LayerMeta {
        content: Some(content.digest()),
        size: content.size,
        files: content.files,
        empty: nothing && same_root,
        diff_id: nothing.then(DiffId::of_empty_tar),
        tar_size: nothing.then_some(DiffId::EMPTY_TAR_SIZE as u64),
        created_ms: now_ms(),
        ..LayerMeta::default()
    };
    Ok(active.commit(meta)?)
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
