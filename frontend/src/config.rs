//! The config of an image as OCI and Docker write it.
//!
//! A superset of the OCI image config: Docker's `Healthcheck`, `OnBuild`, `Shell` and `ArgsEscaped` are in it, and
//! whatever else a base image says stays in [`ContainerConfig::other`] and [`ImageConfig::other`], so that reading and
//! writing a config loses nothing. [`ImageConfig::inherit`] says what of it a child image takes over.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::platform::Platform;

/// The search path of images that set none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What Docker keeps in a config about the machine or container that made the image, not about the image.
const NOT_INHERITED: [&str; 13] = [
    "Hostname",
    "Domainname",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Image",
    "NetworkDisabled",
    "MacAddress",
    "PublishService",
    "VolumeDriver",
];

/// The JSON document that an image id is the digest of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When the image was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it (`MAINTAINER`).
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// The processor: `amd64`.
    #[serde(default, deserialize_with = "nullable")]
    pub architecture: String,
    /// The variant of the processor: `v7`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// The operating system: `linux`.
    #[serde(default, deserialize_with = "nullable")]
    pub os: String,
    /// The version of the operating system; Windows needs it.
    #[serde(default, rename = "os.version", deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// What the operating system has to have.
    #[serde(default, rename = "os.features", deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// How containers of the image run.
    #[serde(default, deserialize_with = "nullable")]
    pub config: ContainerConfig,
    /// The layers.
    #[serde(default, deserialize_with = "nullable")]
    pub rootfs: RootFs,
    /// How each layer came about.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Fields that nobody here knows.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How containers of an image run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `user[:group]`, by name or number.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `80/tcp`
    #[serde(default, with = "set", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// What always runs.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The default command, or the entrypoint's default arguments.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Absolute paths.
    #[serde(default, with = "set", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// Where the process starts.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the process to stop.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// The command is escaped already (Windows).
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// How to tell whether a container is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for whoever builds on top of the image.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// The shell of shell forms.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// Fields that nobody here knows.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How to tell whether a container is well. Times are in nanoseconds; 0 means the default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]`, `["CMD-SHELL", "…"]`; empty is inherited.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// How long a check may take.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// How long failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks of that time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// How many failures in a row mean unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default = "layers")]
    pub kind: String,
    /// The digests of the uncompressed layer tars, bottom first.
    #[serde(default, deserialize_with = "nullable")]
    pub diff_ids: Vec<String>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: layers(), diff_ids: Vec::new() }
    }
}

/// How one layer, or one change of the config, came about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// With what.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// There is no layer.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// What `FROM scratch` begins with.
    pub fn scratch(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            os: platform.os.clone(),
            config: ContainerConfig {
                env: vec![format!("PATH={DEFAULT_PATH}")],
                working_dir: "/".to_owned(),
                ..ContainerConfig::default()
            },
            ..Self::default()
        }
    }

    /// What an image that is built on top of this one begins with: how containers run, author, platform. Layers, history
    /// and time are facts about this image and come from elsewhere; so does whatever else stands at the top level
    /// (`container`, `docker_version`, cache data) and what in `config` tells of the machine that made it.
    #[must_use]
    pub fn inherit(&self) -> Self {
        let mut child = self.clone();
        child.created = None;
        child.history = Vec::new();
        child.rootfs = RootFs::default();
        child.other = Map::new();
        child.config.other.retain(|name, _| !NOT_INHERITED.contains(&name.as_str()));
        child
    }

    /// The image has no layers: building on top of it is building from scratch.
    pub fn is_empty(&self) -> bool {
        self.rootfs.diff_ids.is_empty() && self.history.iter().all(|entry| entry.empty_layer)
    }

    /// The platform that the image is for.
    pub fn platform(&self) -> Platform {
        Platform { os: self.os.clone(), architecture: self.architecture.clone(), variant: self.variant.clone() }
            .normalize()
    }
}

/// `null` in JSON (what Go writes for an empty list) is the empty value.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A set of names, which JSON writes as an object of empty objects.
mod set {
    use super::{BTreeSet, Deserialize, Deserializer, Map, Value};
    use serde::Serializer;

    pub(super) fn serialize<S: Serializer>(names: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(names.iter().map(|name| (name, Map::new())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
        let names: Option<Map<String, Value>> = Option::deserialize(deserializer)?;
        Ok(names.unwrap_or_default().into_iter().map(|(name, _)| name).collect())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn layers() -> String {
    "layers".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = r#"{
      "architecture": "arm64", "variant": "v8", "os": "linux", "author": "me", "container": "abc",
      "created": "2024-01-02T03:04:05.678Z", "docker_version": "27.0",
      "config": {
        "Hostname": "abc", "Tty": false, "User": "app", "ExposedPorts": {"80/tcp": {}}, "Env": ["A=b"],
        "Entrypoint": null, "Cmd": ["sh"], "Volumes": {"/data": {}}, "WorkingDir": "/srv", "Labels": null,
        "StopSignal": "SIGINT", "ArgsEscaped": true, "Image": "sha256:1", "StopTimeout": 3,
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 30000000000, "Retries": 3},
        "OnBuild": ["RUN make"], "Shell": ["/bin/bash", "-c"]
      },
      "rootfs": {"type": "layers", "diff_ids": ["sha256:2"]},
      "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "ADD x"}, {"created_by": "CMD", "empty_layer": true}]
    }"#;

    #[test]
    fn docker_configs_survive_reading_and_writing() {
        let config: ImageConfig = serde_json::from_str(DOCKER).unwrap();
        assert_eq!(config.config.healthcheck.as_ref().unwrap().interval, 30_000_000_000);
        assert!(config.config.labels.is_empty() && config.config.entrypoint.is_empty());
        let written: Value = serde_json::to_value(&config).unwrap();
        let mut original: Value = serde_json::from_str(DOCKER).unwrap();
        for empty in ["Entrypoint", "Labels"] {
            original["config"].as_object_mut().unwrap().shift_remove(empty);
        }
        assert_eq!(written, original);
    }

    #[test]
    fn children_inherit_how_to_run_and_nothing_about_the_machine() {
        let config: ImageConfig = serde_json::from_str(DOCKER).unwrap();
        let child = config.inherit();
        assert_eq!(child.config.user, "app");
        assert_eq!(child.author, "me");
        assert_eq!(child.config.on_build, ["RUN make"]);
        assert_eq!(child.config.other.keys().collect::<Vec<_>>(), ["StopTimeout"]);
        assert!(child.created.is_none() && child.history.is_empty() && child.other.is_empty());
        assert!(child.rootfs.diff_ids.is_empty());
    }

    #[test]
    fn other_tools_read_it() {
        let config: ImageConfig = serde_json::from_str(DOCKER).unwrap();
        let text = serde_json::to_string(&config).unwrap();
        let oci = oci_spec::image::ImageConfiguration::from_reader(text.as_bytes()).unwrap();
        assert_eq!(oci.rootfs().diff_ids(), &["sha256:2"]);
        assert_eq!(oci.config().as_ref().unwrap().exposed_ports().as_ref().unwrap(), &["80/tcp"]);
        let minimal: ImageConfig = serde_json::from_str(r#"{"rootfs": {"diff_ids": null}, "config": null}"#).unwrap();
        assert!(minimal.is_empty());
        assert_eq!(minimal.rootfs.kind, "layers");
    }
}
