//! The terminal of `builder run -t`.

use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::Process;
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::super::error::Attempt;
use super::{Step, attach, trees};

/// Both sides of a terminal.
pub(super) struct Terminal {
    pub(super) controller: OwnedFd,
    pub(super) user: OwnedFd,
}

/// Makes a terminal in the sandbox's own devpts and mounts it as `/dev/console`. `dev` is the sandbox's own `/dev`,
/// in which nobody else has had a hand yet.
pub(super) fn open(dev: &OwnedFd, process: &Process) -> Step<Terminal> {
    let controller =
        rustix::fs::openat(dev, "pts/ptmx", OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
            .attempt("open a terminal")?;
    unlockpt(&controller).attempt("unlock the terminal")?;
    let user = ioctl_tiocgptpeer(&controller, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .attempt("open the other side of the terminal")?;
    if let Some(size) = process.console_size() {
        let size = Winsize { ws_row: size.height() as u16, ws_col: size.width() as u16, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&controller, size).attempt("set the size of the terminal")?;
    }
    let owner = Uid::from_raw(process.user().uid());
    rustix::fs::fchown(&user, Some(owner), None::<Gid>).attempt("give the terminal to the user")?;

    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    let console = rustix::fs::openat(dev, "console", flags, Mode::from_raw_mode(0o620)).attempt("make /dev/console")?;
    let view = trees::clone_fd(user.as_fd(), false).attempt("clone the terminal")?;
    attach(&view, &console).attempt("mount /dev/console")?;
    Ok(Terminal { controller, user })
}
