//! The first process of a sandbox, until it becomes the user's program.

use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::RecvFlags;
use rustix::thread::UnshareFlags;

use super::super::error::{Attempt, Failure};
use super::super::wire::{self, Description, Message, Plan, Stream};
use super::handed::Handed;
use super::trees::Trees;
use super::{Base, Step, caps, exec, mounts, network, terminal};
use crate::sys;

/// A request as it came.
struct Request {
    channel: OwnedFd,
    description: OwnedFd,
    root: OwnedFd,
    further: Vec<Option<OwnedFd>>,
}

/// Prepares what does not depend on the request, waits for one, and runs it.
pub(super) fn run(requests: &OwnedFd, base: &Step<Base>, unshared: Step<()>, keeper: &OwnedFd) -> ! {
    super::die_with_parent();
    let ready = prepare(base, unshared);
    // Even a sandbox that could not be prepared takes a request: that is whom to tell.
    let Some(mut request) = receive(requests) else { sys::exit_now(0) };
    if wire::send_bytes(keeper, b"T", &[request.channel.as_fd()]).is_err() {
        sys::exit_now(1);
    }
    let failure = match ready.and_then(|(base, trees)| finish(base, trees, &mut request)) {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    let _ = wire::send(&request.channel, &Message::Failed(failure));
    sys::exit_now(125)
}

fn prepare(base: &Step<Base>, unshared: Step<()>) -> Step<(&Base, Trees)> {
    unshared?;
    let base = base.as_ref().map_err(Clone::clone)?;
    sys::unshare(UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS).attempt("make name spaces")?;
    // The keys of whoever started the builder are none of the image's business. A kernel without keys has none.
    let _ = sys::new_session_keyring();
    let _ = rustix::process::setsid();
    let trees = Trees::prepare()?;
    // A rehearsal: the memory that this takes is then there when it counts.
    let _ = serde_json::from_slice::<Spec>(&base.sample);
    Ok((base, trees))
}

/// Waits for a request; `None` when there will be none.
fn receive(requests: &OwnedFd) -> Option<Request> {
    loop {
        let mut byte = [0];
        let (length, descriptors) = wire::receive_bytes(requests, &mut byte, RecvFlags::empty()).ok()?;
        if length == 0 {
            return None;
        }
        let mut descriptors = descriptors.into_iter();
        if let (Some(channel), Some(description), Some(root)) =
            (descriptors.next(), descriptors.next(), descriptors.next())
        {
            return Some(Request { channel, description, root, further: descriptors.map(Some).collect() });
        }
    }
}

/// Carries out a request. Only returns when that failed.
fn finish(base: &Base, mut trees: Trees, request: &mut Request) -> Step<Infallible> {
    let Description { plan, spec } = read_description(&request.description)?;
    let (Some(process), Some(linux)) = (spec.process(), spec.linux()) else {
        return Err(Failure::Unsupported("a specification without a process".to_owned()));
    };
    enter_cgroups(&plan, request)?;
    sys::unshare(UnshareFlags::NEWCGROUP).attempt("make a cgroup name space")?;
    let own_network = enter_network(&plan, &spec, request)?;
    let list = |paths: &Option<Vec<String>>| paths.clone().unwrap_or_default();
    trees.adjust(&list(linux.masked_paths()), &list(linux.readonly_paths()), own_network, plan.privileged)?;

    let cgroups = match (base.unified_cgroups, plan.cgroups.is_empty()) {
        (true, _) => mounts::Cgroups::Unified,
        (false, false) => mounts::Cgroups::Limited,
        (false, true) => mounts::Cgroups::Hidden,
    };
    let handed = Handed::new(&plan, &mut request.further);
    mounts::fill(&request.root, &trees, &spec, cgroups, plan.privileged, handed)?;
    super::enter_root(&request.root)?;
    if let Some(name) = spec.hostname() {
        rustix::system::sethostname(name.as_bytes()).attempt("set the host name")?;
    }
    if let Some(name) = spec.domainname() {
        rustix::system::setdomainname(name.as_bytes()).attempt("set the domain name")?;
    }
    let console = if process.terminal().unwrap_or(false) {
        let terminal = terminal::open(&trees.dev, process)?;
        let message = Message::Console(terminal.controller);
        wire::send(&request.channel, &message).attempt("hand over the terminal")?;
        Some(terminal.user)
    } else {
        None
    };
    streams(&plan, request, console, process.user().uid(), process.user().gid())?;
    let umask = process.user().umask().unwrap_or(0o022);
    rustix::process::umask(Mode::from_raw_mode(umask & 0o777));
    exec::enter_directory(&request.root, process.cwd())?;
    let program = exec::Program::of(process)?;
    sys::close_on_exec_from(3).attempt("close descriptors")?;
    caps::apply(base, process, plan.seccomp)?;
    program.execute()
}

fn read_description(file: &OwnedFd) -> Step<Description> {
    let mut json = Vec::new();
    let mut file = File::from(file.try_clone().attempt("duplicate a descriptor")?);
    file.read_to_end(&mut json).attempt("read the specification")?;
    serde_json::from_slice(&json).map_err(|error| Failure::Refused(format!("the specification is malformed: {error}")))
}

fn enter_cgroups(plan: &Plan, request: &Request) -> Step<()> {
    for index in &plan.cgroups {
        if let Some(Some(procs)) = request.further.get(*index) {
            rustix::io::write(procs, b"0").attempt("enter the control group")?;
        }
    }
    Ok(())
}

/// Whether the sandbox has a network name space other than the builder's.
fn enter_network(plan: &Plan, spec: &Spec, request: &Request) -> Step<bool> {
    if let Some(index) = plan.network {
        if let Some(Some(namespace)) = request.further.get(index) {
            network::enter(namespace)?;
        }
        return Ok(true);
    }
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let isolated = namespaces.into_iter().flatten().any(|namespace| namespace.typ() == LinuxNamespaceType::Network);
    if isolated {
        network::isolate()?;
    }
    Ok(isolated)
}

/// Puts the standard streams in place.
fn streams(plan: &Plan, request: &mut Request, console: Option<OwnedFd>, uid: u32, gid: u32) -> Step<()> {
    let mut fds: Vec<OwnedFd> = Vec::with_capacity(3);
    if let Some(console) = console {
        rustix::process::ioctl_tiocsctty(&console).attempt("make it the controlling terminal")?;
        for _ in 0..3 {
            fds.push(console.try_clone().attempt("duplicate the terminal")?);
        }
    } else {
        for stream in plan.streams {
            let given = match stream {
                Stream::Null => None,
                Stream::Descriptor(index) => request.further.get_mut(index).and_then(Option::take),
            };
            fds.push(match given {
                Some(fd) => fd,
                None => rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                    .attempt("open /dev/null")?,
            });
        }
        if plan.own_pipes && uid != 0 {
            // Else the user could not open /dev/stdout, which leads to a pipe that root made.
            let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
            for fd in &fds {
                if super::kind_of(fd)? == FileType::Fifo {
                    rustix::fs::fchown(fd, Some(uid), Some(gid)).attempt("give a pipe to the user")?;
                }
            }
        }
    }
    rustix::stdio::dup2_stdin(&fds[0])
        .and_then(|()| rustix::stdio::dup2_stdout(&fds[1]))
        .and_then(|()| rustix::stdio::dup2_stderr(&fds[2]))
        .attempt("set the standard streams")
}
