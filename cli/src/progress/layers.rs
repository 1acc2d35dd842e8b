//! Layers that a build fetches because a step needs their files, as steps of the build.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use builder_cache::{BlobDigest, BlobInfo};
use builder_image::transfer::{State, Watch};

use super::{Progress, Step};

/// Shows what is fetched among the steps of a build.
#[derive(Debug)]
pub(crate) struct FetchedLayers {
    progress: Progress,
    fetches: Mutex<Vec<Fetch>>,
}

/// What one place sends.
#[derive(Debug)]
struct Fetch {
    step: Step,
    /// The blobs that are on their way, with their sizes.
    left: HashMap<BlobDigest, u64>,
}

impl FetchedLayers {
    /// Shows it there.
    pub(crate) fn new(progress: &Progress) -> Self {
        Self { progress: progress.clone(), fetches: Mutex::default() }
    }

    fn fetches(&self) -> MutexGuard<'_, Vec<Fetch>> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for FetchedLayers {
    fn begin(&self, blobs: &[(BlobInfo, String)]) {
        let mut fetches = self.fetches();
        let mut places: Vec<&String> = blobs.iter().map(|(_, place)| place).collect();
        places.sort_unstable();
        places.dedup();
        for place in places {
            let left: HashMap<_, _> =
                blobs.iter().filter(|(_, other)| other == place).map(|(blob, _)| (blob.digest, blob.size)).collect();
            fetches.push(Fetch { step: self.progress.step(&format!("[internal] pull {place}")), left });
        }
    }

    fn note(&self, blob: &BlobDigest, state: State) {
        let mut fetches = self.fetches();
        let Some(at) = fetches.iter().position(|fetch| fetch.left.contains_key(blob)) else { return };
        let Some(fetch) = fetches.get_mut(at) else { return };
        match state {
            State::Downloading { done, total } | State::Extracting { done, total } => {
                // The end is told once, when the files are there.
                fetch.step.transferred(&blob.to_string(), done.min(total.saturating_sub(1)), total);
            }
            State::Done | State::Exists => {
                let total = fetch.left.remove(blob).unwrap_or_default();
                fetch.step.transferred(&blob.to_string(), total, total);
                if fetch.left.is_empty() {
                    fetches.swap_remove(at).step.done();
                }
            }
            // The step that needs it tells why.
            State::Failed => drop(fetches.swap_remove(at)),
            State::Waiting | State::Uploading { .. } | State::Mounted { .. } => {}
        }
    }
}
