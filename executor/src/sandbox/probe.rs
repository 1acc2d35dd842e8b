//! Whether this process may create sandboxes, and if not, which knob to turn.

use std::fs;

use rustix::thread::CapabilitySet;

use super::error::{Error, Result};

/// Tells what is missing for running sandboxes.
///
/// # Errors
/// [`Error::Privilege`] with the reason and what to do.
pub fn check_privilege() -> Result<()> {
    let effective = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let facts = Facts {
        root: rustix::process::geteuid().is_root(),
        admin: effective.contains(CapabilitySet::SYS_ADMIN),
        mknod: effective.contains(CapabilitySet::MKNOD),
        max_user_namespaces: read("/proc/sys/user/max_user_namespaces"),
        unprivileged_clone: read("/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor: read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        max_namespaces: ["mnt", "pid", "ipc", "uts", "cgroup"]
            .iter()
            .find(|name| read(&format!("/proc/sys/user/max_{name}_namespaces")) == Some(0))
            .copied(),
    };
    facts.missing().map_or(Ok(()), |reason| Err(Error::Privilege(reason)))
}

struct Facts {
    root: bool,
    admin: bool,
    mknod: bool,
    max_user_namespaces: Option<u64>,
    unprivileged_clone: Option<u64>,
    apparmor: Option<u64>,
    max_namespaces: Option<&'static str>,
}

impl Facts {
    fn missing(&self) -> Option<String> {
        if !self.root {
            let knob = if self.max_user_namespaces == Some(0) {
                "; unprivileged user name spaces are off here, too (sysctl user.max_user_namespaces=0)"
            } else if self.unprivileged_clone == Some(0) {
                "; unprivileged user name spaces are off here, too (sysctl kernel.unprivileged_userns_clone=0)"
            } else if self.apparmor == Some(1) {
                "; AppArmor restricts user name spaces here, too (sysctl kernel.apparmor_restrict_unprivileged_userns=1)"
            } else {
                ""
            };
            return Some(format!(
                "running commands needs root: start builder with sudo (builds by other users come with a later version{knob})"
            ));
        }
        if !self.admin {
            return Some(
                "running commands needs the capability CAP_SYS_ADMIN, which this root user lacks: \
                 inside a container start it with --privileged or --cap-add SYS_ADMIN"
                    .to_owned(),
            );
        }
        if !self.mknod {
            return Some(
                "running commands needs the capability CAP_MKNOD, which this root user lacks: \
                 inside a container start it with --cap-add MKNOD"
                    .to_owned(),
            );
        }
        self.max_namespaces
            .map(|name| format!("running commands needs name spaces: set sysctl user.max_{name}_namespaces above 0"))
    }
}

fn read(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            root: true,
            admin: true,
            mknod: true,
            max_user_namespaces: Some(1000),
            unprivileged_clone: None,
            apparmor: None,
            max_namespaces: None,
        }
    }

    #[test]
    fn the_knob_is_named() {
        assert_eq!(facts().missing(), None);
        for (facts, word) in [
            (Facts { root: false, ..facts() }, "sudo"),
            (Facts { root: false, max_user_namespaces: Some(0), ..facts() }, "user.max_user_namespaces"),
            (Facts { root: false, unprivileged_clone: Some(0), ..facts() }, "unprivileged_userns_clone"),
            (Facts { root: false, apparmor: Some(1), ..facts() }, "apparmor_restrict"),
            (Facts { admin: false, ..facts() }, "CAP_SYS_ADMIN"),
            (Facts { mknod: false, ..facts() }, "CAP_MKNOD"),
            (Facts { max_namespaces: Some("pid"), ..facts() }, "max_pid_namespaces"),
        ] {
            let reason = facts.missing().unwrap();
            assert!(reason.contains(word), "{reason}");
        }
    }
}
