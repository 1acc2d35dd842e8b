//! Build arguments: those of the command line, the automatic ones, and the `ARG`s before the first `FROM`.

use std::collections::{BTreeMap, HashSet};

use crate::ast::{Arg, Command, Dockerfile, Instruction};
use crate::expand::{Expander, Variables};
use crate::mount;
use crate::plan::BuildOptions;
use crate::plan::environment::Environment;
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::platform::Platform;

/// Arguments that every `RUN` gets without asking, outside of cache keys and history.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Arguments that a stage may declare and that never become variables of its processes.
const NO_VARIABLES: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// The arguments of the command line.
#[derive(Debug, Default)]
pub(crate) struct BuildArguments {
    values: BTreeMap<String, String>,
    declared: HashSet<String>,
}

impl BuildArguments {
    /// A bare `--build-arg NAME` takes the client's value, and is nothing when there is none.
    pub(crate) fn new(options: &BuildOptions) -> Self {
        let mut values = BTreeMap::new();
        for (name, value) in &options.build_args {
            let value = value.as_ref().or_else(|| options.client_env.get(name));
            if let Some(value) = value {
                values.insert(name.clone(), value.clone());
            }
        }
        Self { values, declared: HashSet::new() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// An argument that is true or false, as Go reads such; nothing when it is not given or empty.
    pub(super) fn truth(&self, name: &'static str) -> Result<Option<bool>, PlanError> {
        let Some(value) = self.get(name).filter(|value| !value.is_empty()) else { return Ok(None) };
        mount::boolean(value).map(Some).ok_or_else(|| {
            let value = value.to_owned();
            PlanError::new(PlanErrorKind::Truth { name, value }, None).help("give `1` or `0`".to_owned())
        })
    }

    /// Gives an argument that was given another value, or takes it away.
    pub(super) fn replace(&mut self, name: &str, value: Option<&str>) {
        match (self.values.get_mut(name), value) {
            (None, _) => {}
            (Some(known), Some(value)) => value.clone_into(known),
            (Some(_), None) => drop(self.values.remove(name)),
        }
    }

    /// An instruction declares arguments: they are consumed.
    pub(super) fn declare(&mut self, command: &Command) {
        match command {
            Command::Arg(arg) => self.declare_all(arg),
            Command::Onbuild(onbuild) => self.declare(&onbuild.instruction.command),
            _ => {}
        }
    }

    fn declare_all(&mut self, arg: &Arg) {
        self.declared.extend(arg.items.iter().map(|item| item.key.value.clone()));
    }

    /// The whole file declares arguments, whether or not the build reaches it.
    pub(super) fn declare_file(&mut self, file: &Dockerfile) {
        for arg in &file.global_args {
            self.declare_all(&arg.command);
        }
        for instruction in file.stages.iter().flat_map(|stage| &stage.instructions) {
            self.declare(&instruction.command);
        }
    }

    /// Arguments that nothing takes.
    pub(super) fn unconsumed(&self) -> Vec<&str> {
        let known = |name: &str| {
            self.declared.contains(name)
                || is_proxy(name)
                || is_automatic(name)
                || name.starts_with("BUILDKIT_")
                || name == "SOURCE_DATE_EPOCH"
        };
        self.values.keys().map(String::as_str).filter(|name| !known(name)).collect()
    }

    /// Proxy variables in both cases, as programs look for either.
    pub(super) fn proxies(&self) -> Vec<(String, String)> {
        let mut proxies = Vec::new();
        for name in PROXIES {
            // The last one in the order of names, the lower-case one, counts when both are given.
            let given = self.values.iter().rfind(|(given, _)| given.eq_ignore_ascii_case(name));
            if let Some((_, value)) = given {
                proxies.push((name.to_owned(), value.clone()));
                proxies.push((name.to_lowercase(), value.clone()));
            }
        }
        proxies
    }
}

/// What `FROM` can use, and a bare `ARG` of a stage falls back on: the automatic arguments and the global ones, each
/// overridden by the command line.
pub(crate) fn globals(
    file: &Dockerfile,
    options: &BuildOptions,
    arguments: &BuildArguments,
    expander: Expander,
) -> Result<Environment, PlanError> {
    let last = file.stages.last().and_then(crate::ast::Stage::name);
    let stage =
        options.target.clone().filter(|target| !target.is_empty()).or(last).unwrap_or_else(|| "default".to_owned());
    let mut globals = Environment::default();
    for (name, value) in automatic(&options.build_platform, &options.platform, &stage) {
        globals.set(name, arguments.get(name).unwrap_or(&value));
    }
    for Instruction { command: Arg { items }, .. } in &file.global_args {
        for item in items {
            let name = item.key.as_str();
            if let Some(value) = arguments.get(name) {
                globals.set(name, value);
            } else if let Some(default) = &item.default {
                let value = expander
                    .word(&default.value, &globals)
                    .map_err(|error| PlanError::expand(error, default))?
                    .text
                    .into_owned();
                globals.set(name, &value);
            }
        }
    }
    Ok(globals)
}

/// Whether an argument becomes a variable of processes.
pub(crate) fn is_variable(name: &str) -> bool {
    !NO_VARIABLES.contains(&name)
}

fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}

fn is_automatic(name: &str) -> bool {
    let part = name.strip_prefix("BUILD").or_else(|| name.strip_prefix("TARGET"));
    matches!(part, Some("PLATFORM" | "OS" | "OSVERSION" | "ARCH" | "VARIANT")) || name == "TARGETSTAGE"
}

fn automatic(build: &Platform, target: &Platform, stage: &str) -> [(&'static str, String); 11] {
    [
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", String::new()),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", build.variant.clone()),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", String::new()),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", target.variant.clone()),
        ("TARGETSTAGE", stage.to_owned()),
    ]
}

/// The arguments that a stage has declared so far, each name once, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Declared {
    values: Environment,
}

impl Declared {
    pub(super) fn set(&mut self, name: &str, value: Option<&str>) {
        self.values.set(name, value.unwrap_or_default());
    }

    /// With the values that the environment has by now: `ENV` may have changed them.
    pub(super) fn seen_in<'a>(&'a self, env: &'a Environment) -> Vec<(&'a str, &'a str)> {
        let values = self.values.as_slice().iter();
        values.map(|(name, value)| (name.as_str(), env.get(name).unwrap_or(value))).collect()
    }
}
