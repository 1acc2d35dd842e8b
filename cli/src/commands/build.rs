use std::path::PathBuf;

use clap::Args;

use super::Global;
use crate::build;
use crate::error::CliResult;
use crate::outputs::OutputSpec;
use crate::progress::Mode;

/// Builds the Dockerfile of a directory. Everything that does not wait for something else runs in parallel, and what
/// was built before is taken from the cache.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// The directory whose files the Dockerfile can copy
    #[arg(value_name = "CONTEXT", default_value = ".")]
    pub(crate) context: PathBuf,
    /// The Dockerfile; - reads it from standard input [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
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
    /// Build for this platform; only the machine's own is supported yet
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,

    /// Run every step, whatever is cached
    #[arg(long, help_heading = "Cache")]
    pub(crate) no_cache: bool,
    /// Run every step of this stage, whatever is cached; can be given several times
    #[arg(long = "no-cache-filter", value_name = "STAGE", value_delimiter = ',', help_heading = "Cache")]
    pub(crate) no_cache_filter: Vec<String>,
    /// Say for each step whether it was cached, and why not
    #[arg(long, help_heading = "Cache")]
    pub(crate) explain: bool,

    /// Run at most this many steps at once [default: no limit; copying and hashing use the cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Running")]
    pub(crate) jobs: Option<u32>,
    /// The network of RUN steps: host, none, or default, which is the host's network for now
    #[arg(long, value_name = "MODE", value_parser = ["default", "none", "host"], default_value = "default", help_heading = "Running")]
    pub(crate) network: String,

    /// Where the result goes: type=image (into the store, the default), oci, docker, local, tar or cacheonly, with dest=
    /// for a file, a directory or - for standard output; a mere directory is type=local. Can be given several times
    #[arg(short, long = "output", value_name = "TYPE|DIR", help_heading = "Output")]
    pub(crate) outputs: Vec<OutputSpec>,
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
