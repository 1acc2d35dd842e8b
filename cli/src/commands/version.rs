use clap::Args;
use serde_json::json;

use crate::error::CliResult;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &VersionArgs) -> CliResult<u8> {
    let (version, os, architecture) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
    let text = if args.json {
        format!("{}\n", json!({ "version": version, "os": os, "architecture": architecture }))
    } else {
        format!("builder {version} ({os}/{architecture})\n")
    };
    output::result(&text)?;
    Ok(0)
}
