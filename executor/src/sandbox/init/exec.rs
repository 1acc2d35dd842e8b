//! The last step: finding the user's program and becoming it.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use oci_spec::runtime::Process;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::super::error::{Attempt, Failure};
use super::super::spec::DEFAULT_PATH;
use super::Step;
use crate::rootfs::in_root;

/// Goes to the working directory, which is made when the image lacks it.
///
/// It is opened without magic links, so that it can't be a directory of the host that some descriptor still refers
/// to, and the kernel is asked afterwards where we are (CVE-2024-21626).
pub(super) fn enter_directory(root: &OwnedFd, cwd: &Path) -> Step<()> {
    let refuse = |reason: &str| Failure::Refused(format!("the working directory {} {reason}", cwd.display()));
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = match rustix::fs::openat2(root, cwd, flags, Mode::empty(), resolve) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => in_root::make_directories(root, cwd)
            .attempt_with(|| format!("make the working directory {}", cwd.display()))?,
        Err(rustix::io::Errno::NOTDIR) => return Err(refuse("is not a directory in the image")),
        Err(rustix::io::Errno::LOOP) => return Err(refuse("leads through links that can't be followed")),
        Err(error) => return Err(Failure::setup(format!("open the working directory {}", cwd.display()), error)),
    };
    rustix::process::fchdir(&directory).attempt_with(|| format!("enter the working directory {}", cwd.display()))?;
    let here = rustix::process::getcwd(Vec::new()).attempt("read the working directory")?;
    if here.as_bytes().starts_with(b"/") { Ok(()) } else { Err(refuse("is outside of the image")) }
}

/// The strings of an execve(2), made ahead so that nothing can fail in between.
pub(super) struct Program {
    name: String,
    candidates: Vec<CString>,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// Takes the program, its arguments and its environment from the specification.
    pub(super) fn of(process: &Process) -> Step<Self> {
        let strings = |list: &[String], what: &str| {
            list.iter()
                .map(|text| {
                    CString::new(text.as_str())
                        .map_err(|_| Failure::Refused(format!("{what} {text:?} has a NUL byte in it")))
                })
                .collect::<Step<Vec<CString>>>()
        };
        let args = process.args().as_deref().unwrap_or_default();
        let env = process.env().as_deref().unwrap_or_default();
        let name = args.first().cloned().unwrap_or_default();
        let candidates = candidates(&name, env);
        Ok(Self {
            candidates: strings(&candidates, "the program")?,
            args: strings(args, "the argument")?,
            env: strings(env, "the environment variable")?,
            name,
        })
    }

    /// Becomes the program. Only returns when that failed.
    pub(super) fn execute(&self) -> Step<Infallible> {
        let mut problem = None;
        for candidate in &self.candidates {
            let error = match nix::unistd::execve(candidate, &self.args, &self.env) {
                Err(error) => error,
                Ok(never) => match never {},
            };
            match error {
                Errno::ENOENT | Errno::ENOTDIR if !exists(candidate) => {}
                _ => {
                    problem.get_or_insert((candidate, error));
                    if !matches!(error, Errno::EACCES | Errno::ENOENT | Errno::ENOTDIR) {
                        break;
                    }
                }
            }
        }
        Err(self.failure(problem))
    }

    fn failure(&self, problem: Option<(&CString, Errno)>) -> Failure {
        let program = self.name.clone();
        let Some((path, error)) = problem else {
            let reason = if self.name.contains('/') {
                "no such file in the image".to_owned()
            } else if self.name.is_empty() {
                "the command is empty".to_owned()
            } else {
                "not found: no such program in the PATH of the image".to_owned()
            };
            return Failure::NotFound { program, reason };
        };
        let path = path.to_string_lossy();
        match error {
            Errno::ENOENT | Errno::ENOTDIR => Failure::NoInterpreter { program, path: path.into_owned() },
            Errno::EACCES => Failure::NotExecutable {
                program,
                reason: format!("permission denied: {path} is not an executable file, or the user may not run it"),
            },
            Errno::ENOEXEC => Failure::WrongFormat { program, path: path.into_owned() },
            error => Failure::NotExecutable { program, reason: error.desc().to_lowercase() },
        }
    }
}

/// The paths to try, as execvp(3) does, looked up in the environment that the program will have.
fn candidates(name: &str, env: &[String]) -> Vec<String> {
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    if name.is_empty() {
        return Vec::new();
    }
    let path = env.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| format!("{}/{name}", directory.trim_end_matches('/')))
        .collect()
}

fn exists(path: &CStr) -> bool {
    rustix::fs::accessat(rustix::fs::CWD, path, rustix::fs::Access::EXISTS, rustix::fs::AtFlags::empty()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_up_in_their_own_path() {
        let path = |value: &str| vec!["A=b".to_owned(), format!("PATH={value}")];
        for (name, env, expected) in [
            ("/bin/sh", path("/x"), vec!["/bin/sh"]),
            ("./sh", path("/x"), vec!["./sh"]),
            ("sh", path("/x:/y/"), vec!["/x/sh", "/y/sh"]),
            ("sh", path("relative::/y:."), vec!["/y/sh"]),
            ("sh", path(""), vec![]),
            ("", path("/x"), vec![]),
        ] {
            assert_eq!(candidates(name, &env), expected, "{name}");
        }
        assert_eq!(candidates("sh", &[])[0], "/usr/local/sbin/sh");
    }
}
