use std::path::PathBuf;

use clap::Args;

use super::Global;
use crate::bake::{self, List};
use crate::build::CallRequest;
use crate::error::CliResult;
use crate::progress::Mode;

/// Builds the targets of docker-bake.hcl, docker-bake.json or a compose file, all at once: what they share is built once.
#[derive(Debug, Args)]
pub(crate) struct BakeArgs {
    /// Targets and groups, * and ? allowed [default: default]
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
    /// A file of definitions, or - for standard input; several are merged, later ones over earlier ones
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<String>,
    /// Change a target: app.tags=x, *.platform=linux/arm64, app.args.VERSION=1, app.tags+=y
    #[arg(long, value_name = "TARGET.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Set a variable of the definition, whatever the environment says
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub(crate) variables: Vec<String>,
    /// Allow what the definition asks for: security.insecure, network.host, fs=PATH, fs.read=PATH, fs.write=PATH
    #[arg(long, value_name = "RIGHT")]
    pub(crate) allow: Vec<String>,

    /// Print what would be built, as JSON
    #[arg(long, help_heading = "Looking")]
    pub(crate) print: bool,
    /// List targets or variables, with type=…,format=json for programs
    #[arg(long, value_name = "WHAT", value_parser = List::parse, conflicts_with = "print", help_heading = "Looking")]
    pub(crate) list: Option<List>,
    /// Check the Dockerfiles instead of building
    #[arg(long, help_heading = "Looking")]
    pub(crate) check: bool,
    /// Answer a question for each target instead of building: check, outline or targets, with ,format=json for programs
    #[arg(long, value_name = "METHOD", help_heading = "Looking")]
    pub(crate) call: Option<CallRequest>,

    /// Run every step, whatever is cached
    #[arg(long, help_heading = "Cache")]
    pub(crate) no_cache: bool,
    /// Say for each step whether it was cached, and why not
    #[arg(long, help_heading = "Cache")]
    pub(crate) explain: bool,
    /// Carry what RUN --mount=type=cache keeps in the shared caches of the targets, too
    #[arg(long, help_heading = "Cache")]
    pub(crate) cache_mounts: bool,
    /// Ask the registry for base images, whatever the store has
    #[arg(long, help_heading = "Cache")]
    pub(crate) pull: bool,

    /// Run at most this many steps at once [default: no limit; copying and hashing use the cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Running")]
    pub(crate) jobs: Option<u32>,

    /// Put the images into the store, also those of targets that go elsewhere
    #[arg(long, help_heading = "Output")]
    pub(crate) load: bool,
    /// Send the images to the registries of their names
    #[arg(long, help_heading = "Output")]
    pub(crate) push: bool,
    /// Say how all images were made: true, false, or options of --attest=type=provenance
    #[arg(long, value_name = "BOOL|OPTIONS", help_heading = "Attestations")]
    pub(crate) provenance: Option<String>,
    /// List the packages of all images: true, false, or options of --attest=type=sbom
    #[arg(long, value_name = "BOOL|OPTIONS", help_heading = "Attestations")]
    pub(crate) sbom: Option<String>,
    /// Write digests and names of all targets to this file, as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// How to show progress [default: auto]
    #[arg(long, value_enum, value_name = "MODE", help_heading = "Output")]
    pub(crate) progress: Option<Mode>,
    /// Print nothing but the image ids
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
}

pub(crate) fn run(global: &Global, args: &BakeArgs) -> CliResult<u8> {
    bake::run(global, args)
}
