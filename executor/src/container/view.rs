//! A container's files from outside.

use std::os::fd::{AsFd, OwnedFd};

use builder_cache::{Container, ContainerState, Error as StoreError, HeldContainer, Store};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::process::{holds, root_of};
use crate::op::OpError;
use crate::rootfs::{Driver, DriverKind, Purpose, RootMount};

/// The root of a container, for reading or for changing it.
#[derive(Debug)]
pub struct View {
    root: OwnedFd,
    /// The descriptor above is of this mount.
    _mount: Option<RootMount>,
    /// Nobody else changes or removes it meanwhile.
    _held: Option<HeldContainer>,
    live: bool,
}

impl View {
    /// The files of a container as they are now, without anything that is mounted in it.
    ///
    /// # Errors
    /// When the mount can't be made; while it runs with the vfs driver, which writes changes down at the end.
    pub fn read(store: &Store, driver: &Driver, container: &Container) -> Result<Self, OpError> {
        if container.state() == ContainerState::Running {
            refuse_vfs(driver)?;
        }
        let mut directories = vec![store.container_upper(&container.id)];
        directories.extend(store.lower_dirs(&container.snapshot)?);
        let mount = driver.mount_directories(directories, None, Purpose::Files)?;
        Self::of(mount, None)
    }

    /// The files of its image.
    ///
    /// # Errors
    /// When the mount can't be made.
    pub fn image(store: &Store, driver: &Driver, container: &Container) -> Result<Self, OpError> {
        Self::of(driver.mount(store, &container.snapshot, None, Purpose::Files)?, None)
    }

    /// The files of a container, to change them: of one that runs as its processes see them, mounts included.
    ///
    /// # Errors
    /// When the mount can't be made, or the container is gone.
    pub fn change(store: &Store, driver: &Driver, container: &Container) -> Result<Self, OpError> {
        if let Some(held) = store.hold_container(&container.id, false)? {
            held.changing()?;
            let mount = driver.resume(store, &container.snapshot, &held.upper(), &held.fresh_work()?)?;
            return Self::of(mount, Some(held));
        }
        let holder = container.holder.ok_or(StoreError::NoContainer(container.id))?;
        let path = root_of(holder);
        if !holds(holder, &store.container_directory(&container.id)) {
            let reason =
                "the builder that runs the container can't be seen from here: wait until the container has ended";
            return Err(OpError::Read { path, source: std::io::Error::other(reason) });
        }
        let root = openat(CWD, &path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| OpError::Read { path, source: error.into() })?;
        // As long as the lock is taken the number was that of who runs it.
        if store.hold_container(&container.id, false)?.is_some() {
            return Err(StoreError::NoContainer(container.id).into());
        }
        Ok(Self { root, _mount: None, _held: None, live: true })
    }

    /// The open root directory.
    pub fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Whether what is mounted in the container is seen, too.
    pub fn is_live(&self) -> bool {
        self.live
    }

    fn of(mount: RootMount, held: Option<HeldContainer>) -> Result<Self, OpError> {
        let root = openat(mount.as_fd(), c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| OpError::Read { path: "/".into(), source: error.into() })?;
        Ok(Self { root, _mount: Some(mount), _held: held, live: false })
    }
}

/// With this driver the changes of a container that runs are not to be seen yet.
pub(super) fn refuse_vfs(driver: &Driver) -> Result<(), OpError> {
    let (kind, _) = driver.probe()?;
    if kind == DriverKind::Vfs {
        let reason = "it can't look into a container that runs: wait until it has ended".to_owned();
        return Err(crate::rootfs::Error::Driver { driver: kind.name(), reason }.into());
    }
    Ok(())
}
