use rusqlite::Row;

use super::{Container, ContainerId, Holder};
use crate::id::BlobDigest;
use crate::layer::decode_chain;

/// What [`container_of`] reads.
pub(super) const COLUMNS: &str =
    "id, name, image, layers, description, created_ms, started_ms, finished_ms, exit_code, pid, root, remove";

pub(super) fn container_of(row: &Row<'_>) -> rusqlite::Result<Container> {
    let (pid, root): (Option<i32>, Option<i32>) = (row.get(9)?, row.get(10)?);
    Ok(Container {
        id: ContainerId::from_bytes(row.get(0)?),
        name: row.get(1)?,
        image: BlobDigest::from_bytes(row.get(2)?),
        snapshot: decode_chain(row.get_ref(3)?.as_blob()?),
        description: row.get(4)?,
        created_ms: row.get(5)?,
        started_ms: row.get(6)?,
        finished_ms: row.get(7)?,
        exit_code: row.get(8)?,
        remove: row.get(11)?,
        holder: pid.zip(root).map(|(pid, root)| Holder { pid, root }),
    })
}
