//! What people see: the `builder` command, end to end, as root against the real kernel.
#![expect(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "texts of a test are read more often than built"
)]

#[path = "../../../image/tests/kit/actions.rs"]
#[allow(dead_code, reason = "other tests include it, too")]
mod actions_kit;
mod archives;
mod attest;
mod bake;
mod cache;
mod checks;
mod config;
mod containers;
mod contexts;
mod copy;
mod delta;
mod driver;
mod errors;
mod files;
mod image_diff;
mod image_list;
mod images;
mod import;
mod interop_registry;
mod kit;
mod language;
mod layout;
#[path = "../../../image/tests/kit/moto.rs"]
#[allow(dead_code, reason = "other tests include it, too")]
mod moto_kit;
mod mounts;
mod outputs;
mod platforms;
mod progress;
mod pull;
mod push;
mod registries;
#[path = "../../../image/tests/kit/registry.rs"]
mod registry_kit;
mod remote;
#[path = "../../../executor/tests/remote_kit/mod.rs"]
mod remote_kit;
mod reproducible;
mod run;
mod run_options;
mod runtimes;
mod sandbox;
mod shared_cache;
mod stop;
mod tree;
mod tutorial;
mod verify;
mod web;
