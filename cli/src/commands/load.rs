use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use anyhow::Context;
use builder_cache::{BlobDigest, Named, Store};
use builder_image::archive::{LoadOptions, LoadedImage, load, load_layout};
use builder_image::platform::Platform;
use clap::Args;

use super::Global;
use crate::error::{CliError, CliResult};
use crate::{output, store, sync};

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// The tarball, compressed or not, or the directory of an OCI layout; standard input if it is not given
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Which image is wanted of one that is for several platforms [default: this machine's]; several can be
    #[arg(long = "platform", value_name = "OS/ARCH", value_delimiter = ',')]
    platforms: Vec<String>,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(global: &Global, args: &LoadArgs) -> CliResult<u8> {
    let durability = sync::durability()?;
    let store = store::open(global)?;
    let platforms = args.platforms.iter().map(|text| platform(text)).collect::<CliResult<Vec<_>>>()?;
    let mut images = Vec::new();
    for platform in if platforms.is_empty() { vec![Platform::host()] } else { platforms } {
        let options = LoadOptions { platform, ..LoadOptions::default() };
        images.extend(load_one(&store, args, &options)?);
    }
    name_all(&store, &images)?;
    let mut text = String::new();
    for image in &images {
        for name in &image.names {
            if let Some(before) = &name.replaced {
                let _ = writeln!(
                    text,
                    "The image {} existed before; the old one with id {} has lost that name",
                    name.name.familiar(),
                    before.short()
                );
            }
            let _ = writeln!(text, "Loaded image: {}", name.name.familiar());
        }
        if image.names.is_empty() {
            let _ = writeln!(text, "Loaded image ID: {}", image.id);
        }
    }
    if !args.quiet {
        output::result(&text)?;
    }
    sync::after_build(global, &store, durability)?;
    Ok(0)
}

/// Loads what is for one platform.
fn load_one(store: &Store, args: &LoadArgs, options: &LoadOptions) -> CliResult<Vec<LoadedImage>> {
    Ok(match &args.input {
        None => {
            if io::stdin().is_terminal() {
                return Err(CliError::Usage("standard input is a terminal: give a tarball with -i FILE".into()));
            }
            if args.platforms.len() > 1 {
                let message = "standard input can be read only once: give a tarball with -i FILE for several platforms";
                return Err(CliError::Usage(message.into()));
            }
            load(store, io::stdin(), options).context("the archive on standard input can't be loaded")?
        }
        Some(path) if path.is_dir() => load_layout(store, path, options)
            .with_context(|| format!("the layout {} can't be loaded", path.display()))?,
        Some(path) => {
            let file = File::open(path).with_context(|| format!("{} can't be opened", path.display()))?;
            load(store, file, options).with_context(|| format!("{} can't be loaded", path.display()))?
        }
    })
}

/// A name that was loaded for several platforms stands for all of them; without a platform it means this machine's, or else
/// the first.
fn name_all(store: &Store, images: &[LoadedImage]) -> CliResult<()> {
    let mut named: BTreeMap<String, Vec<(String, BlobDigest)>> = BTreeMap::new();
    for image in images {
        for name in &image.names {
            let platforms = named.entry(name.name.to_string()).or_default();
            let platform = common(&image.platform);
            if !platforms.iter().any(|(known, _)| *known == platform) {
                platforms.push((platform, image.id));
            }
        }
    }
    let host = common(&Platform::host());
    for (name, platforms) in named.into_iter().filter(|(_, platforms)| platforms.len() > 1) {
        let own = platforms.iter().find(|(platform, _)| *platform == host).or(platforms.first());
        if let Some(image) = own.map(|(_, id)| *id) {
            store.set_name(&name, &Named { platforms, ..Named::one(image) })?;
        }
    }
    Ok(())
}

pub(crate) fn platform(text: &str) -> CliResult<Platform> {
    let builder_frontend::platform::Platform { os, architecture, variant } =
        text.parse().map_err(|error| CliError::Usage(format!("--platform: {error}")))?;
    Ok(Platform { os, architecture, variant: Some(variant).filter(|variant| !variant.is_empty()) })
}

/// A platform in the form that names keep: without a variant that everybody means.
fn common(platform: &Platform) -> String {
    let text = platform.to_string();
    text.parse::<builder_frontend::platform::Platform>().map_or(text, |platform| platform.to_string())
}
