//! A container's changes as a layer of the store.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use builder_cache::{Container, ContainerState, LayerId, Store};
use builder_image::layer::copy_layer;

use super::view::refuse_vfs;
use crate::op::{OpError, RootAttributes, commit_upper};
use crate::rootfs::Driver;

/// Copies what a container changed into a layer, on the same way as that of a step. The container stays as it is; while
/// it runs, its files should stand still.
///
/// # Errors
/// When a file can't be read, or changes meanwhile.
pub fn commit(store: &Store, driver: &Driver, container: &Container) -> Result<LayerId, OpError> {
    if container.state() == ContainerState::Running {
        refuse_vfs(driver)?;
    }
    let upper = store.container_upper(&container.id);
    let layer = store.new_layer()?;
    let below = store.lower_dirs(&container.snapshot)?;
    let before = match below.first() {
        Some(below) => RootAttributes::of_directory(below)?,
        None => RootAttributes::of(&layer)?,
    };
    copy_layer(&[&upper], layer.upper())?;
    like(&upper, layer.upper()).map_err(|source| OpError::Write { path: layer.upper().to_owned(), source })?;
    commit_upper(layer, before)
}

/// A tar says nothing of the root itself.
fn like(original: &Path, copy: &Path) -> std::io::Result<()> {
    let wanted = std::fs::metadata(original)?;
    chown(copy, Some(wanted.uid()), Some(wanted.gid()))?;
    std::fs::set_permissions(copy, std::fs::Permissions::from_mode(wanted.mode() & 0o7777))
}
