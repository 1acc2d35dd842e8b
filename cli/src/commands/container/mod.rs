//! `builder container …`, and the same commands without that word.

pub(crate) mod commit;
pub(crate) mod cp;
pub(crate) mod diff;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod prune;
pub(crate) mod ps;
pub(crate) mod rm;

use clap::Subcommand;

use super::{Global, run};
use crate::error::CliResult;

#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// List containers
    #[command(aliases = ["list", "ps"])]
    Ls(ps::PsArgs),
    /// Run a command in a new container
    Run(Box<run::RunArgs>),
    /// Remove containers
    #[command(alias = "remove")]
    Rm(rm::RmArgs),
    /// Make an image of what a container changed
    Commit(commit::CommitArgs),
    /// Write a container's files as a tarball
    Export(export::ExportArgs),
    /// Show what a container changed
    Diff(diff::DiffArgs),
    /// Copy files between a container and this machine
    Cp(cp::CpArgs),
    /// Show the low-level details of containers as JSON
    Inspect(inspect::InspectArgs),
    /// Remove all containers that have ended
    Prune(prune::PruneArgs),
}

pub(crate) fn run(global: &Global, command: ContainerCommand) -> CliResult<u8> {
    match command {
        ContainerCommand::Ls(args) => ps::run(global, &args),
        ContainerCommand::Run(args) => run::run(global, &args),
        ContainerCommand::Rm(args) => rm::run(global, &args),
        ContainerCommand::Commit(args) => commit::run(global, &args),
        ContainerCommand::Export(args) => export::run(global, &args),
        ContainerCommand::Diff(args) => diff::run(global, &args),
        ContainerCommand::Cp(args) => cp::run(global, &args),
        ContainerCommand::Inspect(args) => inspect::run(global, &args),
        ContainerCommand::Prune(args) => prune::run(global, &args),
    }
}
