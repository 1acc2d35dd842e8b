//! Docker's default seccomp profile as a BPF program.
//!
//! What is allowed is data (`syscalls.txt`); the four calls whose arguments matter are decided here. Programs for
//! the 32-bit sibling of the architecture are filtered by its own table, so that `linux/386` images run.

mod bpf;

use rustix::thread::CapabilitySet;

pub(crate) use crate::sys::BpfInstruction;
use bpf::{Decision, Table};

const SYSCALLS: &str = include_str!("syscalls.txt");

/// The columns of the table that matter here: `AUDIT_ARCH_*` and which column.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURES: [(u32, usize); 2] = [(0xc000_003e, 1), (0x4000_0003, 2)];
#[cfg(target_arch = "aarch64")]
const ARCHITECTURES: [(u32, usize); 2] = [(0xc000_00b7, 3), (0x4000_0028, 4)];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the seccomp profile has no system call numbers for this architecture");

/// `CLONE_NEW*` except `CLONE_NEWTIME`, which `clone` can't express.
pub(super) const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// Linux, 32-bit, with and without `UNAME26`, and "only tell".
pub(super) const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// `AF_ALG` and `AF_VSOCK`: kernel attack surface, and a way around the network name space.
pub(super) const REFUSED_FAMILIES: [u32; 2] = [38, 40];

/// Compiles the profile for a process that may hold `capabilities`.
pub(crate) fn default_profile(capabilities: CapabilitySet) -> Vec<BpfInstruction> {
    bpf::compile(
        ARCHITECTURES
            .iter()
            .map(|&(architecture, column)| Table { architecture, calls: calls(column, capabilities) })
            .collect(),
    )
}

/// The names that the profile allows without looking at arguments, and those it looks into: for whoever writes
/// the profile down for another runtime.
pub(crate) fn names(capabilities: CapabilitySet) -> impl Iterator<Item = &'static str> {
    rows().filter(move |row| unlocked(row.rule(), capabilities)).map(|row| row.name())
}

struct Row([&'static str; 6]);

impl Row {
    fn name(&self) -> &'static str {
        self.0[0]
    }

    fn rule(&self) -> &'static str {
        self.0[5]
    }
}

fn rows() -> impl Iterator<Item = Row> {
    SYSCALLS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut fields = line.split(' ');
        let row = [fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?];
        Some(Row(row))
    })
}

fn calls(column: usize, capabilities: CapabilitySet) -> Vec<(u32, Decision)> {
    rows()
        .filter_map(|row| {
            let number = row.0[column].parse().ok()?;
            let decision = match row.rule() {
                "special" => special(row.name(), capabilities),
                rule if unlocked(rule, capabilities) => Decision::Allow,
                _ => return None,
            };
            Some((number, decision))
        })
        .collect()
}

fn special(name: &str, capabilities: CapabilitySet) -> Decision {
    match name {
        "clone" | "clone3" if capabilities.contains(CapabilitySet::SYS_ADMIN) => Decision::Allow,
        "clone" => Decision::AllowWithoutBits { mask: NEW_NAMESPACES },
        // Its flags are behind a pointer, where no filter can look: without the call the C library uses `clone`.
        "clone3" => Decision::Errno(libc::ENOSYS as u16),
        "personality" => Decision::AllowOnly(&PERSONALITIES),
        "socket" => Decision::AllowExcept(&REFUSED_FAMILIES),
        _ => Decision::Errno(libc::EPERM as u16),
    }
}

fn unlocked(rule: &str, capabilities: CapabilitySet) -> bool {
    rule == "allow"
        || rule.split('|').any(|name| match name {
            "BPF" => capabilities.contains(CapabilitySet::BPF),
            "DAC_READ_SEARCH" => capabilities.contains(CapabilitySet::DAC_READ_SEARCH),
            "PERFMON" => capabilities.contains(CapabilitySet::PERFMON),
            "SYSLOG" => capabilities.contains(CapabilitySet::SYSLOG),
            "SYS_ADMIN" => capabilities.contains(CapabilitySet::SYS_ADMIN),
            "SYS_BOOT" => capabilities.contains(CapabilitySet::SYS_BOOT),
            "SYS_CHROOT" => capabilities.contains(CapabilitySet::SYS_CHROOT),
            "SYS_MODULE" => capabilities.contains(CapabilitySet::SYS_MODULE),
            "SYS_NICE" => capabilities.contains(CapabilitySet::SYS_NICE),
            "SYS_PACCT" => capabilities.contains(CapabilitySet::SYS_PACCT),
            "SYS_PTRACE" => capabilities.contains(CapabilitySet::SYS_PTRACE),
            "SYS_RAWIO" => capabilities.contains(CapabilitySet::SYS_RAWIO),
            "SYS_TIME" => capabilities.contains(CapabilitySet::SYS_TIME),
            "SYS_TTY_CONFIG" => capabilities.contains(CapabilitySet::SYS_TTY_CONFIG),
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: u32 = 0x7fff_0000;
    const EPERM: u32 = 0x0005_0001;
    const ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS as u32;

    fn decide(name: libc::c_long, argument: u32) -> u32 {
        let program = default_profile(CapabilitySet::SYS_CHROOT | CapabilitySet::MKNOD);
        assert!(program.len() < 300, "longer than it has to be: {}", program.len());
        bpf::interpret(&program, ARCHITECTURES[0].0, name as u32, argument)
    }

    #[test]
    fn profile_decides_like_dockers() {
        for (call, argument, expected) in [
            (libc::SYS_openat, 0, ALLOWED),
            (libc::SYS_execve, 0, ALLOWED),
            (libc::SYS_chroot, 0, ALLOWED),
            (libc::SYS_clone, libc::SIGCHLD as u32, ALLOWED),
            (libc::SYS_clone, libc::CLONE_NEWUSER as u32, EPERM),
            (libc::SYS_clone, libc::CLONE_NEWNS as u32, EPERM),
            (libc::SYS_clone3, 0, ENOSYS),
            (libc::SYS_unshare, 0, EPERM),
            (libc::SYS_setns, 0, EPERM),
            (libc::SYS_mount, 0, EPERM),
            (libc::SYS_fsopen, 0, EPERM),
            (libc::SYS_bpf, 0, EPERM),
            (libc::SYS_keyctl, 0, EPERM),
            (libc::SYS_add_key, 0, EPERM),
            (libc::SYS_userfaultfd, 0, EPERM),
            (libc::SYS_io_uring_setup, 0, EPERM),
            (libc::SYS_open_by_handle_at, 0, EPERM),
            (libc::SYS_kexec_load, 0, EPERM),
            (libc::SYS_socket, libc::AF_INET as u32, ALLOWED),
            (libc::SYS_socket, libc::AF_NETLINK as u32, ALLOWED),
            (libc::SYS_socket, libc::AF_ALG as u32, EPERM),
            (libc::SYS_socket, 39, ALLOWED),
            (libc::SYS_socket, libc::AF_VSOCK as u32, EPERM),
            (libc::SYS_personality, 0, ALLOWED),
            (libc::SYS_personality, 0xffff_ffff, ALLOWED),
            (libc::SYS_personality, 4, EPERM),
            (100_000, 0, EPERM),
        ] {
            assert_eq!(decide(call, argument), expected, "call {call} with {argument:#x}");
        }
    }

    #[test]
    fn capabilities_unlock_their_calls() {
        let program = default_profile(CapabilitySet::SYS_ADMIN);
        for call in [libc::SYS_mount, libc::SYS_clone3, libc::SYS_unshare] {
            assert_eq!(bpf::interpret(&program, ARCHITECTURES[0].0, call as u32, 0), ALLOWED);
        }
        assert_eq!(bpf::interpret(&program, ARCHITECTURES[0].0, libc::SYS_chroot as u32, 0), EPERM);
        assert!(names(CapabilitySet::SYS_ADMIN).any(|name| name == "mount"));
        assert!(!names(CapabilitySet::empty()).any(|name| name == "mount"));
    }
}
