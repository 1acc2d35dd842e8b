use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;
use builder_image::Reference;
use builder_image::archive::{Format, SaveImage, SaveOptions, save};
use clap::{Args, ValueEnum};

use super::Global;
use crate::error::{CliError, CliResult};
use crate::outputs::Compression;
use crate::{store, whole_file};

#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// The file to write; standard output if it is not given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// docker: what `docker load` reads, and an OCI layout as well; oci: an OCI layout and nothing else
    #[arg(long, value_enum, default_value_t = Kind::Docker, value_name = "FORMAT")]
    format: Kind,
    /// How layers that were built here are compressed
    #[arg(long, value_enum, default_value_t = Compression::Uncompressed, value_name = "KIND")]
    compression: Compression,
    /// Names, ids, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Docker,
    Oci,
}

pub(crate) fn run(global: &Global, args: &SaveArgs) -> CliResult<u8> {
    let store = store::open(global)?;
    let _lease = store.lease()?;
    let mut images = Vec::new();
    for name in &args.images {
        let found = store::find(&store, name)?;
        // An image that is saved by its id has no name in the archive, as in Docker.
        let names = found.name.iter().map(|name| name.parse()).collect::<Result<Vec<Reference>, _>>()?;
        images.push(SaveImage { id: found.image.id, names });
    }
    let options = SaveOptions {
        format: match args.format {
            Kind::Docker => Format::Docker,
            Kind::Oci => Format::Oci,
        },
        compression: args.compression.into(),
        ..SaveOptions::default()
    };
    match &args.output {
        None => {
            if io::stdout().is_terminal() {
                return Err(CliError::Usage(
                    "refusing to write a tarball to a terminal: redirect it, or use -o FILE".into(),
                ));
            }
            let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
            save(&store, &images, &options, &mut out)?;
            out.flush().context("standard output can't be written")?;
        }
        Some(path) => whole_file::write(path, |out| {
            save(&store, &images, &options, out)?;
            Ok(())
        })?,
    }
    Ok(0)
}
