//! What `RUN` steps get from the command line: secrets, agents, host names, limits, rights.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use builder_executor::agent::Agent;
use builder_executor::op::{Grant, Grants};
use builder_executor::remote::Access;
use builder_executor::sandbox::{CgroupPath, Limits, Ulimit};
use builder_executor::secret::{MAX_SECRET, SecretSource};
use clap::Args;

use crate::commands::build::BuildArgs;
use crate::csv::{boolean, fields};
use crate::error::{CliError, CliResult};

/// Names the socket of the user's agent.
const SSH_AUTH_SOCK: &str = "SSH_AUTH_SOCK";

/// Rights that can be given with `--allow`.
const RIGHTS: [&str; 3] = ["network.host", "security.insecure", "buildx.local.delete"];

/// The flags.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Running")]
pub(crate) struct RunArgs {
    /// Offer a secret to RUN --mount=type=secret: id=NAME[,src=FILE][,env=VARIABLE][,type=file|env]
    #[arg(long = "secret", value_name = "SECRET")]
    pub(crate) secrets: Vec<String>,
    /// Offer an ssh agent to RUN --mount=type=ssh: default or another id, with =SOCKET or =KEY[,KEY] when it is not the
    /// agent of the environment
    #[arg(long = "ssh", value_name = "ID[=PATH,…]")]
    pub(crate) agents: Vec<String>,
    /// Add a name to /etc/hosts of RUN steps; host-gateway is this machine
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    pub(crate) hosts: Vec<String>,
    /// The size of /dev/shm in RUN steps [default: 64m]
    #[arg(long, value_name = "SIZE")]
    pub(crate) shm_size: Option<String>,
    /// Limit what a process of a RUN step may use: nofile=1024:4096
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimits: Vec<String>,
    /// Make the control groups of RUN steps in this one
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup_parent: Option<String>,
    /// Limit what a RUN step may use: memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus or cpuset-mems,
    /// each with =VALUE
    #[arg(long = "resource", value_name = "NAME=VALUE")]
    pub(crate) resources: Vec<String>,
}

/// What the steps of a command may see and use, and what servers may be shown.
#[derive(Debug, Default)]
pub(crate) struct RunOptions {
    pub(crate) grants: Grants,
    /// For servers: what all targets offer together, the first one's where ids are the same.
    pub(crate) access: Access,
}

impl RunOptions {
    /// What these command lines say, by the names of the targets whose they are.
    pub(crate) fn of<'a>(all: impl IntoIterator<Item = (Option<&'a str>, &'a BuildArgs)>) -> CliResult<Self> {
        let mut options = Self::default();
        // The same words mean the same agent: its keys are read once.
        let mut known: BTreeMap<&str, (String, Agent)> = BTreeMap::new();
        for (target, args) in all {
            rights(&args.allow)?;
            let mut grant = Grant { limits: limits(&args.run)?, ..Grant::default() };
            for text in &args.run.secrets {
                let (id, source) = secret(text)?;
                if options.access.secrets.source(&id).is_none() {
                    options.access.secrets.insert(id.clone(), source.clone());
                }
                grant.secrets.insert(id, source);
            }
            for text in &args.run.agents {
                let (id, agent) = match known.get(text.as_str()) {
                    Some(known) => known.clone(),
                    None => known.entry(text).or_insert(agent(text)?).clone(),
                };
                if options.access.agents.get(&id).is_none() {
                    options.access.agents.insert(id.clone(), agent.clone());
                }
                grant.agents.insert(id, agent);
            }
            match target {
                None => options.grants = Grants::common(grant),
                Some(target) => options.grants.insert(target, grant),
            }
        }
        Ok(options)
    }
}

/// Whether a right was given.
pub(crate) fn allows(args: &BuildArgs, right: &str) -> bool {
    args.allow.iter().any(|allowed| allowed == right)
}

fn rights(given: &[String]) -> CliResult<()> {
    match given.iter().find(|right| !RIGHTS.contains(&right.as_str())) {
        None => Ok(()),
        Some(right) => Err(CliError::Usage(format!(
            "--allow {right}: there is no such right: the rights are {}",
            RIGHTS.join(", ")
        ))),
    }
}

/// `--add-host`: names and addresses.
pub(crate) fn hosts(args: &BuildArgs) -> CliResult<Vec<(String, String)>> {
    let parse = |text: &String| {
        let wrong = |reason: &str| CliError::Usage(format!("--add-host {text}: {reason}"));
        let pair = text.split_once('=').or_else(|| text.split_once(':'));
        let (name, address) = pair.ok_or_else(|| wrong("write NAME:ADDRESS"))?;
        let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
            return Err(wrong("write NAME:ADDRESS"));
        }
        if address != "host-gateway" && address.parse::<IpAddr>().is_err() {
            return Err(wrong(&format!("`{address}` is no IP address, nor host-gateway")));
        }
        Ok((name.to_owned(), address.to_owned()))
    };
    args.run.hosts.iter().map(parse).collect()
}

fn secret(text: &str) -> CliResult<(String, SecretSource)> {
    let wrong = |reason: String| CliError::Usage(format!("--secret {text}: {reason}"));
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in fields(text).map_err(wrong)? {
        let Some((key, value)) = field.split_once('=') else {
            return Err(wrong(format!("`{field}` is not KEY=VALUE: write id=NAME,src=FILE or id=NAME,env=VARIABLE")));
        };
        let value = value.to_owned();
        match key.trim().to_lowercase().as_str() {
            "id" => id = Some(value),
            "src" | "source" => file = Some(value),
            "env" => variable = Some(value),
            "type" if value == "file" || value == "env" => kind = Some(value),
            "type" => return Err(wrong(format!("there is no type `{value}`: the types are file and env"))),
            key => return Err(wrong(format!("there is no `{key}`: a secret has id, src, env and type"))),
        }
    }
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return Err(wrong("it has no id: add id=NAME".to_owned()));
    };
    if kind.as_deref() == Some("env") && variable.is_none() {
        variable = file.take();
    }
    let (file, variable) = (file.filter(|file| !file.is_empty()), variable.filter(|name| !name.is_empty()));
    let source = match (variable, file) {
        (Some(variable), _) => SecretSource::Variable(variable),
        (None, Some(file)) => SecretSource::File(PathBuf::from(file)),
        (None, None) if kind.as_deref() != Some("file") && std::env::var_os(&id).is_some() => {
            SecretSource::Variable(id.clone())
        }
        (None, None) => SecretSource::File(PathBuf::from(&id)),
    };
    if let SecretSource::File(path) = &source {
        let found = fs::metadata(path).map_err(|error| {
            let what = format!("the secret {id} can't be read from {}: {error}", path.display());
            CliError::with_hint(anyhow::anyhow!(what), "a secret has src=FILE, or env=VARIABLE")
        })?;
        if found.is_dir() {
            return Err(CliError::message(format!("the secret {id}: {} is a directory", path.display())));
        }
        if found.len() > MAX_SECRET {
            return Err(CliError::message(format!(
                "the secret {id} is too big ({} bytes): secrets have at most 500 kB",
                found.len()
            )));
        }
    }
    Ok((id, source))
}

fn agent(text: &str) -> CliResult<(String, Agent)> {
    let wrong = |reason: String| CliError::message(format!("--ssh {text}: {reason}"));
    let (id, rest) = text.split_once('=').unwrap_or((text, ""));
    if id.is_empty() {
        return Err(CliError::Usage(format!("--ssh {text}: it has no id: write default, or ID=SOCKET")));
    }
    let mut raw = false;
    let mut paths = Vec::new();
    for part in rest.split(',').filter(|part| !part.is_empty()) {
        match part.strip_prefix("raw=") {
            Some(value) => {
                raw = boolean("raw", value).map_err(|reason| CliError::Usage(format!("--ssh {text}: {reason}")))?;
            }
            None => paths.push(PathBuf::from(part)),
        }
    }
    if paths.is_empty() {
        match std::env::var_os(SSH_AUTH_SOCK).filter(|path| !path.is_empty()) {
            Some(path) => paths.push(PathBuf::from(path)),
            None => {
                return Err(CliError::with_hint(
                    anyhow::anyhow!("--ssh {text}: there is no agent, {SSH_AUTH_SOCK} is not set"),
                    format!(
                        "start one (`eval $(ssh-agent)`, `ssh-add`), or name a key: --ssh {id}=$HOME/.ssh/id_ed25519"
                    ),
                ));
            }
        }
    }
    let agent = Agent::open(&paths, raw).map_err(|error| wrong(error.to_string()))?;
    Ok((id.to_owned(), agent))
}

fn limits(args: &RunArgs) -> CliResult<Limits> {
    let usage = |flag: &str, text: &str| {
        let shown = format!("--{flag} {text}");
        move |reason: String| CliError::Usage(format!("{shown}: {reason}"))
    };
    let mut limits = Limits::default();
    if let Some(text) = &args.shm_size {
        let size = bytes(text).map_err(usage("shm-size", text))?;
        limits.shm_size = Some(size).filter(|size| *size > 0);
    }
    for text in &args.ulimits {
        limits.ulimits.push(text.parse::<Ulimit>().map_err(usage("ulimit", text))?);
    }
    if let Some(text) = args.cgroup_parent.as_ref().filter(|text| !text.is_empty()) {
        limits.cgroup_parent = Some(text.parse::<CgroupPath>().map_err(usage("cgroup-parent", text))?);
    }
    for text in &args.resources {
        resource(&mut limits, text).map_err(usage("resource", text))?;
    }
    Ok(limits)
}

fn resource(limits: &mut Limits, text: &str) -> Result<(), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as memory=512m")?;
    // As in Docker, nothing is no limit.
    let number = || match value.parse::<u64>() {
        Ok(number) => Ok(Some(number).filter(|number| *number != 0)),
        Err(_) => Err(format!("`{value}` is no number")),
    };
    let amount = || bytes(value).map(|bytes| Some(bytes as i64).filter(|bytes| *bytes != 0));
    let list = || {
        let known = |c: char| c.is_ascii_digit() || c == ',' || c == '-';
        let sane = !value.is_empty() && value.chars().all(known);
        if sane { Ok(value.to_owned()) } else { Err(format!("`{value}` is no list such as 0-3,7")) }
    };
    match name {
        "memory" => limits.memory = amount()?,
        "memory-swap" if value == "-1" => limits.memory_swap = Some(-1),
        "memory-swap" => limits.memory_swap = amount()?,
        "cpu-shares" => limits.cpu_shares = number()?,
        "cpu-period" => limits.cpu_period = number()?,
        "cpu-quota" if value == "-1" => limits.cpu_quota = Some(-1),
        "cpu-quota" => limits.cpu_quota = number()?.map(|quota| quota as i64),
        "cpuset-cpus" => limits.cpuset_cpus = Some(list()?),
        "cpuset-mems" => limits.cpuset_mems = Some(list()?),
        _ => {
            return Err(
                "there is no such resource: there are memory, memory-swap, cpu-shares, cpu-period, cpu-quota, \
                        cpuset-cpus and cpuset-mems"
                    .to_owned(),
            );
        }
    }
    Ok(())
}

/// A size as people write memory: `64m`, `1.5g`; units are powers of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size such as 64m or 1g");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let value = digits.parse::<f64>().map_err(|_| wrong())? * (1_u64 << shift) as f64;
    if value < 9e18 { Ok(value as u64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_files_and_variables() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("file");
        fs::write(&file, "x").expect("it is writable");
        let file = file.to_str().expect("UTF-8");
        let variable = |name: &str| SecretSource::Variable(name.to_owned());
        for (text, source) in [
            (format!("id=a,src={file}"), SecretSource::File(file.into())),
            (format!("type=file,ID=a,source={file}"), SecretSource::File(file.into())),
            ("id=a,env=TOKEN".to_owned(), variable("TOKEN")),
            ("type=env,id=a,env=TOKEN".to_owned(), variable("TOKEN")),
            ("type=env,id=a,src=TOKEN".to_owned(), variable("TOKEN")),
            (format!("id=a,src={file},env=TOKEN"), variable("TOKEN")),
            (format!("\"id=a\",\"src={file}\""), SecretSource::File(file.into())),
        ] {
            let found = secret(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(found, ("a".to_owned(), source), "{text}");
        }
        assert_eq!(secret("id=PATH").expect("it is set").1, variable("PATH"));
        for (text, says) in [
            ("src=/etc/passwd", "no id"),
            ("id=", "no id"),
            ("id", "not KEY=VALUE"),
            ("id=a,size=1", "there is no `size`"),
            ("id=a,type=x", "there is no type `x`"),
            ("id=a,src=/no/such/file", "can't be read"),
            ("id=no-such-file-and-variable", "can't be read"),
            ("id=a,src=/", "is a directory"),
        ] {
            let error = secret(text).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_are_those_of_memory() {
        for (text, size) in [("64", 64), ("64b", 64), ("2k", 2048), ("1.5MB", 3 << 19), ("1GiB", 1 << 30), ("0", 0)] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "m", "1x", "-1", "1..2", "99999999999t"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn resources_are_named() {
        let mut limits = Limits::default();
        for text in ["memory=64m", "memory-swap=-1", "cpu-shares=512", "cpu-period=100000", "cpu-quota=50000"] {
            resource(&mut limits, text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
        resource(&mut limits, "cpuset-cpus=0-1,3").expect("a list");
        assert_eq!((limits.memory, limits.memory_swap, limits.cpu_quota), (Some(64 << 20), Some(-1), Some(50_000)));
        assert_eq!(limits.cpuset_cpus.as_deref(), Some("0-1,3"));
        for text in ["memory=0", "memory-swap=0", "cpu-quota=0"] {
            resource(&mut limits, text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
        assert_eq!((limits.memory, limits.memory_swap, limits.cpu_quota), (None, None, None), "no limit");
        for text in ["memory", "memory=x", "cpu-shares=-1", "cpuset-cpus=", "cpuset-cpus=../x", "gpus=1"] {
            assert!(resource(&mut Limits::default(), text).is_err(), "{text}");
        }
    }
}
