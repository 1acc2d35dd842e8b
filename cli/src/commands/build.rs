use std::path::PathBuf;

use clap::Args;

use super::Global;
use crate::build::{self, CallRequest, RunArgs};
use crate::error::CliResult;
use crate::outputs::OutputSpec;
use crate::progress::Mode;
use crate::pull::PullPolicy;

/// Builds the Dockerfile of a directory. Everything that does not wait for something else runs in parallel, and what
/// was built before is taken from the cache.
#[derive(Debug, Clone, Args)]
pub(crate) struct BuildArgs {
    /// The files that the Dockerfile can copy: a directory, the URL of a git repository (#REF:DIRECTORY), the URL of a
    /// tarball or Dockerfile, or - for one of these two on standard input
    #[arg(value_name = "CONTEXT", default_value = ".")]
    pub(crate) context: PathBuf,
    /// The Dockerfile: a file, a URL, or - for standard input [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Files or an image under a name for FROM and --from, instead of a stage or image of that name: a directory,
    /// docker-image://IMAGE, oci-layout://DIRECTORY[:TAG|@DIGEST], or the URL of a git repository or tarball
    #[expect(clippy::doc_markdown, reason = "the help is plain text, where brackets would be shown")]
    #[arg(long = "build-context", value_name = "NAME=SOURCE")]
    pub(crate) build_contexts: Vec<String>,
    /// Name the image, as NAME or NAME:TAG; can be given several times
    #[arg(short, long = "tag", value_name = "NAME")]
    pub(crate) tags: Vec<String>,
    /// Build this stage instead of the last one
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Set a build argument; without =VALUE it comes from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) arguments: Vec<String>,
    /// Give the image a label
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Build for these platforms; several make one image with a variant for each
    #[arg(long = "platform", value_name = "OS/ARCH", value_delimiter = ',')]
    pub(crate) platforms: Vec<String>,

    /// Check the Dockerfile instead of building it; the exit code is 1 when something is found
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value = "false",
        hide_default_value = true,
        hide_possible_values = true,
        action = clap::ArgAction::Set,
        help_heading = "Checks"
    )]
    pub(crate) check: bool,
    /// Answer a question instead of building: check, outline (what the target can be given), targets (what can be built)
    /// or subrequests.describe, with ,format=json for programs and ,ignorestatus to succeed whatever a check finds
    #[arg(long, value_name = "METHOD", help_heading = "Checks")]
    pub(crate) call: Option<CallRequest>,

    /// When the registry is asked for base images: missing (when the store does not have them, the default), always,
    /// newer (always, but the store will do when it does not answer), or never; --pull alone is always
    #[arg(
        long,
        value_name = "WHEN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "always",
        default_value = "missing",
        hide_default_value = true,
        help_heading = "Cache"
    )]
    pub(crate) pull: PullPolicy,
    /// Run every step, whatever is cached
    #[arg(long, help_heading = "Cache")]
    pub(crate) no_cache: bool,
    /// Run every step of this stage, whatever is cached; can be given several times
    #[arg(long = "no-cache-filter", value_name = "STAGE", value_delimiter = ',', help_heading = "Cache")]
    pub(crate) no_cache_filter: Vec<String>,
    /// Say for each step whether it was cached, and why not
    #[arg(long, help_heading = "Cache")]
    pub(crate) explain: bool,
    /// Look for steps that the store does not have in a shared cache, too: NAME[:TAG] of a registry (a cache, or an image
    /// with one inside), type=registry,ref=NAME or type=local,src=DIRECTORY[,tag=TAG]. Can be given several times; the
    /// first that has a step counts
    #[arg(long = "cache-from", value_name = "CACHE", help_heading = "Cache")]
    pub(crate) cache_from: Vec<String>,
    /// Write a shared cache: type=registry,ref=NAME, type=local,dest=DIRECTORY[,tag=TAG] or type=inline (into the image),
    /// with mode=min (the steps of the result) or max (all steps), compression=, ignore-error=true. Can be given several
    /// times
    #[arg(long = "cache-to", value_name = "CACHE", help_heading = "Cache")]
    pub(crate) cache_to: Vec<String>,
    /// Carry what RUN --mount=type=cache keeps in the shared caches, too
    #[arg(long, help_heading = "Cache")]
    pub(crate) cache_mounts: bool,

    /// Run at most this many steps at once [default: no limit; copying and hashing use the cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Running")]
    pub(crate) jobs: Option<u32>,
    /// The network of RUN steps: host, none, or default, which is the host's network for now
    #[arg(long, value_name = "MODE", value_parser = ["default", "none", "host"], default_value = "default", help_heading = "Running")]
    pub(crate) network: String,
    #[command(flatten)]
    pub(crate) run: RunArgs,

    /// Where the result goes: type=image (into the store, the default), registry (the
    /// same, and to the registries of its names), oci, docker, local, tar or cacheonly, with dest=
    /// for a file, a directory or - for standard output; a mere directory is type=local. Can be given several times
    #[arg(short, long = "output", value_name = "TYPE|DIR", help_heading = "Output")]
    pub(crate) outputs: Vec<OutputSpec>,
    /// Allow what is refused otherwise: security.insecure and network.host for RUN steps, buildx.local.delete for
    /// mode=delete outside of the working directory
    #[arg(long, value_name = "RIGHT", help_heading = "Running")]
    pub(crate) allow: Vec<String>,
    /// Annotate the image: KEY=VALUE for its manifest, or manifest:, index:, manifest-descriptor:, index-descriptor: in
    /// front of it, manifest[OS/ARCH]: for one platform. Can be given several times
    #[arg(long = "annotation", value_name = "KEY=VALUE", help_heading = "Output")]
    pub(crate) annotations: Vec<String>,
    /// Put the image into the store, whatever other outputs there are
    #[arg(long, help_heading = "Output")]
    pub(crate) load: bool,
    /// Send the image to the registries of its names; what is ready goes out while the rest is still being built
    #[arg(long, help_heading = "Output")]
    pub(crate) push: bool,
    /// Attach attestations to the image, or write them beside the files of other outputs: type=provenance (how it was made;
    /// mode=min|max, version=v1|v0.2, builder-id=, filename=, reproducible=, inline-only=) and type=sbom (its packages)
    #[arg(long, value_name = "TYPE", help_heading = "Attestations")]
    pub(crate) attest: Vec<String>,
    /// Short for --attest=type=provenance: true, false, or its options
    #[arg(long, value_name = "BOOL|OPTIONS", help_heading = "Attestations")]
    pub(crate) provenance: Option<String>,
    /// Short for --attest=type=sbom: true or false
    #[arg(long, value_name = "BOOL|OPTIONS", help_heading = "Attestations")]
    pub(crate) sbom: Option<String>,
    /// Write the image id to this file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write digests and names to this file, as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// How to show progress [default: auto]
    #[arg(long, value_enum, value_name = "MODE", help_heading = "Output")]
    pub(crate) progress: Option<Mode>,
    /// Print nothing but the image id
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
}

pub(crate) fn run(global: &Global, args: &BuildArgs) -> CliResult<u8> {
    build::run(global, args)
}
