//! Giving up privileges: capabilities, ids, groups, the seccomp filter. The order matters and is written down here.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, Process};
use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::super::capability_set;
use super::super::error::{Attempt, Failure};
use super::super::seccomp;
use super::{Base, Step};
use crate::sys;

/// Makes the calling process what `process` says it is.
pub(super) fn apply(base: &Base, process: &Process, with_seccomp: bool) -> Step<()> {
    let wanted = |set: Option<&HashSet<Capability>>| set.map_or(CapabilitySet::empty(), capability_set);
    let capabilities = process.capabilities().as_ref();
    let bounding = wanted(capabilities.and_then(|sets| sets.bounding().as_ref()));
    let permitted = wanted(capabilities.and_then(|sets| sets.permitted().as_ref()));
    let effective = wanted(capabilities.and_then(|sets| sets.effective().as_ref()));
    let inheritable = wanted(capabilities.and_then(|sets| sets.inheritable().as_ref()));
    let ambient = wanted(capabilities.and_then(|sets| sets.ambient().as_ref()));
    if !permitted.contains(effective)
        || !bounding.contains(permitted)
        || !permitted.contains(ambient)
        || !inheritable.contains(ambient)
    {
        return Err(Failure::Refused("the capability sets of the specification contradict each other".to_owned()));
    }

    limits(process)?;
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    if no_new_privileges {
        rustix::thread::set_no_new_privs(true).attempt("forbid new privileges")?;
    }
    // A filter may be installed by CAP_SYS_ADMIN, which is still here, or with no_new_privileges. It lets through
    // everything that follows.
    if with_seccomp {
        if bounding == base.default_capabilities {
            sys::install_seccomp_filter(&base.filter)
        } else {
            sys::install_seccomp_filter(&seccomp::default_profile(bounding))
        }
        .attempt("install the seccomp filter")?;
    }

    drop_bounding(bounding)?;
    let user = process.user();
    let mut groups: Vec<Gid> = user.additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect();
    let gid = Gid::from_raw(user.gid());
    if !groups.contains(&gid) {
        groups.insert(0, gid);
    }
    rustix::thread::set_thread_groups(&groups).attempt("set the groups")?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).attempt("set the group")?;
    let uid = Uid::from_raw(user.uid());
    if !uid.is_root() && !permitted.is_empty() {
        rustix::thread::set_keep_capabilities(true).attempt("keep capabilities")?;
    }
    rustix::thread::set_thread_res_uid(uid, uid, uid).attempt("set the user")?;
    rustix::thread::set_capabilities(None, CapabilitySets { effective, permitted, inheritable })
        .attempt("set the capabilities")?;
    rustix::thread::clear_ambient_capability_set().attempt("clear the ambient capabilities")?;
    for capability in ambient.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)
            .attempt("set the ambient capabilities")?;
    }
    // Changing ids has switched this off.
    super::die_with_parent();
    Ok(())
}

fn drop_bounding(keep: CapabilitySet) -> Step<()> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::capability_is_in_bounding_set(capability) {
            // The last one that this kernel knows has been passed.
            Err(_) => break,
            Ok(true) if !keep.contains(capability) => {
                rustix::thread::remove_capability_from_bounding_set(capability).attempt("drop a capability")?;
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

fn limits(process: &Process) -> Step<()> {
    use oci_spec::runtime::PosixRlimitType as Type;
    for limit in process.rlimits().iter().flatten() {
        let resource = match limit.typ() {
            Type::RlimitCpu => Resource::Cpu,
            Type::RlimitFsize => Resource::Fsize,
            Type::RlimitData => Resource::Data,
            Type::RlimitStack => Resource::Stack,
            Type::RlimitCore => Resource::Core,
            Type::RlimitRss => Resource::Rss,
            Type::RlimitNproc => Resource::Nproc,
            Type::RlimitNofile => Resource::Nofile,
            Type::RlimitMemlock => Resource::Memlock,
            Type::RlimitAs => Resource::As,
            Type::RlimitLocks => Resource::Locks,
            Type::RlimitSigpending => Resource::Sigpending,
            Type::RlimitMsgqueue => Resource::Msgqueue,
            Type::RlimitNice => Resource::Nice,
            Type::RlimitRtprio => Resource::Rtprio,
            Type::RlimitRttime => Resource::Rttime,
        };
        // Rlimit's `None` is infinity.
        let value = |value: u64| Some(value).filter(|value| *value != u64::MAX);
        rustix::process::setrlimit(resource, Rlimit { current: value(limit.soft()), maximum: value(limit.hard()) })
            .attempt_with(|| format!("set {:?}", limit.typ()))?;
    }
    Ok(())
}
