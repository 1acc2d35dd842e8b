//! What the user asked for.

use std::collections::BTreeMap;

use builder_solver::NetworkMode;

use crate::platform::Platform;

/// How to build, beyond what the Dockerfile says.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// The stage to build, by name without regard to case or by number; the last one if `None`.
    pub target: Option<String>,
    /// `--build-arg NAME=value`, or a bare name that takes its value from `client_env`. The last of a name counts.
    pub build_args: Vec<(String, Option<String>)>,
    /// The client's environment, for bare build arguments.
    pub client_env: BTreeMap<String, String>,
    /// Run every step.
    pub no_cache: bool,
    /// Run every step of these stages, by name or number.
    pub no_cache_stages: Vec<String>,
    /// Labels of the image; they win over those of the Dockerfile.
    pub labels: Vec<(String, String)>,
    /// The platform to build for.
    pub platform: Platform,
    /// The platform of this machine.
    pub build_platform: Platform,
    /// The network of steps that name none.
    pub network: NetworkMode,
    /// What stays the same from build to build of the same project, for finding a step's last record.
    pub project: String,
}

impl Default for BuildOptions {
    /// Builds the last stage for this machine.
    fn default() -> Self {
        Self {
            target: None,
            build_args: Vec::new(),
            client_env: BTreeMap::new(),
            no_cache: false,
            no_cache_stages: Vec::new(),
            labels: Vec::new(),
            platform: Platform::host(),
            build_platform: Platform::host(),
            network: NetworkMode::Default,
            project: String::new(),
        }
    }
}

impl BuildOptions {
    /// Whether the steps of a stage run whatever the cache has.
    pub(super) fn ignores_cache(&self, index: usize, name: Option<&str>) -> bool {
        self.no_cache || self.no_cache_stages.iter().any(|wanted| is_stage(wanted, index, name))
    }
}

/// Whether the user means this stage: by its name without regard to case, by its number, or by the `stage-1` that is
/// shown for a stage without a name.
pub(super) fn is_stage(wanted: &str, index: usize, name: Option<&str>) -> bool {
    match name {
        Some(name) if wanted.eq_ignore_ascii_case(name) => true,
        None if wanted.strip_prefix("stage-").is_some_and(|number| number.parse() == Ok(index)) => true,
        _ => wanted.parse() == Ok(index),
    }
}
