use std::collections::HashSet;
use std::fmt::Write as _;

use anyhow::anyhow;
use builder_cache::{BlobDigest, Container, ContainerState, Error, Image, Store};
use builder_image::Reference;
use clap::Args;

use super::Global;
use crate::error::{CliError, CliResult};
use crate::{output, store};

#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Remove the image and all of its names, even when it has several or a stopped container was made of it
    #[arg(short, long)]
    force: bool,
    /// Keep the files that nothing needs any more; a later prune takes them
    #[arg(long)]
    no_prune: bool,
    /// Names, ids, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) fn run(global: &Global, args: &RmiArgs) -> CliResult<u8> {
    let store = store::open(global)?;
    let mut failed = false;
    let mut deleted = false;
    store.with_one_index(|| {
        for name in &args.images {
            let mut removal = Removal { store: &store, force: args.force, told: String::new(), deleted: false };
            let removed = removal.remove(name);
            deleted |= removal.deleted;
            output::result(&removal.told)?;
            if let Err(error) = removed {
                failed = true;
                output::notice(&error.to_string());
            }
        }
        Ok::<_, CliError>(())
    })??;
    if deleted && !args.no_prune {
        match store.collect_garbage() {
            // Another builder uses the store: the files stay until the next prune.
            Ok(_) | Err(Error::InUse { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if failed { Err(CliError::Shown) } else { Ok(0) }
}

/// What one argument takes away.
struct Removal<'s> {
    store: &'s Store,
    force: bool,
    /// The lines for stdout.
    told: String,
    deleted: bool,
}

impl Removal<'_> {
    fn remove(&mut self, text: &str) -> CliResult<()> {
        let found = store::find(self.store, text)?;
        match &found.name {
            Some(name) => self.by_name(text, name, &found.image),
            None => self.by_id(&found.image),
        }
    }

    /// The name goes, and what has no other with it.
    fn by_name(&mut self, text: &str, name: &str, image: &Image) -> CliResult<()> {
        let mut images = vec![image.id];
        let platforms = self.store.name(name)?.map(|named| named.platforms).unwrap_or_default();
        images.extend(platforms.iter().map(|(_, id)| *id).filter(|id| *id != image.id));
        if !self.force && of_one_tag(&image.names) {
            for id in &images {
                if let Some(container) = self.store.containers_of(id)?.first() {
                    return Err(CliError::message(format!(
                        "conflict: unable to remove repository reference \"{text}\" (must force) - container {} is using its \
                         referenced image {}",
                        container.id.short(),
                        id.short()
                    )));
                }
            }
        }
        self.untag(name)?;
        let reference: Option<Reference> = name.parse().ok();
        if let Some(reference) = reference.filter(|reference| reference.digest().is_none()) {
            images.iter().try_for_each(|id| self.digests_of(&reference, id))?;
        }
        for id in images {
            if let Some(image) = self.store.image(&id)?
                && image.names.is_empty()
                && image.platform_of.is_empty()
                // As in Docker: what a container runs on stays without a name.
                && self.refuse_used(&image.id).is_ok()
            {
                self.delete(&image)?;
            }
        }
        Ok(())
    }

    /// With the last tag that a repository has for an image, the names with a digest go that it left there.
    fn digests_of(&mut self, removed: &Reference, id: &BlobDigest) -> CliResult<()> {
        let Some(image) = self.store.image(id)? else { return Ok(()) };
        let of_repository =
            |name: &&String| name.parse::<Reference>().ok().filter(|reference| reference.name() == removed.name());
        let mut others = image.names.iter().chain(&image.platform_of);
        if others.any(|name| of_repository(&name).is_some_and(|reference| reference.digest().is_none())) {
            return Ok(());
        }
        let digests: Vec<&String> = image.names.iter().filter(|name| of_repository(name).is_some()).collect();
        digests.into_iter().try_for_each(|name| self.untag(name))
    }

    fn by_id(&mut self, image: &Image) -> CliResult<()> {
        if !self.force && !image.platform_of.is_empty() {
            return Err(CliError::with_hint(
                anyhow!(
                    "conflict: unable to delete {} (must be forced) - image is one platform of {}",
                    image.id.short(),
                    familiar_list(&image.platform_of)
                ),
                "remove that name and all its platforms, or this image alone with --force",
            ));
        }
        if !self.force && !of_one_tag(&image.names) {
            return Err(CliError::with_hint(
                anyhow!(
                    "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories: {}",
                    image.id.short(),
                    familiar_list(&image.names)
                ),
                "remove these names one by one, or all with --force",
            ));
        }
        // Before the names go: then nothing has changed when it is refused.
        let mut others = HashSet::new();
        for name in &image.names {
            let platforms = self.store.name(name)?.map(|named| named.platforms).unwrap_or_default();
            others.extend(platforms.into_iter().map(|(_, id)| id).filter(|id| *id != image.id));
        }
        self.refuse_used(&image.id)?;
        for other in &others {
            self.refuse_used(other)?;
        }
        self.delete(image)?;
        for other in others {
            if self.store.image(&other)?.is_none() {
                let _ = writeln!(self.told, "Deleted: {other}");
            }
        }
        Ok(())
    }

    fn untag(&mut self, name: &str) -> CliResult<()> {
        self.store.untag(name)?;
        let _ = writeln!(self.told, "Untagged: {}", familiar(name));
        Ok(())
    }

    /// The image goes with the names that it still has.
    fn delete(&mut self, image: &Image) -> CliResult<()> {
        self.refuse_used(&image.id)?;
        for name in self.store.forget_image(&image.id)? {
            let _ = writeln!(self.told, "Untagged: {}", familiar(&name));
        }
        let _ = writeln!(self.told, "Deleted: {}", image.id);
        self.deleted = true;
        Ok(())
    }

    /// Force takes what stopped containers use; they keep their files.
    fn refuse_used(&self, id: &BlobDigest) -> CliResult<()> {
        let containers = self.store.containers_of(id)?;
        let running = |container: &&Container| container.state() == ContainerState::Running;
        let (how, state, container) = match (containers.iter().find(running), containers.first()) {
            (Some(running), _) => ("cannot be forced", "running", running),
            (None, Some(stopped)) if !self.force => ("must be forced", "stopped", stopped),
            _ => return Ok(()),
        };
        Err(CliError::message(format!(
            "conflict: unable to delete {} ({how}) - image is being used by {state} container {}",
            id.short(),
            container.id.short()
        )))
    }
}

/// Whether these are at most one tag, and names with a digest of the same repository.
fn of_one_tag(names: &[String]) -> bool {
    if names.len() <= 1 {
        return true;
    }
    let names: Vec<Reference> = names.iter().filter_map(|name| name.parse().ok()).collect();
    let repositories: HashSet<String> = names.iter().map(Reference::name).collect();
    repositories.len() == 1 && names.iter().filter(|name| name.digest().is_none()).count() <= 1
}

fn familiar(name: &str) -> String {
    name.parse::<Reference>().map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}

fn familiar_list(names: &[String]) -> String {
    names.iter().map(|name| familiar(name)).collect::<Vec<_>>().join(", ")
}
