//! What people see: the `builder` command, end to end, as root against the real kernel.
#![expect(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "texts of a test are read more often than built"
)]

mod archives;
mod cache;
mod config;
mod copy;
mod delta;
mod driver;
mod errors;
mod files;
mod images;
mod import;
mod kit;
mod language;
mod progress;
mod run;
mod runtimes;
mod sandbox;
mod stop;
mod tree;
