use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;
use builder_cache::{Named, Store};
use builder_image::Reference;
use builder_image::archive::{Format, MediaTypes, SaveImage, SaveOptions, save};
use clap::{Args, ValueEnum};

use super::Global;
use crate::build::export::NameForm;
use crate::error::{CliError, CliResult};
use crate::outputs::Compression;
use crate::store::{self, Found};
use crate::whole_file;

#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// The file to write; standard output if it is not given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// docker: what `docker load` reads, and an OCI layout as well; oci: an OCI layout and nothing else
    #[arg(long, value_enum, default_value_t = Kind::Docker, value_name = "FORMAT")]
    format: Kind,
    /// How layers that were built here are compressed [default: as the image was built to be, or else uncompressed]
    #[arg(long, value_enum, value_name = "KIND")]
    compression: Option<Compression>,
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
        images.push(image(&store, &found, args.compression)?);
    }
    let options = SaveOptions {
        format: match args.format {
            Kind::Docker => Format::Docker,
            Kind::Oci => Format::Oci,
        },
        compression: args.compression.unwrap_or(Compression::Uncompressed).into(),
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

/// What a name stands for on all its platforms, in the form in which it was built. An image that is saved by its id has
/// no name in the archive, as in Docker.
pub(super) fn image(store: &Store, found: &Found, compression: Option<Compression>) -> CliResult<SaveImage> {
    let Some(name) = &found.name else { return Ok(SaveImage::one(found.image.id, Vec::new())) };
    let named = store.name(name)?.unwrap_or_else(|| Named::one(found.image.id));
    let mut platforms = Vec::new();
    for (platform, id) in &named.platforms {
        platforms.push((platform.parse().map_err(CliError::message)?, *id));
    }
    if platforms.is_empty() {
        platforms.push((store::config(store, &named.image)?.platform(), named.image));
    }
    let mut image = NameForm::parse(named.form.as_deref())?.image(&platforms, vec![name.parse::<Reference>()?]);
    if let (Some(compression), Some(options)) = (compression, &mut image.options) {
        let media_types = match compression {
            // Docker's media types do not know it.
            Compression::Zstd => MediaTypes::Oci,
            Compression::Uncompressed | Compression::Gzip => options.media_types,
        };
        *options = SaveOptions { compression: compression.into(), media_types, ..SaveOptions::default() };
    }
    Ok(image)
}
