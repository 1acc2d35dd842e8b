//! The network name space of a sandbox.

use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::super::error::Attempt;
use super::Step;
use crate::sys;

/// A fresh name space with the loopback interface up.
pub(super) fn isolate() -> Step<()> {
    sys::unshare(UnshareFlags::NEWNET).attempt("make a network name space")?;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .attempt("open a socket")?;
    sys::set_loopback_up(&socket).attempt("set the loopback interface up")
}

/// Enters an existing one.
pub(super) fn enter(namespace: &OwnedFd) -> Step<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .attempt("enter the network name space")
}
