use clap::Subcommand;

use super::{Global, history, image_diff, images, import, inspect, load, prune, push, rmi, save, tag};
use crate::error::CliResult;

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List images
    #[command(alias = "list")]
    Ls(images::ImagesArgs),
    /// Show the low-level details of images as JSON
    Inspect(inspect::InspectArgs),
    /// Show what two images differ in, by file and by setting
    Diff(image_diff::ImageDiffArgs),
    /// Show how an image was made, newest step first
    History(history::HistoryArgs),
    /// Give an image another name
    Tag(tag::TagArgs),
    /// Remove images
    #[command(alias = "remove")]
    Rm(rmi::RmiArgs),
    /// Write images to a tarball that other tools read
    Save(save::SaveArgs),
    /// Send an image to its registry
    Push(push::PushArgs),
    /// Bring images in from a tarball or an OCI layout
    Load(load::LoadArgs),
    /// Make an image from a tarball of a root file system
    Import(import::ImportArgs),
    /// Remove images without a name
    Prune(prune::PruneArgs),
}

pub(crate) fn run(global: &Global, command: ImageCommand) -> CliResult<u8> {
    match command {
        ImageCommand::Ls(args) => images::run(global, &args),
        ImageCommand::Inspect(args) => inspect::run(global, &args),
        ImageCommand::Diff(args) => image_diff::run(global, &args),
        ImageCommand::History(args) => history::run(global, &args),
        ImageCommand::Tag(args) => tag::run(global, &args),
        ImageCommand::Rm(args) => rmi::run(global, &args),
        ImageCommand::Save(args) => save::run(global, &args),
        ImageCommand::Push(args) => push::run(global, &args),
        ImageCommand::Load(args) => load::run(global, &args),
        ImageCommand::Import(args) => import::run(global, &args),
        ImageCommand::Prune(args) => prune::run(global, &args),
    }
}
