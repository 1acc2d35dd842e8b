//! Pulling with words: `builder pull`, and what `builder run` says of it.

use std::sync::Arc;

use builder_cache::Store;
use builder_image::pull::Error;
use builder_image::registry::{Registry, Which};
use builder_image::{Platform, Reference};

use super::{PullPolicy, Pulled};
use crate::commands::Global;
use crate::error::{CliError, CliResult};
use crate::progress::Transfers;
use crate::store::{Found, find, no_such_image, try_find};
use crate::{output, provider, remote_image};

/// Where words go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// To standard output.
    Result,
    /// To standard error, where they are in nobody's way.
    Notice,
    /// Nowhere.
    Silent,
}

impl Voice {
    /// Says it.
    pub(crate) fn say(self, text: &str) -> CliResult<()> {
        match self {
            Self::Result => output::result(text),
            Self::Notice => {
                output::notice(text.trim_end_matches('\n'));
                Ok(())
            }
            Self::Silent => Ok(()),
        }
    }
}

/// Pulls images and tells of it.
pub(crate) struct Puller<'a> {
    store: &'a Store,
    registry: &'a Registry,
    platform: Platform,
    transfers: Arc<Transfers>,
    voice: Voice,
}

impl<'a> Puller<'a> {
    /// One that shows from now on what is fetched.
    pub(crate) fn new(
        global: &Global,
        store: &'a Store,
        registry: &'a Registry,
        platform: Platform,
        voice: Voice,
    ) -> Self {
        let transfers = Transfers::pulling(voice);
        provider::watch(global, Arc::clone(&transfers) as Arc<_>);
        Self { store, registry, platform, transfers, voice }
    }

    /// All tags of a repository.
    pub(crate) fn all(&self, repository: &Reference) -> CliResult<()> {
        let tags = self.registry.repository(repository).tags()?;
        if tags.is_empty() {
            return Err(CliError::message(format!("{} has no tags", repository.name())));
        }
        for tag in tags {
            self.one(&remote_image::reference(&format!("{}:{tag}", repository.name()))?)?;
        }
        Ok(())
    }

    /// An image with all its layers.
    pub(crate) fn one(&self, reference: &Reference) -> CliResult<Pulled> {
        let which = Which::of(reference).to_string();
        let which = which.trim_start_matches([':', '@']);
        self.voice.say(&format!("{which}: Pulling from {}\n", reference.repository()))?;
        let name = super::store_name(reference);
        let before = self.store.name(&name)?;
        let pulled = super::image(self.store, self.registry, reference, &self.platform)
            .map_err(|error| failed(reference, error))?;
        let named = self.store.name(&name)?;
        let image = self.store.image(&pulled.id)?.ok_or_else(|| no_such_image(&reference.to_string()))?;
        let absent = self.store.absent(&image.snapshot)?;
        if !absent.is_empty() {
            for layer in image.snapshot.layers.iter().filter(|layer| !absent.contains(layer)) {
                if let Some(blob) = self.store.layer(layer)?.meta.source_blob {
                    self.voice.say(&format!("{}: Already exists\n", blob.short()))?;
                }
            }
        }
        let fetched = self.store.provide(&absent);
        self.transfers.finish();
        if let Err(error) = fetched {
            // The name goes on to stand for what can be used, unless somebody else gave it meanwhile.
            if self.store.name(&name)? == named {
                match &before {
                    Some(before) => drop(self.store.set_name(&name, before)?),
                    None => drop(self.store.untag(&name)?),
                }
            }
            return Err(error.into());
        }
        let familiar = reference.familiar();
        let is_new = pulled.changed || !absent.is_empty();
        let status = if is_new { "Downloaded newer image for" } else { "Image is up to date for" };
        self.voice.say(&format!("Digest: {}\nStatus: {status} {familiar}\n", pulled.digest))?;
        Ok(pulled)
    }
}

fn failed(reference: &Reference, error: Error) -> CliError {
    if error.is_cancelled() {
        return CliError::Interrupted;
    }
    CliError::from(anyhow::Error::new(error).context(format!("{} can't be pulled", reference.familiar())))
}

/// Finds the image that a container is to run on, pulls it as far as the policy says, and brings the files that are not
/// there.
pub(crate) fn for_run(
    global: &Global,
    store: &Store,
    text: &str,
    policy: PullPolicy,
    platform: Option<&str>,
) -> CliResult<Found> {
    let here = if policy.asks_first() { None } else { fitting(store, text, platform)? };
    let found = match here {
        Some(found) => found,
        None if policy == PullPolicy::Never => find(store, text)?,
        None => asked(global, store, text, policy, platform)?,
    };
    let absent = store.absent(&found.image.snapshot)?;
    if !absent.is_empty() {
        let transfers = Transfers::pulling(Voice::Notice);
        provider::watch(global, Arc::clone(&transfers) as Arc<_>);
        let fetched = store.provide(&absent);
        transfers.finish();
        fetched?;
    }
    Ok(found)
}

/// What the store has, unless it is for another platform than the one that is asked for.
fn fitting(store: &Store, text: &str, platform: Option<&str>) -> CliResult<Option<Found>> {
    let Some(found) = try_find(store, text)? else { return Ok(None) };
    let Some(platform) = platform else { return Ok(Some(found)) };
    let Found { image, name } = found;
    let image = match &name {
        Some(name) => crate::store::for_platform(store, name, image, Some(platform))?,
        None => image,
    };
    let own = super::platform_of(store, name.as_deref().unwrap_or_default(), &image.id)?;
    Ok(super::platform(Some(platform))?.accepts(&own).then_some(Found { image, name }))
}

fn asked(global: &Global, store: &Store, text: &str, policy: PullPolicy, platform: Option<&str>) -> CliResult<Found> {
    let reference = remote_image::reference(text)?;
    if !policy.asks_first() {
        output::notice(&format!("Unable to find image '{}' locally", reference.familiar()));
    }
    let registry = provider::registry(global)?;
    let voice = if policy.asks_first() { Voice::Silent } else { Voice::Notice };
    let pulled = Puller::new(global, store, registry, super::platform(platform)?, voice).one(&reference);
    match pulled {
        Ok(pulled) => {
            let image = store.image(&pulled.id)?.ok_or_else(|| no_such_image(text))?;
            Ok(Found { image, name: Some(super::store_name(&reference)) })
        }
        Err(CliError::Interrupted) => Err(CliError::Interrupted),
        Err(error) if policy == PullPolicy::Newer => fitting(store, text, platform)?.ok_or(error),
        Err(error) => Err(error),
    }
}
