use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use anyhow::Context;
use builder_executor::remote::Client;
use builder_frontend::changes::apply_changes;
use builder_frontend::config::{History, ImageConfig};
use builder_frontend::platform::Platform;
use builder_image::assemble::import;
use builder_image::tar::Limits;
use clap::Args;

use super::Global;
use crate::error::{CliError, CliResult};
use crate::{output, store, sync};

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Apply an instruction to the image's config (CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, USER, VOLUME,
    /// WORKDIR, …); can be given several times
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// What it is for [default: this machine]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// What history says about the image [default: Imported from SOURCE]
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// A tarball of a root file system, compressed or not; a URL; or - for standard input
    #[arg(value_name = "FILE|URL|-")]
    source: String,
    /// The image's name
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

pub(crate) fn run(global: &Global, args: &ImportArgs) -> CliResult<u8> {
    let name = args.name.as_deref().map(store::new_name).transpose()?;
    let durability = sync::durability()?;
    let store = store::open(global)?;
    let lease = store.lease()?;
    let config = config(args)?;
    let serde_json::Value::Object(config) = serde_json::to_value(&config)? else {
        return Err(CliError::message("an image config is a JSON object"));
    };
    let source = not_empty(open(&args.source)?, &args.source)?;
    let image = import(&store, source, &config, Limits::default())
        .with_context(|| format!("{} can't be imported", args.source))?;
    if let Some(name) = name {
        store.tag(&name, &image.id)?;
    }
    drop(lease);
    output::result(&format!("{}\n", image.id))?;
    sync::after_build(global, &store, durability)?;
    Ok(0)
}

fn config(args: &ImportArgs) -> CliResult<ImageConfig> {
    let platform = match &args.platform {
        None => Platform::host(),
        Some(text) => text.parse().map_err(|error| CliError::Usage(format!("--platform: {error}")))?,
    };
    let created = Some(jiff::Timestamp::now().to_string());
    let comment = args.message.clone().unwrap_or_else(|| format!("Imported from {}", args.source));
    let mut config = ImageConfig {
        created: created.clone(),
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        history: vec![History { created, comment, ..History::default() }],
        ..ImageConfig::default()
    };
    apply_changes(&mut config, &args.changes).map_err(|error| {
        let help = error.diagnostic().and_then(|diagnostic| diagnostic.help);
        CliError::Usage(format!("--change: {error}{}", help.map(|help| format!("\nhelp: {help}")).unwrap_or_default()))
    })?;
    Ok(config)
}

/// A pipe whose writer failed is empty; that is no root file system.
fn not_empty(mut source: Box<dyn Read + Send>, name: &str) -> CliResult<impl Read + Send> {
    let mut first = [0];
    let length = source.read(&mut first).with_context(|| format!("{name} can't be read"))?;
    if length == 0 {
        return Err(CliError::message(format!("{name} is empty: that is no tarball of a root file system")));
    }
    Ok(Cursor::new(first).chain(source))
}

fn open(source: &str) -> CliResult<Box<dyn Read + Send>> {
    if source == "-" {
        return Ok(Box::new(io::stdin()));
    }
    if source.starts_with("http://") || source.starts_with("https://") {
        return Ok(Box::new(Client::new()?.get(source)?));
    }
    let path = Path::new(source);
    if path.is_dir() {
        return Err(CliError::with_hint(
            anyhow::anyhow!("{source} is a directory"),
            format!("give a tarball: tar -C {source} -c . | builder import - NAME"),
        ));
    }
    Ok(Box::new(File::open(path).with_context(|| format!("{source} can't be opened"))?))
}
