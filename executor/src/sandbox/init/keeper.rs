//! The keeper: parent of a sandbox's first process. It waits, passes signals on, and kills when the builder is gone.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::RecvFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal};
use rustix::thread::UnshareFlags;

use super::super::error::Failure;
use super::super::wire::{self, Exit, Message};
use super::{Base, Step, first};
use crate::sys::{self, Forked};

/// Lives for one sandbox. Writes a byte to `take` when it was given away.
pub(super) fn run(requests: &OwnedFd, base: &Step<Base>, take: OwnedFd) -> ! {
    super::die_with_parent();
    let Ok((ours, theirs)) = wire::channel() else { sys::exit_now(1) };
    let unshared = sys::unshare(UnshareFlags::NEWPID).map_err(|error| Failure::setup("make a pid name space", error));
    let child = match sys::fork() {
        Ok(Forked::Child) => {
            drop((ours, take));
            first::run(requests, base, unshared, &theirs)
        }
        Ok(Forked::Parent(child)) => child,
        Err(_) => sys::exit_now(1),
    };
    drop(theirs);
    let Ok(child_fd) = pidfd_open(child, PidfdFlags::empty()) else { sys::exit_now(1) };
    let Ok(Some(Message::Channel(channel))) = wire::receive(&ours, RecvFlags::empty()) else {
        // The builder is gone, or the first process died: either way there is nobody to tell.
        let _ = pidfd_send_signal(&child_fd, Signal::KILL);
        let _ = reap(child);
        sys::exit_now(0);
    };
    let _ = rustix::io::write(&take, &[1]);
    drop((ours, take));
    let exit = watch(&channel, &child_fd, child);
    let _ = wire::send(&channel, &Message::Exited(exit));
    sys::exit_now(0)
}

/// Until the child is gone. That the kernel tells so only after every process of its name space is gone, and with
/// the last of them the mounts, is what the builder relies on.
fn watch(channel: &OwnedFd, child_fd: &OwnedFd, child: Pid) -> Exit {
    let mut listen = true;
    loop {
        let mut fds = vec![PollFd::new(child_fd, PollFlags::IN)];
        if listen {
            fds.push(PollFd::new(channel, PollFlags::IN));
        }
        let polled = poll(&mut fds, None);
        if polled.is_err() {
            continue;
        }
        let ended = fds[0].revents().contains(PollFlags::IN);
        let heard = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        if ended {
            return reap(child);
        }
        if heard {
            match wire::receive(channel.as_fd(), RecvFlags::DONTWAIT) {
                Ok(Some(Message::Signal(number))) => {
                    if let Some(signal) = Signal::from_named_raw(number) {
                        let _ = pidfd_send_signal(child_fd, signal);
                    }
                }
                Ok(Some(_)) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(None) | Err(_) => {
                    listen = false;
                    let _ = pidfd_send_signal(child_fd, Signal::KILL);
                }
            }
        }
    }
}

fn reap(child: Pid) -> Exit {
    loop {
        match rustix::process::waitpid(Some(child), WaitOptions::empty()) {
            Ok(Some((_, status))) => {
                if let Some(code) = status.exit_status() {
                    return Exit::Code(code as u8);
                }
                if let Some(signal) = status.terminating_signal() {
                    return Exit::Signal(signal);
                }
            }
            Err(rustix::io::Errno::INTR) | Ok(None) => {}
            Err(_) => return Exit::Signal(libc::SIGKILL),
        }
    }
}
