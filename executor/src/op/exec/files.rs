//! Files that steps see and images lack: `/etc/hosts`, `/etc/resolv.conf`, and the script of a heredoc.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use builder_cache::ActiveLayer;
use builder_solver::Exec;
use tempfile::TempDir;

use crate::op::OpError;
use crate::sandbox::BUILD_HOSTNAME;

/// Where the host says which name servers there are.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Stands for the address under which a step reaches the machine that it runs on.
const HOST_GATEWAY: &str = "host-gateway";

/// That address: steps are in the machine's own network.
const GATEWAY: &str = "127.0.0.1";

/// What `/etc/hosts` says in a step: the same on every machine.
pub(super) fn hosts(exec: &Exec) -> String {
    let mut text = hosts_of(exec.hostname.as_deref().unwrap_or(BUILD_HOSTNAME));
    for (name, address) in &exec.hosts {
        let address = if address == HOST_GATEWAY { GATEWAY } else { address };
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

fn hosts_of(hostname: &str) -> String {
    format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n")
}

/// The files that every step sees in `/etc`: written once to the store; the name servers are the host's.
pub(in crate::op) fn provided_files(root: &Path) -> Result<Vec<(PathBuf, PathBuf)>, OpError> {
    let provided = root.join("provided");
    let hosts = provided.join("hosts");
    let text = hosts_of(BUILD_HOSTNAME);
    if fs::read(&hosts).ok().as_deref() != Some(text.as_bytes()) {
        let write = || -> io::Result<()> {
            fs::create_dir_all(&provided)?;
            for (name, text) in [("hosts", text.as_str()), ("resolv.conf", "")] {
                let mut file = tempfile::NamedTempFile::new_in(&provided)?;
                file.write_all(text.as_bytes())?;
                file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
                file.persist(provided.join(name)).map_err(|error| error.error)?;
            }
            Ok(())
        };
        write().map_err(|source| OpError::Write { path: provided.clone(), source })?;
    }
    let resolv_conf = Path::new(RESOLV_CONF);
    let name_servers = if resolv_conf.is_file() { resolv_conf.to_owned() } else { provided.join("resolv.conf") };
    Ok(vec![(hosts, "/etc/hosts".into()), (name_servers, RESOLV_CONF.into())])
}

/// Writes the script beside the layer: the directory that is seen as `/dev/pipes` is `pipes` in the one returned. The
/// name is one word of a Dockerfile: it must not lead anywhere else.
pub(super) fn write_script(active: &ActiveLayer, name: &str, data: &[u8]) -> Result<TempDir, OpError> {
    let beside = active.upper().parent().unwrap_or(active.upper()).parent().unwrap_or(active.upper()).to_owned();
    let write = |beside: &Path| -> io::Result<TempDir> {
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}` is no file name")));
        }
        let dir = tempfile::Builder::new().prefix("script-").tempdir_in(beside)?;
        let pipes = dir.path().join("pipes");
        fs::create_dir(&pipes)?;
        fs::set_permissions(&pipes, fs::Permissions::from_mode(0o755))?;
        let path = pipes.join(name);
        fs::write(&path, data)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(dir)
    };
    write(&beside).map_err(|source| OpError::Write { path: beside.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_listed_in_order() {
        let pair = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        let mut exec = Exec { hosts: vec![pair("db", "10.0.0.1"), pair("me", "host-gateway")], ..Exec::default() };
        assert_eq!(
            hosts(&exec),
            "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             10.0.0.1\tdb\n127.0.0.1\tme\n"
        );
        exec.hostname = Some("box".to_owned());
        assert!(hosts(&exec).starts_with("127.0.0.1\tlocalhost box\n"));
    }
}
