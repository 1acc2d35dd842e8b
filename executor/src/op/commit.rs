//! From an upper directory to a layer of the store.

use std::slice;
use std::time::{SystemTime, UNIX_EPOCH};

use builder_cache::content::layer_content;
use builder_cache::{ActiveLayer, LayerId, LayerMeta};

use super::error::OpError;

/// Commits what a step left in its upper directory; one walk tells digest, size and number of files.
pub(super) fn commit_upper(active: ActiveLayer) -> Result<LayerId, OpError> {
    let upper = active.upper().to_owned();
    let content = layer_content(slice::from_ref(&upper))?;
    let meta = LayerMeta {
        content: Some(content.digest()),
        size: content.size,
        files: content.files,
        empty: content.files == 0,
        created_ms: now_ms(),
        ..LayerMeta::default()
    };
    Ok(active.commit(meta)?)
}

/// Milliseconds since the epoch.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
