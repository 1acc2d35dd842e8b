//! What the user asked for.

use std::collections::BTreeMap;

use builder_solver::NetworkMode;

use crate::plan::NamedContext;
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
    /// The user named the platform: the image is for it whatever its base says.
    pub explicit_platform: bool,
    /// The platform of this machine.
    pub build_platform: Platform,
    /// The network of steps that name none.
    pub network: NetworkMode,
    /// What stays the same from build to build of the same project, for finding a step's last record.
    pub project: String,
    /// The name of the local source that is the build context.
    pub context: String,
    /// `--build-context`, by name as [`super::context_name`] makes it; `name::os/architecture` is for that platform only.
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--add-host`: names and addresses (or `host-gateway`) that every `RUN` knows.
    pub hosts: Vec<(String, String)>,
    /// `RUN --security=insecure` may be used.
    pub allow_insecure: bool,
    /// `RUN --network=host` may be used although `network` is something else.
    pub allow_host_network: bool,
    /// Several platforms are built: names of steps begin with theirs.
    pub multi_platform: bool,
    /// What names of steps begin with, before the platform: the target of a bake file.
    pub name_prefix: Option<String>,
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
            explicit_platform: false,
            build_platform: Platform::host(),
            network: NetworkMode::Default,
            project: String::new(),
            context: "context".to_owned(),
            contexts: BTreeMap::new(),
            hosts: Vec::new(),
            allow_insecure: false,
            allow_host_network: false,
            multi_platform: false,
            name_prefix: None,
        }
    }
}

impl BuildOptions {
    /// The value of a build argument of the command line: the last one counts, and a bare name is the client's.
    pub fn build_arg(&self, name: &str) -> Option<&str> {
        let client = || self.client_env.get(name).map(String::as_str);
        let mut given = self.build_args.iter().rev().filter(|(given, _)| given == name);
        given.find_map(|(_, value)| value.as_deref().or_else(client))
    }

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
