//! What people see: the `builder` command, end to end, as root against the real kernel.
#![expect(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "texts of a test are read more often than built"
)]

mod archives;
mod bake;
mod cache;
mod checks;
mod config;
mod contexts;
mod copy;
mod delta;
mod driver;
mod errors;
mod files;
mod images;
mod import;
mod kit;
mod language;
mod layout;
mod mounts;
mod outputs;
mod platforms;
mod progress;
mod remote;
#[path = "../../../executor/tests/remote_kit/mod.rs"]
mod remote_kit;
mod run;
mod run_options;
mod runtimes;
mod sandbox;
mod stop;
mod tree;
mod web;
