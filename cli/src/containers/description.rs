//! How a container was started: what the store keeps for `ps` and `commit`.

use std::path::PathBuf;

use anyhow::Context;
use builder_cache::Container;
use builder_executor::container::Volume;
use builder_frontend::config::ContainerConfig;
use serde::{Deserialize, Serialize};

use crate::error::CliResult;

/// How a container was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Description {
    /// The image as it was asked for.
    pub(crate) image: String,
    /// All of the command line.
    pub(crate) command: Vec<String>,
    /// The image's config with what `run` was told on top: what a commit goes on with.
    pub(crate) config: ContainerConfig,
    /// The host name.
    pub(crate) hostname: String,
    /// What of the host is seen in it.
    #[serde(default)]
    pub(crate) mounts: Vec<Mounted>,
    /// It goes when it ends.
    #[serde(default)]
    pub(crate) remove: bool,
}

/// A directory or file of the host in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mounted {
    /// On the host.
    pub(crate) source: PathBuf,
    /// In the container.
    pub(crate) target: PathBuf,
    /// The container can't change it.
    pub(crate) read_only: bool,
}

impl From<&Volume> for Mounted {
    fn from(volume: &Volume) -> Self {
        Self { source: volume.source.clone(), target: volume.target.clone(), read_only: volume.read_only }
    }
}

impl Description {
    /// That of a container.
    pub(crate) fn of(container: &Container) -> CliResult<Self> {
        let text = &container.description;
        let read = serde_json::from_str(text);
        Ok(read.with_context(|| format!("what the store knows of the container {} can't be read", container.name))?)
    }

    /// For the store.
    pub(crate) fn to_text(&self) -> CliResult<String> {
        Ok(serde_json::to_string(self)?)
    }
}
