//! Who the user is to registries, and where that is kept.
//!
//! Read, the first that knows the host wins: the helper that `builder.toml` names for the host, the environment variable
//! `DOCKER_AUTH_CONFIG`, Docker's `config.json` (its helpers, then its own entries), podman's `auth.json`. Written is
//! only Docker's file, or the helper that has the host.

pub(crate) mod entry;
mod file;
mod helper;
mod place;
mod sources;

pub(crate) use helper::is_helper;
pub(crate) use place::{Kept, Place};
pub(crate) use sources::{Logins, docker_file};
