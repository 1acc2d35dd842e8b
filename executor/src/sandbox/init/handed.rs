//! Mounts that the builder made and handed over as descriptors: whole ones, and parts of trees.
//!
//! A part is looked up here and not by the builder, since older kernels clone nothing of a mount that is attached
//! nowhere. A tree is attached out of the image's sight, below the root that the sandbox leaves.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use oci_spec::runtime::Mount;
use rustix::fs::{Mode, OFlags};

use super::super::error::{Attempt, Error, Failure};
use super::super::mount_options::MountOptions;
use super::super::wire::Plan;
use super::trees::clone_fd;
use super::{Step, attach, open_directory};
use crate::rootfs::in_root;
use crate::sys;

/// Where trees are attached, one over the other.
pub(super) const PLACE: &str = "/tree";

/// The descriptors of a request, as far as they are mounts.
pub(super) struct Handed<'a> {
    plan: &'a Plan,
    descriptors: &'a mut [Option<OwnedFd>],
    attached: BTreeSet<usize>,
}

impl<'a> Handed<'a> {
    pub(super) fn new(plan: &'a Plan, descriptors: &'a mut [Option<OwnedFd>]) -> Self {
        Self { plan, descriptors, attached: BTreeSet::new() }
    }

    /// The mount with this index of the specification, when it was handed over: detached, with its attributes set.
    pub(super) fn take(&mut self, index: usize, mount: &Mount) -> Step<Option<OwnedFd>> {
        let Some(handed) = self.plan.mounts.iter().find(|handed| handed.mount == index) else { return Ok(None) };
        let Some(slot) = self.descriptors.get_mut(handed.descriptor) else { return Ok(None) };
        let Some(path) = &handed.path else { return Ok(slot.take()) };
        let Some(tree) = slot else { return Ok(None) };
        if self.attached.insert(handed.descriptor) {
            attach(&*tree, open_directory(PLACE)?).attempt("attach a tree")?;
        }
        let what = || format!("open {} for the mount at {}", path.display(), mount.destination().display());
        let found = in_root::open(&*tree, path, OFlags::PATH, Mode::empty()).attempt_with(what)?;
        let view = clone_fd(found, false).attempt_with(|| format!("bind {}", mount.destination().display()))?;
        let options = MountOptions::parse(mount.options().as_deref().unwrap_or_default()).map_err(refused)?;
        sys::mount_setattr(&view, false, options.attributes())
            .attempt_with(|| format!("set the mount attributes of {}", mount.destination().display()))?;
        Ok(Some(view))
    }
}

/// An error of the builder's side on this side.
pub(super) fn refused(error: Error) -> Failure {
    match error {
        Error::Refused(reason) => Failure::Refused(reason),
        other => Failure::Unsupported(other.to_string()),
    }
}
