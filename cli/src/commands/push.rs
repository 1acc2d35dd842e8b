use std::sync::Arc;

use builder_cache::Store;
use builder_image::Reference;
use builder_image::archive::SaveOptions;
use builder_image::compress::Compression as Codec;
use builder_image::push::Pusher;
use clap::Args;

use super::{Global, save};
use crate::error::{CliError, CliResult};
use crate::outputs::Compression;
use crate::progress::Transfers;
use crate::registry::{RegistryArgs, client_for};
use crate::{output, provider, signals, store};

/// Sends an image to the registry that its name begins with. What the registry has is not sent again, and a push that
/// broke off goes on where it was.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// All tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Print nothing but the name
    #[arg(short, long)]
    quiet: bool,
    /// How layers that were built here are compressed [default: as the image was built to be, or else gzip]
    #[arg(long, value_enum, value_name = "KIND")]
    compression: Option<Compression>,
    #[command(flatten)]
    registry: RegistryArgs,
    /// The image: HOST[:PORT]/NAME[:TAG]
    #[arg(value_name = "NAME")]
    name: String,
}

pub(crate) fn run(global: &Global, args: &PushArgs) -> CliResult<u8> {
    let wrong = |error| CliError::message(format!("invalid reference `{}`: {error}", args.name));
    let reference: Reference = args.name.parse().map_err(wrong)?;
    if reference.digest().is_some() {
        return Err(CliError::message("a digest can't be pushed: push a tag, and the registry knows it by its digest"));
    }
    let has_tag = args.name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if args.all_tags && has_tag {
        return Err(CliError::Usage("--all-tags takes a name without a tag".into()));
    }
    let store = store::open(global)?;
    let lease = store.lease()?;
    let names = if args.all_tags { tags(&store, &reference)? } else { vec![reference.clone()] };
    let mut images = Vec::new();
    for name in &names {
        let image = store.image_by_name(&name.to_string())?.ok_or_else(|| missing(name))?;
        let found = store::Found { image, name: Some(name.to_string()) };
        images.push(save::image(&store, &found, args.compression)?);
    }
    let client = client_for(global, &args.registry, [reference.registry().as_str()], signals::stop())?;
    provider::use_registry(client.clone());
    let repository = client.repository(&reference);
    if !args.quiet {
        if !args.all_tags && !has_tag {
            output::result("Using default tag: latest\n")?;
        }
        output::result(&format!("The push refers to repository [{}]\n", reference.name()))?;
    }
    let transfers = Transfers::pushing(args.quiet);
    let pusher = Pusher::new(&store, Arc::clone(&transfers) as Arc<_>);
    let options = SaveOptions {
        compression: args.compression.map_or(Codec::Gzip, Codec::from),
        own_media_types: true,
        ..SaveOptions::default()
    };
    for (name, image) in names.iter().zip(&images) {
        let sent = pusher.send(image, &options, std::slice::from_ref(&repository));
        transfers.finish();
        let sent = sent?;
        let Some(tag) = name.tag() else { continue };
        pusher.name(&sent, &repository, std::slice::from_ref(tag))?;
        let digest = sent.image.root.digest();
        if args.quiet {
            output::result(&format!("{name}\n"))?;
        } else {
            output::result(&format!("{tag}: digest: {digest} size: {}\n", sent.size()))?;
        }
    }
    drop(lease);
    Ok(0)
}

/// The names of a repository in the store.
fn tags(store: &Store, repository: &Reference) -> CliResult<Vec<Reference>> {
    let mut found: Vec<Reference> = Vec::new();
    for name in store.images()?.into_iter().flat_map(|image| image.names) {
        let Ok(name) = name.parse::<Reference>() else { continue };
        if name.name() == repository.name() && name.tag().is_some() && name.digest().is_none() {
            found.push(name);
        }
    }
    found.sort();
    if found.is_empty() { Err(missing_repository(repository)) } else { Ok(found) }
}

fn missing(name: &Reference) -> CliError {
    CliError::with_hint(
        anyhow::anyhow!("an image does not exist locally with the tag: {}", name.familiar()),
        format!(
            "`builder images` lists what is in the store; `builder tag IMAGE {}` names one of them",
            name.familiar()
        ),
    )
}

fn missing_repository(repository: &Reference) -> CliError {
    let name = repository.familiar_name();
    CliError::with_hint(
        anyhow::anyhow!("no image of the store is called {name}"),
        format!("`builder images` lists what is in the store; `builder tag IMAGE {name}:TAG` names one of them"),
    )
}
