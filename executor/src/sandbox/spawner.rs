//! The builder's side of the spawner process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use oci_spec::runtime::Spec;
use rustix::fs::{MemfdFlags, SealFlags, memfd_create};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::error::{Error, Result};
use super::init::SUBCOMMAND;
use super::probe;
use super::wire::{self, DescriptionRef, Plan};
use crate::sys::{self, MountAttr};

/// The helper process: started when it is first needed, again when it is gone.
#[derive(Debug, Default)]
pub(super) struct Spawner {
    program: Option<PathBuf>,
    process: Mutex<Option<Helper>>,
}

#[derive(Debug)]
struct Helper {
    socket: Option<OwnedFd>,
    child: Child,
}

impl Spawner {
    pub(super) fn with_program(program: PathBuf) -> Self {
        Self { program: Some(program), process: Mutex::new(None) }
    }

    pub(super) fn start(&self) -> Result<()> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if process.is_none() {
            *process = Some(self.launch()?);
        }
        Ok(())
    }

    /// Hands one request to the helper.
    pub(super) fn send(
        &self,
        plan: &Plan,
        spec: &Spec,
        channel: BorrowedFd<'_>,
        root: BorrowedFd<'_>,
        further: &[BorrowedFd<'_>],
    ) -> Result<()> {
        let setup = |what: &str, source: io::Error| Error::Setup { what: what.to_owned(), source };
        let json = serde_json::to_vec(&DescriptionRef { plan, spec })
            .map_err(|error| setup("write down the specification", error.into()))?;
        let description = memory_file(&json).map_err(|error| setup("make a memory file", error))?;
        let mut descriptors = vec![channel, description.as_fd(), root];
        descriptors.extend(further);
        if descriptors.len() > wire::MAX_DESCRIPTORS {
            let most = wire::MAX_DESCRIPTORS;
            let reason =
                format!("it has too many mounts: {} descriptors, and {most} can be handed over", descriptors.len());
            return Err(Error::Refused(reason));
        }

        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        for attempt in 0.. {
            let helper = match process.take().and_then(Helper::if_alive) {
                Some(helper) => helper,
                None => self.launch()?,
            };
            let helper = process.insert(helper);
            match helper.socket.as_ref().map(|socket| wire::send_bytes(socket, b"R", &descriptors)) {
                Some(Ok(())) => break,
                // It was killed by somebody: one new one is worth a try.
                Some(Err(error)) if attempt == 0 && is_gone(&error) => *process = None,
                Some(Err(error)) => return Err(setup("hand the request to the sandbox process", error)),
                None => return Err(Error::Lost),
            }
        }
        Ok(())
    }

    fn launch(&self) -> Result<Helper> {
        probe::check_privilege()?;
        let (ours, theirs) = wire::channel().map_err(Error::Start)?;
        let program = protected(self.program.as_deref()).map_err(Error::Start)?;
        let child = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
            .arg0("builder-sandbox")
            .arg(SUBCOMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            .spawn()
            .map_err(Error::Start)?;
        Ok(Helper { socket: Some(ours), child })
    }
}

impl Helper {
    /// Itself, unless it was killed.
    fn if_alive(mut self) -> Option<Self> {
        matches!(self.child.try_wait(), Ok(None)).then_some(self)
    }
}

impl Drop for Helper {
    /// Closing the socket ends the helper and every sandbox that waits; those that run belong to their channels.
    fn drop(&mut self) {
        drop(self.socket.take());
        let _ = self.child.wait();
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN))
}

/// Opens the helper's program such that nobody can write to it through `/proc/PID/exe`: an image whose entry point
/// is `/proc/self/exe` would otherwise get hold of the builder's own binary (CVE-2019-5736). A read-only detached
/// mount of the one file does; where that can't be had a sealed copy in memory does, too.
fn protected(program: Option<&Path>) -> io::Result<OwnedFd> {
    let path = program.unwrap_or(Path::new("/proc/self/exe"));
    let clone = open_tree(rustix::fs::CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC);
    if let Ok(fd) = clone {
        let attr = MountAttr {
            set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV,
            propagation: libc::MS_PRIVATE,
            ..MountAttr::default()
        };
        if sys::mount_setattr(&fd, false, attr).is_ok() {
            return Ok(fd);
        }
    }
    let copy = memfd_create("builder-sandbox", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(copy);
    io::copy(&mut std::fs::File::open(path)?, &mut file)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    // A descriptor that is open for writing can't be executed.
    let read_only = std::fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    Ok(read_only.into())
}

fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create("builder-spec", MemfdFlags::CLOEXEC)?;
    let mut rest = bytes;
    let mut offset = 0;
    while !rest.is_empty() {
        let written = rustix::io::pwrite(&fd, rest, offset)?;
        offset += written as u64;
        rest = &rest[written..];
    }
    Ok(fd)
}
