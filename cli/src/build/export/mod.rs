//! From the solved snapshots to the outputs.
//!
//! An image's config, and so its id, depends on what an output says of it: clamped times and eStargz make other layers.
//! So outputs are sorted by the [`Recipe`] of the image that they want. Each such image is made once ([`image`]), put
//! into the store, to stay or for as long as it is written, and then each output is written: archives here, files in
//! [`files`].

mod checks;
mod early;
mod files;
mod form;
mod image;
mod names;
mod push;

use anyhow::Context;
use builder_cache::Store;
use builder_executor::rootfs::Driver;
use builder_frontend::platform::Platform;
use builder_image::Reference;
use builder_image::archive::{CREATED, Format, SaveImage, SaveOptions, SavedImage, describe, save, save_layout};
use builder_image::compress::Compression as Codec;
use serde_json::{Map, Value, json};

use self::files::write_to;
use self::image::{Made, Recipe};
use super::attest::Attested;
use super::result::BuildResult;
use super::shared::Inline;
use crate::commands::build::BuildArgs;
use crate::error::{CliError, CliResult};
use crate::outputs::{ArchiveKind, ArchiveOutput, Dest, ImageForm, ImageOutput, OutputSpec};
use crate::progress::{Progress, Step, Warning};

pub(super) use self::checks::prepare;
pub(super) use self::early::{Early, Expected};
pub(crate) use self::form::NameForm;
pub(super) use self::names::full_names;
pub(super) use self::push::Pushing;

/// Sends a result where it should go.
pub(crate) struct Exporter<'a> {
    pub(crate) args: &'a BuildArgs,
    /// The target, when there are several.
    pub(crate) prefix: Option<&'a str>,
    pub(crate) result: &'a BuildResult,
    pub(crate) store: &'a Store,
    pub(crate) driver: &'a Driver,
    pub(crate) progress: &'a Progress,
    /// What is said of the result beside it.
    pub(crate) attested: Attested,
    /// What images are pushed with.
    pub(crate) pushing: Option<&'a Pushing>,
    /// What writes a cache into the image.
    pub(crate) inline: Option<Inline<'a>>,
    /// Somebody wants to know the digest of what goes into the store.
    pub(crate) wants_digest: bool,
    /// Somebody wants to know the id.
    pub(crate) wants_id: bool,
}

/// What went out.
#[derive(Debug, Default)]
pub(crate) struct Exported {
    /// The image id; for several platforms the digest of the index.
    pub(crate) id: Option<String>,
    /// What `--metadata-file` says of it.
    pub(crate) facts: Map<String, Value>,
}

impl Exporter<'_> {
    /// Carries all outputs out.
    pub(crate) fn run(&self, outputs: &[OutputSpec]) -> CliResult<Exported> {
        let made = self.images(outputs)?;
        let mut exported = Exported::default();
        let written: CliResult<()> = outputs.iter().try_for_each(|output| self.output(output, &made, &mut exported));
        let written = written.and_then(|()| {
            if self.wants_id && exported.id.is_none() {
                exported.id = self.id_of(&made, &mut exported.facts)?;
            }
            Ok(())
        });
        let removed = made.iter().try_for_each(|image| image.pass(self.store));
        written?;
        removed?;
        exported.facts.extend(self.attested.facts(self.result.is_multi())?);
        Ok(exported)
    }

    /// Makes the images that the outputs need.
    fn images(&self, outputs: &[OutputSpec]) -> CliResult<Vec<Made>> {
        let mut recipes: Vec<(Recipe, bool)> = Vec::new();
        let mut want = |recipe: Recipe, stays: bool| match recipes.iter_mut().find(|(known, _)| *known == recipe) {
            Some((_, known)) => *known |= stays,
            None => recipes.push((recipe, stays)),
        };
        for output in outputs {
            if let Some(form) = output.image() {
                let stays = matches!(output, OutputSpec::Image(ImageOutput { passing: false, .. }));
                want(Recipe::new(form, default_codec(output)), stays);
            }
        }
        if recipes.is_empty() && self.wants_id {
            recipes.push((Recipe::default(), false));
        }
        if recipes.is_empty() {
            return Ok(Vec::new());
        }
        for (recipe, _) in &recipes {
            if recipe.lacks_epoch(self.result) {
                let message = "rewrite-timestamp is specified, but no source-date-epoch was found".to_owned();
                self.progress.warn(Warning { message, ..Warning::default() });
            }
        }
        self.step("exporting to image", |step| {
            let made = image::make(self, &recipes, step)?;
            let named = outputs.iter().try_for_each(|output| self.name(output, &made, step));
            if named.is_err() {
                image::pass_all(&made, self.store);
            }
            named.map(|()| made)
        })
    }

    fn output(&self, output: &OutputSpec, made: &[Made], exported: &mut Exported) -> CliResult<()> {
        match output {
            OutputSpec::CacheOnly => Ok(()),
            OutputSpec::Image(image) => {
                let made = find(made, output)?;
                let names = self.names_of(image, made)?;
                let several = self.result.is_multi();
                let pushed = self.push(image, made)?;
                let saved = if pushed.is_some() {
                    pushed
                } else if self.wants_digest || (several && self.wants_id) {
                    Some(self.described(&image.image, made)?)
                } else {
                    None
                };
                self.note(exported, made, saved.as_ref(), &names)
            }
            OutputSpec::Local(local) => self.step("exporting to client directory", |_| files::local(self, local)),
            OutputSpec::Tar(tar) => self.step("exporting to client tarball", |_| files::tar(self, tar)),
            OutputSpec::Archive(archive) => {
                let made = find(made, output)?;
                let name = match archive.kind {
                    ArchiveKind::Oci => "exporting to oci image format",
                    ArchiveKind::Docker => "exporting to docker image format",
                };
                let mut names = full_names(&self.args.tags)?;
                names::add(&mut names, full_names(&archive.image.names)?);
                let saved = self.step(name, |_| self.archive(archive, made, &names))?;
                self.note(exported, made, saved.as_ref(), &names)
            }
        }
    }

    /// Writes down what is to be known of an image.
    fn note(
        &self,
        exported: &mut Exported,
        made: &Made,
        saved: Option<&SavedImage>,
        names: &[String],
    ) -> CliResult<()> {
        let facts = &mut exported.facts;
        let single = made.platforms.first().filter(|_| !self.result.is_multi()).map(|(_, id)| id.to_string());
        facts.remove("containerimage.config.digest");
        if let Some(id) = &single {
            facts.insert("containerimage.config.digest".into(), json!(id));
            exported.id = Some(id.clone());
        }
        if let Some(saved) = saved {
            let digest = saved.root.digest().to_string();
            let mut descriptor = serde_json::to_value(&saved.root)?;
            if let Some(id) = &single {
                descriptor["annotations"]["config.digest"] = json!(id);
            }
            if let Some(annotations) = descriptor["annotations"].as_object_mut() {
                annotations.sort_keys();
            }
            facts.insert("containerimage.descriptor".into(), descriptor);
            facts.insert("containerimage.digest".into(), json!(digest));
            if single.is_none() {
                exported.id = Some(digest);
            }
        }
        if !names.is_empty() {
            facts.insert("image.name".into(), json!(names.join(",")));
        }
        Ok(())
    }

    /// The id when no output is an image.
    fn id_of(&self, made: &[Made], facts: &mut Map<String, Value>) -> CliResult<Option<String>> {
        let Some(made) = made.first() else { return Ok(None) };
        let mut exported = Exported::default();
        self.note(&mut exported, made, None, &[])?;
        if exported.id.is_none() {
            let saved = self.described(&ImageForm::default(), made)?;
            self.note(&mut exported, made, Some(&saved), &[])?;
        }
        facts.append(&mut exported.facts);
        Ok(exported.id)
    }

    /// What the manifest of an image of the store is, or would be.
    fn described(&self, form: &ImageForm, made: &Made) -> CliResult<SavedImage> {
        let image = self.save_image(form, made, Vec::new());
        Ok(describe(self.store, &image, &save_options(form, Codec::Gzip))?)
    }

    /// How the manifest of an output's image is made.
    fn form(&self, form: &ImageForm, made: &Made) -> NameForm {
        let attestations = |platform: &Platform| self.attested.of(self.args, form, platform);
        NameForm::new(form, self.result.is_multi(), &made.platforms, attestations)
    }

    /// The image as an archive is to have it.
    fn save_image(&self, form: &ImageForm, made: &Made, names: Vec<Reference>) -> SaveImage {
        let image = self.form(form, made).image(&made.platforms, names);
        // What is usual for this output counts, and not what is usual for `save`.
        SaveImage { options: None, ..image }
    }

    /// An image archive or layout.
    fn archive(&self, archive: &ArchiveOutput, made: &Made, names: &[String]) -> CliResult<Option<SavedImage>> {
        let options = SaveOptions {
            format: match archive.kind {
                ArchiveKind::Oci => Format::Oci,
                ArchiveKind::Docker => Format::Docker,
            },
            ..save_options(&archive.image, archive.kind.codec())
        };
        let names = names.iter().map(|name| name.parse()).collect::<Result<Vec<Reference>, _>>()?;
        let mut image = self.save_image(&archive.image, made, names);
        if let Some(time) = made.epoch(self.result).and_then(|epoch| jiff::Timestamp::from_second(epoch).ok()) {
            let notes = match image.platforms.first_mut() {
                Some(platform) if !image.index => &mut platform.descriptor_annotations,
                _ => &mut image.descriptor_annotations,
            };
            notes.entry(CREATED.to_owned()).or_insert_with(|| time.to_string());
        }
        let images = [image];
        let mut saved = None;
        match &archive.dest {
            Dest::Path(directory) if !archive.tar => {
                saved = Some(
                    save_layout(self.store, &images, &options, directory)
                        .with_context(|| format!("the image can't be written to {}", directory.display()))?,
                );
            }
            dest => write_to(dest, |out| {
                saved = Some(save(self.store, &images, &options, out)?);
                Ok(())
            })?,
        }
        Ok(saved.and_then(|saved| saved.images.into_iter().next()))
    }

    /// The name of a step, behind that of the target when there are several.
    fn named(&self, step: &str) -> String {
        self.prefix.map_or_else(|| step.to_owned(), |target| format!("[{target}] {step}"))
    }

    fn step<T>(&self, name: &str, work: impl FnOnce(&Step) -> CliResult<T>) -> CliResult<T> {
        let step = self.progress.step(&self.named(name));
        match work(&step) {
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

/// How layers are compressed where nothing is said.
fn default_codec(output: &OutputSpec) -> Codec {
    match output {
        OutputSpec::Archive(archive) => archive.kind.codec(),
        _ => Codec::Gzip,
    }
}

/// How an image of this form is written.
fn save_options(form: &ImageForm, default: Codec) -> SaveOptions {
    form::save_options(form, form.encoding(default))
}

/// The image that was made for an output.
fn find<'m>(made: &'m [Made], output: &OutputSpec) -> CliResult<&'m Made> {
    let recipe = output.image().map(|form| Recipe::new(form, default_codec(output)));
    made.iter()
        .find(|made| Some(&made.recipe) == recipe.as_ref())
        .ok_or_else(|| CliError::message("there is no image to export"))
}
