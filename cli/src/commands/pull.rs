use clap::Args;

use super::Global;
use crate::error::{CliError, CliResult};
use crate::pull::{self, Puller, Voice};
use crate::registry::{RegistryArgs, client_for};
use crate::{output, provider, remote_image, signals, store, sync};

/// Brings images in from registries. Layers that the store has are not fetched again.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// All tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// The image for this platform [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Print nothing but the name
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// The image: [HOST[:PORT]/]NAME[:TAG|@DIGEST]; docker.io when no host is given
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub(crate) fn run(global: &Global, args: &PullArgs) -> CliResult<u8> {
    let references = args.names.iter().map(|name| remote_image::reference(name)).collect::<CliResult<Vec<_>>>()?;
    let platform = pull::platform(args.platform.as_deref())?;
    let has_tag = |name: &String| name.contains('@') || name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if args.all_tags && args.names.iter().any(has_tag) {
        return Err(CliError::Usage("--all-tags takes a name without a tag or digest".into()));
    }
    let hosts = references.iter().map(|reference| reference.registry().as_str());
    let registry = client_for(global, &args.registry, hosts, signals::stop())?;
    provider::use_registry(registry.clone());
    let store = store::open(global)?;
    let lease = store.lease()?;
    let voice = if args.quiet { Voice::Silent } else { Voice::Result };
    let puller = Puller::new(global, &store, &registry, platform, voice);
    for (reference, name) in references.iter().zip(&args.names) {
        if args.all_tags {
            puller.all(reference)?;
            output::result(&format!("{}\n", reference.name()))?;
            continue;
        }
        if !has_tag(name) {
            voice.say("Using default tag: latest\n")?;
        }
        puller.one(reference)?;
        output::result(&format!("{}\n", pull::store_name(reference)))?;
    }
    drop(lease);
    sync::after_build(global, &store, sync::durability()?)?;
    Ok(0)
}
