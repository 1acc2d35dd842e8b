//! Blobs of a cache on their way, as lines of the step that sends them.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use builder_cache::BlobDigest;
use builder_image::transfer::{State, Watch};

use crate::progress::Step;

/// Of smaller blobs it is only told that they are there.
const LARGE: u64 = 1 << 20;

/// Shows them in a step.
pub(super) struct Shown<'a> {
    step: &'a Step,
    told: Mutex<HashSet<BlobDigest>>,
}

impl<'a> Shown<'a> {
    pub(super) fn new(step: &'a Step) -> Self {
        Self { step, told: Mutex::default() }
    }
}

impl Watch for Shown<'_> {
    fn note(&self, blob: &BlobDigest, state: State) {
        let label = format!("writing layer {blob}");
        match state {
            State::Uploading { done, total } if total > LARGE && done < total => {
                self.step.transferred(&label, done, total);
            }
            State::Done | State::Exists | State::Mounted { .. }
                if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(*blob) =>
            {
                self.step.note(label);
            }
            _ => {}
        }
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}
