//! `--cache-mounts`: what `RUN --mount=type=cache` keeps goes into caches, and comes out of them.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;

use builder_cache::Store;
use builder_executor::op::{CarriedMounts, mount_key};
use builder_image::remote_cache::{Imports, Opened, SentMount, fill_mount, pack_mount};
use builder_solver::{CacheKey, Graph, MountKind, Op, VertexId};

use crate::error::CliResult;
use crate::progress::Step;

/// Brings mounts from the caches that a build imports.
#[derive(Debug)]
pub(super) struct Carried(pub(super) Arc<Imports>);

impl CarriedMounts for Carried {
    fn fill(&self, key: &CacheKey, directory: &Path) -> Result<(), Box<dyn StdError + Send + Sync>> {
        for opened in self.0.wait().iter() {
            if let Some(mount) = opened.cache.mounts().iter().find(|mount| mount.key == *key) {
                return Ok(fill_mount(opened, mount, directory)?);
            }
        }
        Ok(())
    }
}

/// The mounts that the steps of a build use, by key, with what people call them. Those that begin with files of an image
/// or a stage are left out: they begin anew there, too.
pub(crate) fn used(graph: &Graph, targets: &[VertexId]) -> BTreeMap<CacheKey, String> {
    let mut used = BTreeMap::new();
    for vertex in graph.reachable(targets) {
        let Op::Exec(exec) = &graph.vertex(vertex).op else { continue };
        for mount in &exec.mounts {
            if let MountKind::Cache(cache) = &mount.kind
                && let Some(key) = mount_key(cache)
            {
                used.insert(key, cache.id.strip_prefix('/').unwrap_or(&cache.id).to_owned());
            }
        }
    }
    used
}

/// The mounts to send. One that this machine does not have, or that somebody is using, is handed on as it came.
pub(super) fn pack(
    store: &Store,
    used: &BTreeMap<CacheKey, String>,
    imports: &[Opened],
    step: &Step,
) -> CliResult<Vec<SentMount>> {
    let mut mounts = Vec::new();
    for (key, name) in used {
        if let Some(directory) = store.resting_mount(key)? {
            let _part = step.part(format!("packing cache mount {name}"));
            let blob = pack_mount(store, directory.path())?;
            mounts.push(SentMount { import: None, key: *key, name: name.clone(), blob });
            continue;
        }
        let came = imports.iter().enumerate().find_map(|(position, opened)| {
            let mount = opened.cache.mounts().iter().find(|mount| mount.key == *key)?;
            Some((position, mount.blob.clone()))
        });
        if let Some((position, blob)) = came {
            mounts.push(SentMount { import: Some(position), key: *key, name: name.clone(), blob });
        }
    }
    Ok(mounts)
}
