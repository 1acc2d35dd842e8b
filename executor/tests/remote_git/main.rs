//! Repositories from a real server: `git http-backend` behind a small HTTP server of the test.

mod bench;
mod files;
mod hostile;
mod references;
#[path = "../remote_kit/mod.rs"]
mod remote_kit;
mod servers;
mod submodules;
