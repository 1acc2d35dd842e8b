use clap::Args;

use super::{Global, login};
use crate::credentials::{Logins, Place};
use crate::error::CliResult;
use crate::registry::DOCKER_HUB;
use crate::{config, output};

#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// The registry: host or host:port [default: Docker Hub]
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

pub(crate) fn run(global: &Global, args: &LogoutArgs) -> CliResult<u8> {
    let host = login::host(args.server.as_deref())?;
    let logins = Logins::new(&config::load(global)?.hosts);
    let shown = if host == DOCKER_HUB { "https://index.docker.io/v1/" } else { &host };
    if Place::of(&host, &logins)?.erase()? {
        output::result(&format!("Removing login credentials for {shown}\n"))?;
    } else {
        output::result(&format!("Not logged in to {shown}\n"))?;
    }
    Ok(0)
}
