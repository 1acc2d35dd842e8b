//! One file a command; the doc comments of its arguments are its help.

pub(crate) mod bake;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod container;
pub(crate) mod history;
pub(crate) mod image;
pub(crate) mod image_diff;
pub(crate) mod images;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod manifest;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod registry;
pub(crate) mod rmi;
pub(crate) mod run;
pub(crate) mod save;
pub(crate) mod search;
pub(crate) mod sync;
pub(crate) mod tag;
pub(crate) mod verify;
pub(crate) mod version;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::error::CliResult;

/// Builds images from Dockerfiles and runs them: no daemon, no set-up, one binary.
///
///   builder build -t app .     builds the Dockerfile of this directory
///   builder run app            runs what came out
#[derive(Debug, Parser)]
#[command(
    name = "builder",
    version,
    verbatim_doc_comment,
    max_term_width = 110,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The store: images, layers and the build cache [default: /var/lib/builder]
    #[arg(long, global = true, env = "BUILDER_ROOT", value_name = "DIR", help_heading = "Store")]
    pub(crate) root: Option<PathBuf>,
    /// How root file systems are put together: overlay or vfs [default: the first that works]
    #[arg(long, global = true, env = "BUILDER_DRIVER", value_name = "NAME", help_heading = "Store")]
    pub(crate) driver: Option<String>,
    /// The configuration: how registries are reached [default: /etc/builder/builder.toml and the user's]
    #[arg(long, global = true, env = "BUILDER_CONFIG", value_name = "FILE", help_heading = "Registry")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build an image from a Dockerfile
    Build(Box<build::BuildArgs>),
    /// Build many images from one definition: docker-bake.hcl, docker-bake.json, compose.yaml
    Bake(Box<bake::BakeArgs>),
    /// Run a command in a new container
    Run(Box<run::RunArgs>),
    /// List containers
    Ps(container::ps::PsArgs),
    /// Remove containers
    Rm(container::rm::RmArgs),
    /// Make an image of what a container changed
    Commit(container::commit::CommitArgs),
    /// Show what a container changed
    Diff(container::diff::DiffArgs),
    /// Copy files between a container and this machine
    Cp(container::cp::CpArgs),
    /// Write a container's files as a tarball
    Export(container::export::ExportArgs),
    /// Work with containers: ls, run, rm, commit, export, diff, cp, inspect, prune
    #[command(subcommand)]
    Container(container::ContainerCommand),
    /// List images
    Images(images::ImagesArgs),
    /// Work with images: ls, inspect, history, tag, rm, save, load, import, prune
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Show the low-level details of images as JSON
    Inspect(inspect::InspectArgs),
    /// Show how an image was made, newest step first
    History(history::HistoryArgs),
    /// Give an image another name
    Tag(tag::TagArgs),
    /// Remove images
    Rmi(rmi::RmiArgs),
    /// Make an image from a tarball of a root file system
    Import(import::ImportArgs),
    /// Write images to a tarball that other tools read
    Save(save::SaveArgs),
    /// Bring images in from registries
    Pull(pull::PullArgs),
    /// Send an image to its registry
    Push(push::PushArgs),
    /// Bring images in from a tarball or an OCI layout
    Load(load::LoadArgs),
    /// Log in to a registry
    Login(login::LoginArgs),
    /// Log out from a registry
    Logout(logout::LogoutArgs),
    /// Search a registry for repositories
    Search(search::SearchArgs),
    /// List what a registry has: ls, tags
    #[command(subcommand)]
    Registry(registry::RegistryCommand),
    /// Look at manifests in a registry: inspect
    #[command(subcommand)]
    Manifest(manifest::ManifestCommand),
    /// Compare what is stored with its digests
    Verify(verify::VerifyArgs),
    /// See what is cached, why, and what it costs
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Show the store, the driver and what this machine allows
    Info(info::InfoArgs),
    /// Show the version
    Version(version::VersionArgs),
    /// Make the store durable (started in the background by `build`)
    #[command(name = "store-sync", hide = true)]
    StoreSync,
}

impl Cli {
    /// Carries the command out; the result is the exit code.
    pub(crate) fn run(self) -> CliResult<u8> {
        let global = &self.global;
        match self.command {
            Command::Build(args) => build::run(global, &args),
            Command::Bake(args) => bake::run(global, &args),
            Command::Run(args) => run::run(global, &args),
            Command::Ps(args) => container::ps::run(global, &args),
            Command::Rm(args) => container::rm::run(global, &args),
            Command::Commit(args) => container::commit::run(global, &args),
            Command::Diff(args) => container::diff::run(global, &args),
            Command::Cp(args) => container::cp::run(global, &args),
            Command::Export(args) => container::export::run(global, &args),
            Command::Container(command) => container::run(global, command),
            Command::Images(args) => images::run(global, &args),
            Command::Image(command) => image::run(global, command),
            Command::Inspect(args) => inspect::run_any(global, &args),
            Command::History(args) => history::run(global, &args),
            Command::Tag(args) => tag::run(global, &args),
            Command::Rmi(args) => rmi::run(global, &args),
            Command::Import(args) => import::run(global, &args),
            Command::Save(args) => save::run(global, &args),
            Command::Pull(args) => pull::run(global, &args),
            Command::Push(args) => push::run(global, &args),
            Command::Load(args) => load::run(global, &args),
            Command::Login(args) => login::run(global, &args),
            Command::Logout(args) => logout::run(global, &args),
            Command::Search(args) => search::run(global, &args),
            Command::Registry(command) => registry::run(global, command),
            Command::Manifest(command) => manifest::run(global, command),
            Command::Verify(args) => verify::run(global, &args),
            Command::Cache(command) => cache::run(global, command),
            Command::Info(args) => info::run(global, &args),
            Command::Version(args) => version::run(&args),
            Command::StoreSync => sync::run(global),
        }
    }
}
