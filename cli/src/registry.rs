//! The client of registries as this machine and this user are set up.

use std::path::PathBuf;
use std::sync::Arc;

use builder_image::registry::{Hosts, Registry, Settings, Stop};
use clap::Args;

use crate::commands::Global;
use crate::config;
use crate::credentials::Logins;
use crate::error::CliResult;

/// The registry of names without one.
pub(crate) const DOCKER_HUB: &str = "docker.io";

/// How the registries of one command are reached, over what `builder.toml` says.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RegistryArgs {
    /// Take any certificate of the registry, and plain HTTP where TLS is not spoken
    #[arg(long, help_heading = "Registry")]
    pub(crate) insecure: bool,
    /// Trust the certificates of this file besides the machine's own
    #[arg(long, value_name = "FILE", help_heading = "Registry")]
    pub(crate) tls_ca: Vec<PathBuf>,
}

/// The client with what `builder.toml` says. Nothing is connected, and no login is looked up, before it is needed.
pub(crate) fn client(global: &Global, stop: Stop) -> CliResult<Registry> {
    Ok(with(config::load(global)?.hosts, stop))
}

/// The client for a command with flags about the registries that it names.
pub(crate) fn client_for<'h>(
    global: &Global,
    args: &RegistryArgs,
    hosts: impl IntoIterator<Item = &'h str>,
    stop: Stop,
) -> CliResult<Registry> {
    let mut settings = config::load(global)?.hosts;
    for host in hosts {
        args.apply(&mut settings, host)?;
    }
    Ok(with(settings, stop))
}

/// The client with these settings of hosts.
pub(crate) fn with(hosts: Hosts, stop: Stop) -> Registry {
    let credentials = Arc::new(Logins::new(&hosts));
    Registry::new(Settings { hosts, credentials, stop })
}

impl RegistryArgs {
    /// Sets for a host what the flags say.
    pub(crate) fn apply(&self, hosts: &mut Hosts, host: &str) -> CliResult<()> {
        let mut settings = hosts.get(host);
        settings.insecure |= self.insecure;
        for file in &self.tls_ca {
            settings.ca.push(std::path::absolute(file)?);
        }
        hosts.insert(host, settings);
        Ok(())
    }
}

/// Whether this is one of the names of Docker Hub.
pub(crate) fn is_docker_hub(host: &str) -> bool {
    matches!(
        host,
        DOCKER_HUB | "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" | "hub.docker.com"
    )
}
