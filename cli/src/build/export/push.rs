//! Images that go to registries: under which names, and what is seen of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use builder_cache::{BlobDigest, Store};
use builder_image::Reference;
use builder_image::archive::SavedImage;
use builder_image::compress::Compression as Codec;
use builder_image::push::Pusher;
use builder_image::reference::Tag;
use builder_image::registry::{Registry, Repository};
use builder_image::transfer::{State, Watch};

use super::image::Made;
use super::{Exporter, save_options};
use crate::commands::Global;
use crate::commands::build::BuildArgs;
use crate::error::{CliError, CliResult};
use crate::outputs::{ImageOutput, OutputSpec};
use crate::progress::{Progress, Step};
use crate::registry::{RegistryArgs, client_for};
use crate::{provider, signals};

/// How often it is told how far a blob is.
const INTERVAL: Duration = Duration::from_millis(100);

/// A repository that an image goes to, and its tags there; none when it goes there by its digest only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) reference: Reference,
    pub(super) tags: Vec<Tag>,
}

/// Where an output goes.
pub(super) fn destinations(args: &BuildArgs, output: &ImageOutput) -> CliResult<Vec<Destination>> {
    let mut found: Vec<Destination> = Vec::new();
    if !output.push {
        return Ok(found);
    }
    for name in args.tags.iter().chain(&output.image.names) {
        let reference: Reference =
            name.parse().map_err(|error| CliError::Usage(format!("invalid tag `{name}`: {error}")))?;
        if reference.digest().is_some() {
            return Err(CliError::Usage(format!(
                "`{name}` can't be pushed to: what an image's digest is follows from the image, so leave it out"
            )));
        }
        let has_tag = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
        if output.by_digest && has_tag {
            return Err(CliError::Usage(format!(
                "`{name}` has a tag and is to be pushed by digest: leave the tag out"
            )));
        }
        let tag = reference.tag().filter(|_| !output.by_digest).cloned();
        match found.iter_mut().find(|known| known.reference.name() == reference.name()) {
            Some(known) => known.tags.extend(tag.filter(|tag| !known.tags.contains(tag))),
            None => found.push(Destination { reference, tags: tag.into_iter().collect() }),
        }
    }
    if found.is_empty() {
        return Err(CliError::Usage(
            "an image is pushed under its names, and this one has none: give it one with -t HOST/NAME (tags in bake)"
                .into(),
        ));
    }
    Ok(found)
}

/// Refuses an output that could not be pushed at the end of a long build.
pub(super) fn check(args: &BuildArgs, output: &ImageOutput) -> CliResult<()> {
    destinations(args, output).map(drop)
}

/// What a command pushes with. All of its images share connections, and blobs that several of them have.
#[derive(Debug)]
pub(crate) struct Pushing {
    pub(super) pusher: Pusher,
    client: Registry,
    shown: Arc<Shown>,
}

impl Pushing {
    /// Nothing when nothing is to be pushed.
    pub(crate) fn new<'a>(
        global: &Global,
        store: &Store,
        progress: &Progress,
        outputs: impl IntoIterator<Item = (&'a BuildArgs, &'a Vec<OutputSpec>)>,
    ) -> CliResult<Option<Self>> {
        let (mut pushes, mut insecure) = (false, Vec::new());
        for (args, outputs) in outputs {
            for output in outputs {
                if let OutputSpec::Image(image) = output
                    && image.push
                {
                    pushes = true;
                    let all = destinations(args, image)?.into_iter().filter(|_| image.insecure);
                    insecure.extend(all.map(|destination| destination.reference.registry().to_string()));
                }
            }
        }
        if !pushes {
            return Ok(None);
        }
        let client = if insecure.is_empty() {
            provider::registry(global)?.clone()
        } else {
            let flags = RegistryArgs { insecure: true, ..RegistryArgs::default() };
            client_for(global, &flags, insecure.iter().map(String::as_str), signals::stop())?
        };
        let shown = Arc::new(Shown { progress: progress.clone(), state: Mutex::default() });
        let pusher = Pusher::new(store, Arc::clone(&shown) as Arc<dyn Watch>);
        Ok(Some(Self { pusher, client, shown }))
    }

    /// The repositories of destinations.
    pub(super) fn repositories(&self, destinations: &[Destination]) -> Vec<Repository> {
        destinations.iter().map(|destination| self.client.repository(&destination.reference)).collect()
    }

    /// All that was to be pushed is there.
    pub(crate) fn done(&self) {
        let step = self.shown.state.lock().unwrap_or_else(PoisonError::into_inner).step.take();
        step.into_iter().for_each(Step::done);
    }
}

/// Shows what is sent as a step of its own, which begins when something is.
#[derive(Debug)]
struct Shown {
    progress: Progress,
    state: Mutex<Shows>,
}

#[derive(Debug, Default)]
struct Shows {
    step: Option<Step>,
    last: HashMap<BlobDigest, Instant>,
}

impl Watch for Shown {
    fn note(&self, blob: &BlobDigest, state: State) {
        let mut shows = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Shows { step, last } = &mut *shows;
        let begin = || self.progress.step("pushing layers");
        match state {
            State::Uploading { done, total } => {
                let now = Instant::now();
                let due = last.get(blob).is_none_or(|last| now.duration_since(*last) >= INTERVAL);
                if due && done < total {
                    last.insert(*blob, now);
                    step.get_or_insert_with(begin).transferred(&blob.to_string(), done, total);
                }
            }
            State::Done => step.get_or_insert_with(begin).note(blob.to_string()),
            State::Mounted { from } => step.get_or_insert_with(begin).note(format!("{blob} mounted from {from}")),
            _ => {}
        }
    }
}

impl Exporter<'_> {
    /// Sends an image to the registries of its names.
    pub(super) fn push(&self, output: &ImageOutput, made: &Made) -> CliResult<Option<SavedImage>> {
        let destinations = destinations(self.args, output)?;
        let Some(pushing) = self.pushing.filter(|_| !destinations.is_empty()) else { return Ok(None) };
        self.step("pushing image", |step| {
            let image = self.save_image(&output.image, made, Vec::new());
            let repositories = pushing.repositories(&destinations);
            let sent = pushing.pusher.send(&image, &save_options(&output.image, Codec::Gzip), &repositories)?;
            let digest = sent.image.root.digest();
            for (destination, repository) in destinations.iter().zip(&repositories) {
                let name = repository.name();
                let part = match destination.tags.as_slice() {
                    [] => step.part(format!("pushing manifest for {name}@{digest}")),
                    [tag] => step.part(format!("pushing manifest for {name}:{tag}@{digest}")),
                    tags => {
                        let tags: Vec<&str> = tags.iter().map(Tag::as_str).collect();
                        step.part(format!("pushing manifest for {name}:{{{}}}@{digest}", tags.join(",")))
                    }
                };
                pushing.pusher.name(&sent, repository, &destination.tags)?;
                drop(part);
            }
            Ok(Some(sent.image))
        })
    }
}
