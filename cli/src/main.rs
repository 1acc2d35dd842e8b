//! The `builder` command: the command line, progress, and the wiring of the libraries. Only this crate prints.

mod bake;
mod build;
mod cache_graph;
mod commands;
mod config;
mod container;
mod containers;
mod credentials;
mod csv;
mod error;
mod go_format;
mod image_diff;
mod image_list;
mod output;
mod outputs;
mod paths;
mod progress;
mod prompt;
mod provider;
mod pull;
mod registry;
mod remote_image;
mod signals;
mod store;
mod sync;
mod template;
mod whole_file;

use std::process::ExitCode;

use builder_executor::sandbox;
use clap::Parser;

use crate::commands::Cli;

fn main() -> ExitCode {
    // A sandbox is this binary executed again; it must not get as far as the command line.
    if sandbox::is_init() {
        sandbox::init_main();
    }
    match Cli::parse().run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let text = error.to_string();
            if !text.is_empty() {
                output::notice(&text);
            }
            ExitCode::from(error.exit_code())
        }
    }
}
