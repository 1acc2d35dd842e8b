//! Deleting what nobody needs: with the store to oneself, first in the database (on the disk before anything else
//! happens), then among the files.
//!
//! | thing | stays while |
//! |---|---|
//! | image | a container was made of it, it has a name (one with a digest is none here), or `prune_images` was not told to take it |
//! | record | [`PruneOptions`] spare it; its components stay longer, to explain misses |
//! | repository that was fetched, answer of a server | [`crate::remotes`] says |
//! | cache mount | [`PruneOptions`] spare it |
//! | layer | an image, a container or a present record has it in its chain, or it is the base of a layer that stays |
//! | blob | it is an image's config, manifest or what that refers to, or a name keeps it; what a layer that stays came from or was packed into |
//! | listing | it is part of a tree that a kept record's key or a layer that stays has |

mod plan;
mod state;
mod sweep;

use std::time::Duration;

use crate::blob::{blob_path, remove_file};
use crate::error::Result;
use crate::id::BlobDigest;
use crate::layer::layer_directory;
use crate::lock::Wait;
use crate::mount;
use crate::store::{Commit, Store};
use crate::{remotes, reserve, session, trash};

use plan::Plan;
use state::State;
pub(crate) use sweep::sweep_orphans;

/// What [`Store::prune`] may take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneOptions {
    /// Records that led to an image, and cache mounts, too. The images themselves stay.
    pub all: bool,
    /// Cache mounts and no records.
    pub only_mounts: bool,
    /// Records and no cache mounts, whatever else is said.
    pub only_records: bool,
    /// Only what was not used for so long.
    pub older_than: Option<Duration>,
    /// Stop when layers, cache mounts and blobs take no more than this; the least recently used go first.
    pub keep_bytes: Option<u64>,
    /// Wait until no builder uses the store instead of failing.
    pub wait: bool,
    /// Only tell what would go.
    pub dry_run: bool,
}

impl PruneOptions {
    fn takes_mounts(&self) -> bool {
        (self.all || self.only_mounts) && !self.only_records
    }
}

/// What [`Store::prune_images`] may take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneImagesOptions {
    /// Images with names, too.
    pub all: bool,
    /// Only images that were created so long ago.
    pub older_than: Option<Duration>,
    /// Images to spare: those that a container runs on.
    pub keep: Vec<BlobDigest>,
    /// Only these, when some are named.
    pub only: Option<Vec<BlobDigest>>,
    /// Wait until no builder uses the store instead of failing.
    pub wait: bool,
    /// Only tell what would go.
    pub dry_run: bool,
}

/// What was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Records whose result went.
    pub records: u64,
    /// Cache mounts.
    pub mounts: u64,
    /// Layers.
    pub layers: u64,
    /// Blobs.
    pub blobs: u64,
    /// Listings of directories.
    pub trees: u64,
    /// Images.
    pub images: Vec<BlobDigest>,
    /// Bytes of files.
    pub freed: u64,
}

impl Store {
    /// Deletes records, and then the layers, blobs and listings that nothing refers to. Images stay. Fails with
    /// [`crate::Error::InUse`] while a builder holds a [`crate::Lease`], this process included.
    pub fn prune(&self, options: &PruneOptions) -> Result<Pruned> {
        self.prune_with(wait(options.wait), options.dry_run, Some(options), |state| {
            if options.takes_mounts() || options.keep_bytes.is_some() {
                state.measure_mounts(self.root());
            }
            state.evict(options);
        })
    }

    /// Deletes images without a name (or all), and then what nothing refers to any more. Records stay.
    pub fn prune_images(&self, options: &PruneImagesOptions) -> Result<Pruned> {
        self.prune_with(wait(options.wait), options.dry_run, None, |state| state.remove_images(options))
    }

    /// Deletes what nothing refers to.
    pub fn collect_garbage(&self) -> Result<Pruned> {
        self.prune_with(Wait::No, false, None, |_| {})
    }

    fn prune_with(
        &self,
        wait: Wait,
        dry_run: bool,
        options: Option<&PruneOptions>,
        choose: impl FnOnce(&mut State),
    ) -> Result<Pruned> {
        let mut pruned;
        {
            let _alone = self.alone(wait)?;
            if !dry_run {
                session::sweep(self.root())?;
                sweep::sweep_locks(self.root())?;
                self.sweep_passing()?;
            }
            let mut state = self.read_consistent(State::load)?;
            state.follow_manifests(self);
            choose(&mut state);
            let plan = self.read_consistent(|db| Plan::new(state, db))?;
            pruned = plan.summary();
            let repositories = options.map(|options| remotes::unused(self.root(), options)).unwrap_or_default();
            pruned.freed += repositories.iter().map(|(_, bytes)| bytes).sum::<u64>();
            if dry_run {
                return Ok(pruned);
            }
            if plan.changes_rows() {
                reserve::or_give_up(self.root(), || self.write(Commit::Durable, |db| plan.apply(db)))?;
            }
            for layer in &plan.layers {
                trash::discard(self.root(), &layer_directory(self.root(), layer.0))?;
            }
            for (mount, _) in &plan.mounts {
                trash::discard(self.root(), &mount::directory(self.root(), *mount))?;
            }
            for (blob, _) in &plan.blobs {
                remove_file(&blob_path(self.root(), blob))?;
            }
            pruned.freed += sweep_orphans(self)?;
            remotes::remove(self.root(), &repositories)?;
            remotes::sweep(self)?;
        }
        if !pruned.images.is_empty() {
            self.write_index()?;
        }
        self.fold_log();
        // The store is open to others again; this may take a while.
        trash::empty(self.root())?;
        reserve::set_aside(self.root());
        Ok(pruned)
    }
}

fn wait(wait: bool) -> Wait {
    if wait { Wait::Yes } else { Wait::No }
}
