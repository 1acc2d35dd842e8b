//! Limits of the processes of a build, which are nobody's business but this machine's: they are no part of any key.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources, PosixRlimit, PosixRlimitBuilder, PosixRlimitType};

use super::spec::SpecOptions;

/// What every step may use.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// The size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Limits of a process.
    pub ulimits: Vec<Ulimit>,
    /// The control group in which those of the steps are made: absolute from the root of a hierarchy, or below the
    /// builder's own.
    pub cgroup_parent: Option<CgroupPath>,
    /// Memory of a step in bytes.
    pub memory: Option<i64>,
    /// Memory and swap together; -1 is without limit.
    pub memory_swap: Option<i64>,
    /// The weight among others, 1024 when nothing is said.
    pub cpu_shares: Option<u64>,
    /// The period for the quota, in microseconds.
    pub cpu_period: Option<u64>,
    /// CPU time in each period, in microseconds.
    pub cpu_quota: Option<i64>,
    /// Which processors: `0-3,7`.
    pub cpuset_cpus: Option<String>,
    /// Which memory nodes.
    pub cpuset_mems: Option<String>,
}

/// A limit of a process, as the shell's `ulimit` sets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit(PosixRlimit);

/// The path of a control group; nothing in it leads upwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupPath(PathBuf);

impl Limits {
    /// Puts them into what a specification is made of.
    pub fn apply(&self, options: &mut SpecOptions) {
        options.shm_size = self.shm_size;
        options.rlimits = self.ulimits.iter().map(|limit| limit.0).collect();
        options.cgroup_parent = self.cgroup_parent.as_ref().map(|path| path.0.clone());
        options.resources = self.resources();
    }

    fn resources(&self) -> Option<LinuxResources> {
        let mut memory = LinuxMemory::default();
        memory.set_limit(self.memory).set_swap(self.memory_swap);
        let mut cpu = LinuxCpu::default();
        cpu.set_shares(self.cpu_shares).set_period(self.cpu_period).set_quota(self.cpu_quota);
        cpu.set_cpus(self.cpuset_cpus.clone()).set_mems(self.cpuset_mems.clone());
        let mut resources = LinuxResources::default();
        resources.set_memory(Some(memory).filter(|memory| *memory != LinuxMemory::default()));
        resources.set_cpu(Some(cpu).filter(|cpu| *cpu != LinuxCpu::default()));
        Some(resources).filter(|resources| *resources != LinuxResources::default())
    }
}

/// The names that Docker knows.
const ULIMITS: [(&str, PosixRlimitType); 15] = [
    ("core", PosixRlimitType::RlimitCore),
    ("cpu", PosixRlimitType::RlimitCpu),
    ("data", PosixRlimitType::RlimitData),
    ("fsize", PosixRlimitType::RlimitFsize),
    ("locks", PosixRlimitType::RlimitLocks),
    ("memlock", PosixRlimitType::RlimitMemlock),
    ("msgqueue", PosixRlimitType::RlimitMsgqueue),
    ("nice", PosixRlimitType::RlimitNice),
    ("nofile", PosixRlimitType::RlimitNofile),
    ("nproc", PosixRlimitType::RlimitNproc),
    ("rss", PosixRlimitType::RlimitRss),
    ("rtprio", PosixRlimitType::RlimitRtprio),
    ("rttime", PosixRlimitType::RlimitRttime),
    ("sigpending", PosixRlimitType::RlimitSigpending),
    ("stack", PosixRlimitType::RlimitStack),
];

impl FromStr for Ulimit {
    type Err = String;

    /// `name=soft[:hard]`; -1 is without limit.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no limit: write NAME=SOFT[:HARD], such as nofile=1024:4096");
        let (name, values) = text.split_once('=').ok_or_else(wrong)?;
        let name = name.trim().to_lowercase();
        let Some((_, kind)) = ULIMITS.iter().find(|(known, _)| *known == name) else {
            let names: Vec<&str> = ULIMITS.iter().map(|(name, _)| *name).collect();
            return Err(format!("there is no limit `{name}`: the limits are {}", names.join(", ")));
        };
        let number = |text: &str| match text.trim().parse::<i64>() {
            Ok(-1) => Ok(u64::MAX),
            Ok(value @ 0..) => Ok(value as u64),
            _ => Err(wrong()),
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            return Err(format!("`{text}`: the soft limit is above the hard one"));
        }
        let limit = PosixRlimitBuilder::default().typ(*kind).soft(soft).hard(hard).build();
        limit.map(Self).map_err(|error| error.to_string())
    }
}

impl FromStr for CgroupPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = Path::new(text);
        let plain = |component: Component<'_>| matches!(component, Component::Normal(_) | Component::RootDir);
        if text.contains('\0') || path.file_name().is_none() || !path.components().all(plain) {
            return Err(format!("`{text}` is no control group: give a path without `..`, such as /builds"));
        }
        Ok(Self(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimits_are_parsed() {
        for (text, soft, hard) in [
            ("nofile=1024", 1024, 1024),
            ("nofile=1024:4096", 1024, 4096),
            ("NOFILE=0:-1", 0, u64::MAX),
            ("core=-1", u64::MAX, u64::MAX),
        ] {
            let limit = text.parse::<Ulimit>().unwrap().0;
            assert_eq!((limit.soft(), limit.hard()), (soft, hard), "{text}");
        }
        for (text, says) in [
            ("nofile", "NAME=SOFT"),
            ("nofile=", "NAME=SOFT"),
            ("nofile=1:x", "NAME=SOFT"),
            ("nofile=-2", "NAME=SOFT"),
            ("nofile=5:4", "above the hard one"),
            ("nofile=-1:4", "above the hard one"),
            ("files=1", "nofile"),
            ("as=1", "nofile"),
        ] {
            assert!(text.parse::<Ulimit>().unwrap_err().contains(says), "{text}");
        }
    }

    #[test]
    fn control_groups_lead_nowhere_else() {
        for text in ["a", "/a", "a/b.slice", "/a/b"] {
            assert!(text.parse::<CgroupPath>().is_ok(), "{text}");
        }
        for text in ["", "/", "..", "a/../b", "/..", ".", "a\0b"] {
            assert!(text.parse::<CgroupPath>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_what_is_limited_is_said() {
        assert!(Limits::default().resources().is_none());
        let limits = Limits { memory: Some(64 << 20), cpu_quota: Some(50_000), ..Limits::default() };
        let resources = limits.resources().unwrap();
        assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(64 << 20));
        assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(50_000));
        assert!(resources.cpu().as_ref().unwrap().cpus().is_none());
        let swap = Limits { memory_swap: Some(-1), ..Limits::default() }.resources().unwrap();
        assert_eq!((swap.memory().unwrap().swap(), swap.cpu()), (Some(-1), &None));
    }
}
