//! What the builder and the sandbox's processes say to each other, over sockets that keep message boundaries.
//!
//! A request is one message to the spawner: descriptors, of which the first is the *channel* of this sandbox, the
//! second the description (a memory file with JSON, so that its size does not matter) and the third the root.
//! Everything else goes over the channel; that it closes is a message, too: the other side is gone.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::Spec;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

use super::error::Failure;

/// The most descriptors that one message carries (`SCM_MAX_FD`).
pub(crate) const MAX_DESCRIPTORS: usize = 253;
/// The longest message: a failure, which is shortened to fit, however its characters are escaped.
const MAX_MESSAGE: usize = 8 * 1024;

/// What a process of the sandbox gets for a standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stream {
    /// The sandbox's own `/dev/null`.
    Null,
    /// The descriptor at this index of the request.
    Descriptor(usize),
}

/// How the descriptors of a request are to be used, and what the specification does not say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) streams: [Stream; 3],
    /// Whether the streams are pipes of our own, which then belong to the user of the process.
    pub(crate) own_pipes: bool,
    /// The mounts that were made by the builder.
    pub(crate) mounts: Vec<Handed>,
    /// A network name space to enter.
    pub(crate) network: Option<usize>,
    /// `cgroup.procs` files to enter.
    pub(crate) cgroups: Vec<usize>,
    /// Whether the default seccomp profile applies.
    pub(crate) seccomp: bool,
    /// Devices, and everything of the kernel's file systems, are there to be used.
    pub(crate) privileged: bool,
}

/// A mount that comes as a descriptor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Handed {
    /// Which one of the specification.
    pub(crate) mount: usize,
    /// The detached mount.
    pub(crate) descriptor: usize,
    /// What of it, links followed inside of it. The mount itself is then left for others.
    pub(crate) path: Option<PathBuf>,
}

#[derive(Serialize)]
pub(crate) struct DescriptionRef<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) spec: &'a Spec,
}

#[derive(Deserialize)]
pub(crate) struct Description {
    pub(crate) plan: Plan,
    pub(crate) spec: Spec,
}

/// A message over a channel.
#[derive(Debug)]
pub(crate) enum Message {
    /// To the sandbox: send this signal to its first process.
    Signal(i32),
    /// From the sandbox: the process could not be run. An `Exited` still follows.
    Failed(Failure),
    /// From the sandbox: here is the controlling side of its terminal.
    Console(OwnedFd),
    /// From the sandbox: all its processes are gone. The first one's exit code, or the signal that ended it.
    Exited(Exit),
    /// Between the sandbox's own processes: this is the channel.
    Channel(OwnedFd),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(u8),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// The code that a shell would give: 128 and the signal.
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128u8.wrapping_add(signal as u8),
        }
    }

    /// Whether it exited with 0.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

/// A pair of connected sockets.
pub(crate) fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message.
pub(crate) fn send(socket: impl AsFd, message: &Message) -> io::Result<()> {
    let word = |tag: u8, value: i32| {
        let mut bytes = vec![tag];
        bytes.extend(value.to_le_bytes());
        bytes
    };
    match message {
        Message::Signal(signal) => send_bytes(socket, &word(b'S', *signal), &[]),
        Message::Exited(Exit::Code(code)) => send_bytes(socket, &word(b'X', i32::from(*code)), &[]),
        Message::Exited(Exit::Signal(signal)) => send_bytes(socket, &word(b'K', *signal), &[]),
        Message::Console(fd) => send_bytes(socket, b"C", &[fd.as_fd()]),
        Message::Channel(fd) => send_bytes(socket, b"T", &[fd.as_fd()]),
        Message::Failed(failure) => {
            let mut bytes = vec![b'F'];
            serde_json::to_writer(&mut bytes, &failure.clone().shortened())?;
            send_bytes(socket, &bytes, &[])
        }
    }
}

/// Receives one message; `None` when the other side is gone.
pub(crate) fn receive(socket: impl AsFd, flags: RecvFlags) -> io::Result<Option<Message>> {
    let mut buffer = [0; MAX_MESSAGE];
    let (length, descriptors) = receive_bytes(socket, &mut buffer, flags)?;
    let Some((tag, rest)) = buffer[..length].split_first() else { return Ok(None) };
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "a malformed message came from the sandbox");
    let number = || rest.try_into().map(i32::from_le_bytes).map_err(|_| malformed());
    let descriptor = || descriptors.into_iter().next().ok_or_else(malformed);
    Ok(Some(match tag {
        b'S' => Message::Signal(number()?),
        b'X' => Message::Exited(Exit::Code(number()? as u8)),
        b'K' => Message::Exited(Exit::Signal(number()?)),
        b'C' => Message::Console(descriptor()?),
        b'T' => Message::Channel(descriptor()?),
        b'F' => Message::Failed(serde_json::from_slice(rest)?),
        _ => return Err(malformed()),
    }))
}

/// Sends bytes and descriptors as one message. Never raises SIGPIPE.
pub(crate) fn send_bytes(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(descriptors.len()))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
    }
    rustix::io::retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Receives one message; a length of 0 means that the other side is gone.
pub(crate) fn receive_bytes(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, flags | RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            descriptors.extend(fds);
        }
    }
    Ok((received.bytes, descriptors))
}
