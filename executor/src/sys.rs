//! The system calls that neither `rustix` nor `nix` offers as safe functions.
//!
//! The only module of the workspace with `unsafe` in it. Each function makes one system call (or one libc call)
//! and gives back what the kernel said; what the calls are for is told where they are used.

#![expect(unsafe_code, reason = "these calls have no safe wrapper in our dependencies; each one says why it is sound")]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::thread::UnshareFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Which side of a [`fork`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forked {
    /// The new process.
    Child,
    /// The process that called; holds the child's id.
    Parent(rustix::process::Pid),
}

/// fork(2). The caller must be the only thread of its process: the sandbox's processes never start a thread.
pub(crate) fn fork() -> io::Result<Forked> {
    debug_assert_eq!(threads(), 1, "fork is for processes with one thread");
    // SAFETY: fork itself has no memory preconditions. What makes it dangerous is a second thread that holds a
    // lock at that moment; the processes that call this have one thread only (checked above in debug builds).
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => rustix::process::Pid::from_raw(pid)
            .map(Forked::Parent)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// The process that `command` starts dies with the thread that starts it, however that ends.
pub(crate) fn die_with_parent(command: &mut Command) {
    let set = || Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?);
    // SAFETY: between fork and exec only what is safe in a signal handler may be done: this is one system call, and
    // neither it nor the conversion of its error allocates or takes a lock.
    unsafe {
        command.pre_exec(set);
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

/// _exit(2): ends the process without running destructors or exit handlers, which belong to the process that
/// was forked from.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}

/// unshare(2) for name spaces only.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES), "a thread's own descriptor table breaks OwnedFd");
    // SAFETY: the one hazard is `UnshareFlags::FILES`, which would let two threads disagree about what a
    // descriptor number means; it is never passed.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// What to change about a mount: `struct mount_attr` of the kernel, version 0.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub(crate) set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub(crate) clear: u64,
    /// `MS_PRIVATE` and friends; 0 leaves the propagation as it is.
    pub(crate) propagation: u64,
    /// A descriptor for id mapping; not used.
    pub(crate) user_namespace: u64,
}

/// `mount_setattr(2)` on the mount that `fd` is the root of; with `recursive` on all mounts below it, too.
pub(crate) fn mount_setattr(fd: impl AsFd, recursive: bool, attr: MountAttr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated constant, `attr` is a valid `struct mount_attr` of the size given, and
    // the kernel only reads both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Marks every descriptor from `first` on as close-on-exec.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;
    // SAFETY: with this flag no descriptor is closed, so no `OwnedFd` becomes dangling; only a flag is set.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, first as libc::c_uint, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives every signal its default action and unblocks all of them: what a process may expect when it starts.
pub(crate) fn reset_signals() {
    // The kernel's `struct sigaction`: all zero is SIG_DFL, no flags, an empty mask. The C library's own function
    // would refuse the two signals that it keeps for itself, which may have been inherited as ignored, too.
    const DEFAULT: [u64; 4] = [0; 4];
    const MASK_SIZE: usize = 8;
    for signal in 1..=64 {
        // SAFETY: the kernel reads `DEFAULT`, which is as large as its struct on every 64-bit architecture, and
        // writes nothing. KILL and STOP are refused, which is fine.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), std::ptr::null_mut::<u64>(), MASK_SIZE)
        };
    }
    // SAFETY: the kernel reads an empty mask of `MASK_SIZE` bytes and writes nothing.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            DEFAULT.as_ptr(),
            std::ptr::null_mut::<u64>(),
            MASK_SIZE,
        )
    };
}

/// One instruction of a classic BPF program.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BpfInstruction {
    /// The operation.
    pub(crate) code: u16,
    /// How many instructions to skip when a test holds.
    pub(crate) jump_true: u8,
    /// How many when it doesn't.
    pub(crate) jump_false: u8,
    /// The operand.
    pub(crate) operand: u32,
}

/// Lets the tokio runtime tell when `fd` is readable.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the type must name the same open descriptor for as long as it lives, which an `OwnedFd` that nobody
    // takes out of the `AsyncFd` does.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(Into::into)
}

/// seccomp(2): puts a filter over this thread. Without `no_new_privs` that takes `CAP_SYS_ADMIN`.
pub(crate) fn install_seccomp_filter(program: &[BpfInstruction]) -> io::Result<()> {
    let length = libc::c_ushort::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut() };
    // SAFETY: `BpfInstruction` has the layout of `struct sock_filter` (checked by a test), `filter` points to
    // `length` of them, and the kernel copies the program before it returns.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// keyctl(2): a new, empty session keyring, so that a sandbox never sees the keys of who started the builder.
pub(crate) fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is handed over.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<u8>()) };
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets the loopback interface of the current network name space up.
pub(crate) fn set_loopback_up(socket: impl AsFd) -> io::Result<()> {
    // SAFETY: `request` is a zeroed plain C struct with the interface's name and flags filled in (the kernel
    // reads it for SIOCSIFFLAGS and writes nothing), and the descriptor is open for the whole call.
    let result = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = *from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bpf_instruction_has_the_kernels_layout() {
        assert_eq!(size_of::<BpfInstruction>(), size_of::<libc::sock_filter>());
        assert_eq!(std::mem::offset_of!(BpfInstruction, jump_true), std::mem::offset_of!(libc::sock_filter, jt));
        assert_eq!(std::mem::offset_of!(BpfInstruction, jump_false), std::mem::offset_of!(libc::sock_filter, jf));
        assert_eq!(std::mem::offset_of!(BpfInstruction, operand), std::mem::offset_of!(libc::sock_filter, k));
    }

    #[test]
    fn mount_attr_has_the_kernels_size() {
        assert_eq!(size_of::<MountAttr>(), 32);
    }
}
