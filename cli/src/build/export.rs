//! From the solved snapshot to the outputs.

use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::Context;
use builder_cache::{BlobDigest, DiffId, KeyLock, NewImage, Snapshot, Store};
use builder_executor::rootfs::{Driver, Purpose, RootMount};
use builder_frontend::plan::{LayerFacts, Plan};
use builder_image::Reference;
use builder_image::archive::{Format, SaveImage, SaveOptions, save, save_layout};
use builder_image::compress::Compression;
use builder_image::layer::WriteOptions;
use builder_solver::CacheKey;
use builder_solver::digest::FramedHasher;
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::metadata::write_metadata;
use crate::commands::build::BuildArgs;
use crate::commands::images::timestamp;
use crate::error::{CliError, CliResult};
use crate::outputs::{ArchiveKind, Dest, OutputSpec};
use crate::progress::{Progress, Step};
use crate::whole_file;

/// Sends a result where it should go.
pub(crate) struct Exporter<'a> {
    pub(crate) args: &'a BuildArgs,
    pub(crate) plan: &'a Plan,
    pub(crate) store: &'a Store,
    pub(crate) driver: &'a Driver,
    pub(crate) progress: &'a Progress,
}

/// The image that came out.
struct Assembled {
    id: BlobDigest,
    names: Vec<String>,
    /// Held while it is in the store only until the outputs are written, so that nobody names it meanwhile.
    passing: Option<KeyLock>,
}

impl Exporter<'_> {
    /// Carries all outputs out; the image id when an image was made.
    pub(crate) fn run(
        &self,
        snapshot: &Snapshot,
        target: CacheKey,
        outputs: &[OutputSpec],
    ) -> CliResult<Option<String>> {
        let needs_image = outputs.iter().any(OutputSpec::needs_image) || self.args.iidfile.is_some();
        let mut facts = Map::new();
        let image = if needs_image {
            let step = self.progress.step("exporting to image");
            let into_store = outputs.iter().any(|output| matches!(output, OutputSpec::Image { .. }));
            match self.image(snapshot, target, outputs, into_store, &step) {
                Ok(image) => {
                    step.done();
                    Some(image)
                }
                Err(error) => {
                    step.failed(error.text());
                    return Err(error);
                }
            }
        } else {
            None
        };
        if let Some(image) = &image {
            facts.insert("containerimage.config.digest".into(), json!(image.id.to_string()));
            if !image.names.is_empty() {
                facts.insert("image.name".into(), json!(image.names.join(",")));
            }
        }
        let written: CliResult<()> =
            outputs.iter().try_for_each(|output| self.output(output, snapshot, image.as_ref(), &mut facts));
        if let Some(image) = image.as_ref().filter(|image| image.passing.is_some()) {
            self.store.remove_nameless_image(&image.id)?;
        }
        written?;
        if let (Some(file), Some(image)) = (&self.args.iidfile, &image) {
            whole_file::write_bytes(file, image.id.to_string().as_bytes())?;
        }
        if let Some(file) = &self.args.metadata_file {
            write_metadata(file, &Value::Object(facts))?;
        }
        Ok(image.map(|image| image.id.to_string()))
    }

    /// Puts the image into the store: with names and to stay, or only as long as another output needs it.
    fn image(
        &self,
        snapshot: &Snapshot,
        target: CacheKey,
        outputs: &[OutputSpec],
        into_store: bool,
        step: &Step,
    ) -> CliResult<Assembled> {
        let mut names = full_names(&self.args.tags)?;
        for output in outputs {
            if let OutputSpec::Image { names: more } = output {
                names.extend(full_names(more)?);
            }
        }
        names.dedup();
        let part = step.part("exporting layers");
        let layers: Vec<(LayerFacts, DiffId, u64)> =
            snapshot.layers.par_iter().map(|layer| self.layer(layer)).collect::<CliResult<_>>()?;
        drop(part);
        let facts: Vec<LayerFacts> = layers.iter().map(|(facts, ..)| facts.clone()).collect();
        let config = self.plan.image_config(&facts)?;
        let created = config.created.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let bytes = serde_json::to_vec(&config)?;
        let id = BlobDigest::of(&bytes);
        step.note(format!("writing image {id}"));
        let mut turn = Some(self.store.lock_key(&image_key(&id))?);
        let passing = if into_store || self.store.image(&id)?.is_some() { None } else { turn.take() };
        if !self.store.has_blob(&id)? {
            self.store.put_blob(&bytes)?;
        }
        self.store.put_image(&NewImage {
            id,
            snapshot: snapshot.clone(),
            diff_ids: layers.iter().map(|(_, diff_id, _)| *diff_id).collect(),
            manifest: None,
            created_ms: created.map_or(0, jiff::Timestamp::as_millisecond),
            size: layers.iter().map(|(.., size)| *size).sum(),
            target: Some(target),
        })?;
        if into_store {
            for name in &names {
                self.store.tag(name, &id)?;
                step.note(format!("naming to {name}"));
            }
        }
        drop(turn);
        Ok(Assembled { id, names, passing })
    }

    /// What the image's config says of a layer, and the bytes of its files.
    fn layer(&self, id: &builder_cache::LayerId) -> CliResult<(LayerFacts, DiffId, u64)> {
        let meta = self.store.layer(id)?.meta;
        let diff_id = match meta.diff_id {
            Some(diff_id) => diff_id,
            None => builder_image::layer::diff_id(self.store, id)?.diff_id,
        };
        let created = match self.plan.source_date_epoch {
            Some(epoch) => meta.created_ms.min(epoch.saturating_mul(1000)),
            None => meta.created_ms,
        };
        let facts = LayerFacts { diff_id: diff_id.to_string(), created: Some(timestamp(created)) };
        Ok((facts, diff_id, meta.size))
    }

    fn output(
        &self,
        output: &OutputSpec,
        snapshot: &Snapshot,
        image: Option<&Assembled>,
        facts: &mut Map<String, Value>,
    ) -> CliResult<()> {
        match output {
            OutputSpec::Image { .. } | OutputSpec::CacheOnly => Ok(()),
            OutputSpec::Local { dest } => self.step("exporting to client directory", || self.local(snapshot, dest)),
            OutputSpec::Tar { dest } => self.step("exporting to client tarball", || self.tar(snapshot, dest)),
            OutputSpec::Archive { kind, dest, tar, names, compression } => {
                let Some(image) = image else { return Err(CliError::message("there is no image to export")) };
                let name = match kind {
                    ArchiveKind::Oci => "exporting to oci image format",
                    ArchiveKind::Docker => "exporting to docker image format",
                };
                let mut all = image.names.clone();
                all.extend(full_names(names)?);
                let archive = Archive { kind: *kind, dest, tar: *tar, names: all, compression: (*compression).into() };
                let digest = self.step(name, || self.archive(&archive, image))?;
                facts.insert("containerimage.digest".into(), json!(digest));
                Ok(())
            }
        }
    }

    fn step<T>(&self, name: &str, work: impl FnOnce() -> CliResult<T>) -> CliResult<T> {
        let step = self.progress.step(name);
        match work() {
            Ok(value) => {
                step.done();
                Ok(value)
            }
            Err(error) => {
                step.failed(error.text());
                Err(error)
            }
        }
    }
}

impl Exporter<'_> {
    /// The files of the result, and a descriptor of their root; they are there as long as the mount is.
    fn root(&self, snapshot: &Snapshot) -> CliResult<(RootMount, OwnedFd)> {
        let mount = self.driver.mount(self.store, snapshot, None, Purpose::Files)?;
        let root = mount.as_fd().try_clone_to_owned()?;
        Ok((mount, root))
    }

    fn local(&self, snapshot: &Snapshot, dest: &Path) -> CliResult<()> {
        let (_mount, root) = self.root(snapshot)?;
        builder_image::export::directory(&root, dest, self.plan.source_date_epoch)
            .with_context(|| format!("the result can't be written to {}", dest.display()))?;
        Ok(())
    }

    /// The files as a tarball, nothing of it in memory or in a temporary file.
    fn tar(&self, snapshot: &Snapshot, dest: &Dest) -> CliResult<()> {
        let (_mount, root) = self.root(snapshot)?;
        let options = WriteOptions { clamp: self.plan.source_date_epoch };
        write_to(dest, |out| {
            builder_image::export::tar(&root, &options, out)?;
            Ok(())
        })
    }

    /// An image archive or layout; returns the digest of the manifest.
    fn archive(&self, archive: &Archive<'_>, image: &Assembled) -> CliResult<String> {
        let options = SaveOptions {
            format: match archive.kind {
                ArchiveKind::Oci => Format::Oci,
                ArchiveKind::Docker => Format::Docker,
            },
            compression: archive.compression,
            ..SaveOptions::default()
        };
        let names = archive.names.iter().map(|name| name.parse()).collect::<Result<Vec<Reference>, _>>()?;
        let images = [SaveImage { id: image.id, names }];
        let mut saved = None;
        match archive.dest {
            Dest::Path(directory) if !archive.tar => {
                saved = Some(save_layout(self.store, &images, &options, directory)?);
            }
            dest => write_to(dest, |out| {
                saved = Some(save(self.store, &images, &options, out)?);
                Ok(())
            })?,
        }
        let manifest = saved.and_then(|saved| saved.images.into_iter().next()).map(|image| image.manifest);
        Ok(manifest.map(|manifest| manifest.digest().to_string()).unwrap_or_default())
    }
}

/// The full forms of names on the command line.
pub(super) fn full_names(names: &[String]) -> CliResult<Vec<String>> {
    names
        .iter()
        .map(|name| {
            let reference: Reference =
                name.parse().map_err(|error| CliError::Usage(format!("invalid tag `{name}`: {error}")))?;
            Ok(reference.to_string())
        })
        .collect()
}

/// Under which key builders take turns with an image that comes and goes.
fn image_key(id: &BlobDigest) -> CacheKey {
    CacheKey::from_bytes(FramedHasher::new("image").part(id.as_bytes()).finish())
}

/// An archive to write.
struct Archive<'a> {
    kind: ArchiveKind,
    dest: &'a Dest,
    tar: bool,
    names: Vec<String>,
    compression: Compression,
}

/// Opens the destination.
fn write_to(dest: &Dest, work: impl FnOnce(&mut dyn Write) -> CliResult<()>) -> CliResult<()> {
    match dest {
        Dest::Stdout => {
            let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
            work(&mut out)?;
            Ok(out.flush().context("standard output can't be written")?)
        }
        Dest::Path(path) => whole_file::write(path, work),
    }
}
