//! Blobs of layers → layers of the store, each chain of them once, several at a time.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use builder_cache::{ActiveLayer, BlobDigest, BlobInfo, DiffId, LayerMeta, Snapshot, Store};
use sha2::{Digest, Sha256};

use super::error::Error;
use crate::assemble::now_ms;
use crate::layer::{Applied, ApplyOptions, apply_layer, inherit_parents};
use crate::pool;
use crate::tar::Limits;

/// The chain ids of a list of layers (OCI image specification, config): what identifies a layer *on* those below it.
pub(crate) fn chain_ids(diff_ids: &[DiffId]) -> Vec<BlobDigest> {
    let mut chain: Vec<BlobDigest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chain.push(match chain.last() {
            None => (*diff_id).into(),
            Some(below) => BlobDigest::from_bytes(Sha256::digest(format!("{below} {diff_id}").as_bytes()).into()),
        });
    }
    chain
}

type Unpacked = Result<(ActiveLayer, Applied), Error>;

/// Finds or unpacks the layers of an image.
pub(super) fn unpack(
    store: &Store,
    diff_ids: &[DiffId],
    blobs: &[BlobInfo],
    limits: Limits,
) -> Result<Snapshot, Error> {
    let chain = chain_ids(diff_ids);
    let known = chain.iter().map(|id| store.layer_by_chain_id(&id.to_string())).collect::<Result<Vec<_>, _>>()?;
    let mut missing = Vec::new();
    for (at, known) in known.iter().enumerate() {
        // What is absent is here now.
        if known.map(|id| store.layer(&id)).transpose()?.is_none_or(|layer| layer.absent) {
            missing.push(at);
        }
    }
    let mut unpacked = unpack_all(store, &missing, diff_ids, blobs, limits);

    let mut snapshot = Snapshot::scratch();
    for (at, id) in chain.iter().enumerate() {
        let layer = if let Some((active, applied)) = unpacked[at].take().transpose()? {
            let lowers: Vec<PathBuf> = store.lower_dirs(&snapshot)?;
            inherit_parents(active.upper(), &applied.implied, &lowers)?;
            let meta = LayerMeta {
                diff_id: Some(applied.diff_id),
                tar_size: Some(applied.tar_size),
                chain_id: Some(id.to_string()),
                size: applied.size,
                files: applied.files,
                empty: applied.files == 0,
                created_ms: now_ms(),
                source_blob: Some(blobs[at].digest),
                ..LayerMeta::default()
            };
            match known[at] {
                None => active.commit(meta)?,
                // Another builder may have filled it meanwhile.
                Some(absent) => active.filling(&absent)?.map_or(Ok(absent), |active| active.commit(meta))?,
            }
        } else if let Some(layer) = known[at] {
            layer
        } else {
            continue;
        };
        snapshot = snapshot.with(layer);
    }
    Ok(snapshot)
}

/// Unpacks layers in parallel; the results are at their layers' positions. After a failure no further one begins.
fn unpack_all(
    store: &Store,
    missing: &[usize],
    diff_ids: &[DiffId],
    blobs: &[BlobInfo],
    limits: Limits,
) -> Vec<Option<Unpacked>> {
    let results: Mutex<Vec<Option<Unpacked>>> = Mutex::new((0..blobs.len()).map(|_| None).collect());
    let queue = Mutex::new(missing.iter());
    let work = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(&at) = next else { break };
            let result = unpack_one(store, diff_ids[at], &blobs[at], limits);
            if result.is_err() {
                *queue.lock().unwrap_or_else(PoisonError::into_inner) = [].iter();
            }
            results.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(result);
        }
    };
    thread::scope(|scope| {
        for _ in 1..pool::threads().min(missing.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    // An error must come to light even if a lower layer was never begun because of it.
    if let Some(failed) = results.iter().position(|result| matches!(result, Some(Err(_)))) {
        let first = missing.first().copied().unwrap_or(failed);
        results.swap(first, failed);
    }
    results
}

fn unpack_one(store: &Store, diff_id: DiffId, blob: &BlobInfo, limits: Limits) -> Unpacked {
    let active = store.new_layer()?;
    let options = ApplyOptions { limits, diff_id: Some(diff_id), ..ApplyOptions::default() };
    let applied = apply_layer(store.open_blob(&blob.digest)?, active.upper(), &options)
        .map_err(|source| Error::Unpack { blob: blob.digest, source })?;
    Ok((active, applied))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_depend_on_all_below() {
        let [a, b] = [DiffId::of(b"a"), DiffId::of(b"b")];
        let chain = chain_ids(&[a, b]);
        assert_eq!(chain[0], BlobDigest::from(a));
        assert_eq!(chain[1], BlobDigest::of(format!("{a} {b}").as_bytes()));
        assert_ne!(chain_ids(&[b, a])[1], chain[1]);
        assert_eq!(chain_ids(&[]), []);
    }
}
