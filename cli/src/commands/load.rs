use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use anyhow::Context;
use builder_image::archive::{LoadOptions, load, load_layout};
use clap::Args;

use super::Global;
use crate::error::{CliError, CliResult};
use crate::{output, store, sync};

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// The tarball, compressed or not, or the directory of an OCI layout; standard input if it is not given
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(global: &Global, args: &LoadArgs) -> CliResult<u8> {
    let durability = sync::durability()?;
    let store = store::open(global)?;
    let options = LoadOptions::default();
    let images = match &args.input {
        None => {
            if io::stdin().is_terminal() {
                return Err(CliError::Usage("standard input is a terminal: give a tarball with -i FILE".into()));
            }
            load(&store, io::stdin(), &options).context("the archive on standard input can't be loaded")?
        }
        Some(path) if path.is_dir() => load_layout(&store, path, &options)
            .with_context(|| format!("the layout {} can't be loaded", path.display()))?,
        Some(path) => {
            let file = File::open(path).with_context(|| format!("{} can't be opened", path.display()))?;
            load(&store, file, &options).with_context(|| format!("{} can't be loaded", path.display()))?
        }
    };
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
