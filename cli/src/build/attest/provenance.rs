//! How a result was made: SLSA's provenance, with the fields that BuildKit puts into it, so that whoever reads those of
//! BuildKit reads these.
//!
//! `mode=min` names sources and platforms; `mode=max` also build arguments, labels, the ids of secrets and agents, the
//! steps and the Dockerfile. A build with a fixed time says nothing of clocks and has no random ids: then the same
//! sources give the same bytes.

use std::collections::BTreeMap;

use builder_cache::Store;
use builder_executor::remote::Remotes;
use builder_frontend::platform::Platform;
use builder_solver::address::{redact, redact_text};
use builder_solver::{Graph, MountKind, Op, SecretFile};
use serde_json::{Value, json};

use super::Predicate;
use super::materials::{Materials, context};
use super::steps::{Steps, file_name};
use crate::build::report::Origins;
use crate::build::result::PlatformResult;
use crate::build::source::{Address, BuildSource, context_address};
use crate::commands::build::BuildArgs;
use crate::container::random_name;
use crate::error::CliResult;
use crate::outputs::{Provenance, SlsaVersion};

/// The type of a provenance, and who says what is in its parts; both by version.
const SLSA_V1: &str = "https://slsa.dev/provenance/v1";
const SLSA_V02: &str = "https://slsa.dev/provenance/v0.2";
const BUILD_TYPE_V1: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
const BUILD_TYPE_V02: &str = "https://mobyproject.org/buildkit@v1";

/// Who builds, when nobody says.
const BUILDER: &str = concat!("pkg:generic/builder@", env!("CARGO_PKG_VERSION"));

/// What is known of a build when its steps are done.
pub(super) struct Facts<'a> {
    pub(super) store: &'a Store,
    pub(super) remotes: &'a Remotes,
    pub(super) graph: &'a Graph,
    pub(super) origins: &'a Origins,
    pub(super) args: &'a BuildArgs,
    pub(super) source: &'a BuildSource,
    /// Where the files of a local source came from.
    pub(super) address: &'a dyn Fn(&str) -> CliResult<Address>,
    pub(super) started: jiff::Timestamp,
    /// The same for all platforms of a build.
    pub(super) invocation: &'a str,
}

/// Says how a platform's result was made.
pub(super) fn provenance(facts: &Facts<'_>, wanted: &Provenance, result: &PlatformResult) -> CliResult<Predicate> {
    let document = Document::new(facts, wanted, result)?;
    let (kind, value) = match wanted.version {
        SlsaVersion::V1 => (SLSA_V1, document.v1()),
        SlsaVersion::V02 => (SLSA_V02, document.v02()),
    };
    let filename = wanted.filename.clone().unwrap_or_else(|| "provenance.json".to_owned());
    Predicate::new(facts.store, kind, serde_json::to_vec(&value)?, filename, wanted.inline_only)
}

/// A random id for one run of the builder.
pub(super) fn invocation() -> String {
    format!("{}{}", random_name(), random_name())
}

/// What both versions say.
struct Document {
    builder: String,
    config: Value,
    path: String,
    request: Value,
    /// Whether the request is all there is.
    whole_request: bool,
    steps: Option<Steps>,
    materials: Materials,
    invocation: Option<String>,
    times: Option<(String, String)>,
    reproducible: bool,
}

impl Document {
    fn new(facts: &Facts<'_>, wanted: &Provenance, result: &PlatformResult) -> CliResult<Self> {
        let Facts { store, remotes, graph, args, .. } = *facts;
        let target = result.plan.target;
        let mut materials = Materials::new(store, remotes, graph, target, facts.address)?;
        let config = match context(remotes, &context_address(args)?)? {
            Some(material) => {
                // Even if the Dockerfile was all that was taken of it.
                materials.add(&material);
                material.value()
            }
            None => json!({}),
        };
        let (arguments, whole_request) = arguments(args, wanted.max);
        let mut request = json!({ "frontend": "dockerfile.v0" });
        if !arguments.is_empty() {
            request["args"] = json!(arguments);
        }
        if wanted.max {
            let (secrets, agents) = secrets(graph, result);
            request["secrets"] = secrets;
            request["ssh"] = agents;
        }
        let definition = if config["uri"].is_null() { &["dockerfile"][..] } else { &[] };
        let locals = materials.locals.iter().map(String::as_str).chain(definition.iter().copied());
        request["locals"] = locals.map(|name| json!({ "name": name })).collect();
        let fixed = result.plan.source_date_epoch.is_some();
        let clock = || (facts.started.to_string(), jiff::Timestamp::now().to_string());
        Ok(Self {
            builder: wanted.builder_id.clone().unwrap_or_else(|| BUILDER.to_owned()),
            config,
            path: file_name(&facts.source.name).to_owned(),
            request,
            whole_request,
            steps: wanted.max.then(|| Steps::new(graph, target, &result.platform, facts.origins)),
            materials,
            invocation: (!fixed).then(|| facts.invocation.to_owned()),
            times: (!fixed).then(clock),
            reproducible: wanted.reproducible,
        })
    }

    fn hermetic(&self) -> bool {
        self.materials.complete() && !self.materials.network
    }

    fn about(&self) -> Value {
        match &self.steps {
            Some(steps) => json!({ "source": steps.source }),
            None => json!({}),
        }
    }

    fn v1(&self) -> Value {
        let mut config = self.config.clone();
        config["path"] = json!(self.path);
        let mut internal = json!({ "builderPlatform": Platform::host().to_string() });
        if let Some(steps) = &self.steps {
            internal["buildConfig"] = steps.config.clone();
        }
        let mut metadata = json!({});
        if let Some(id) = &self.invocation {
            metadata["invocationId"] = json!(id);
        }
        if let Some((started, finished)) = &self.times {
            metadata["startedOn"] = json!(started);
            metadata["finishedOn"] = json!(finished);
        }
        metadata["buildkit_metadata"] = self.about();
        metadata["buildkit_hermetic"] = json!(self.hermetic());
        metadata["buildkit_completeness"] =
            json!({ "request": self.whole_request, "resolvedDependencies": self.materials.complete() });
        metadata["buildkit_reproducible"] = json!(self.reproducible);
        json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE_V1,
                "externalParameters": { "configSource": config, "request": self.request },
                "internalParameters": internal,
                "resolvedDependencies": self.materials.list,
            },
            "runDetails": {
                "builder": { "id": self.builder, "version": { "builder": env!("CARGO_PKG_VERSION") } },
                "metadata": metadata,
            },
        })
    }

    fn v02(&self) -> Value {
        let mut config = self.config.clone();
        config["entryPoint"] = json!(self.path);
        let mut metadata = json!({});
        if let Some(id) = &self.invocation {
            metadata["buildInvocationID"] = json!(id);
        }
        if let Some((started, finished)) = &self.times {
            metadata["buildStartedOn"] = json!(started);
            metadata["buildFinishedOn"] = json!(finished);
        }
        metadata["completeness"] =
            json!({ "parameters": self.whole_request, "environment": true, "materials": self.materials.complete() });
        metadata["reproducible"] = json!(self.reproducible);
        metadata["https://mobyproject.org/buildkit@v1#hermetic"] = json!(self.hermetic());
        metadata["https://mobyproject.org/buildkit@v1#metadata"] = self.about();
        let mut document = json!({
            "builder": { "id": self.builder },
            "buildType": BUILD_TYPE_V02,
            "materials": self.materials.list,
            "invocation": {
                "configSource": config,
                "parameters": self.request,
                "environment": { "platform": Platform::host().to_string() },
            },
        });
        if let Some(steps) = &self.steps {
            document["buildConfig"] = steps.config.clone();
        }
        document["metadata"] = metadata;
        document
    }
}

/// What was asked for, by the names that BuildKit has for it, and whether that is all.
fn arguments(args: &BuildArgs, max: bool) -> (BTreeMap<String, String>, bool) {
    let mut found = BTreeMap::new();
    let mut whole = true;
    if let Some(target) = &args.target {
        found.insert("target".to_owned(), target.clone());
    }
    if args.no_cache {
        found.insert("no-cache".to_owned(), String::new());
    } else if !args.no_cache_filter.is_empty() {
        found.insert("no-cache".to_owned(), args.no_cache_filter.join(","));
    }
    if args.network != "default" {
        found.insert("force-network-mode".to_owned(), args.network.clone());
    }
    for (name, source) in args.build_contexts.iter().filter_map(|text| text.split_once('=')) {
        // Directories of this machine mean nothing elsewhere.
        let source = if source.contains("://") { redact(source) } else { "local".to_owned() };
        found.insert(format!("context:{name}"), source);
    }
    let pairs = |list: &[String]| -> Vec<(String, String)> {
        let pair = |text: &String| match text.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => Some((text.clone(), std::env::var(text).ok()?)),
        };
        list.iter().filter_map(pair).collect()
    };
    let arguments = pairs(&args.arguments).into_iter().filter(|(name, _)| !name.starts_with("BUILDKIT_ATTEST_"));
    let labels = args.labels.iter().map(|text| text.split_once('=').unwrap_or((text, "")));
    let labels = labels.map(|(name, value)| (format!("label:{name}"), value.to_owned()));
    for (name, value) in arguments.map(|(name, value)| (format!("build-arg:{name}"), value)).chain(labels) {
        if max {
            found.insert(name, redact_text(&value));
        } else {
            whole = false;
        }
    }
    (found, whole)
}

/// The ids of secrets and agents that steps are given.
fn secrets(graph: &Graph, result: &PlatformResult) -> (Value, Value) {
    let mut secrets: BTreeMap<String, bool> = BTreeMap::new();
    let mut agents: BTreeMap<String, bool> = BTreeMap::new();
    let add = |list: &mut BTreeMap<String, bool>, id: &str, required: bool| {
        let known = list.entry(id.to_owned()).or_default();
        *known |= required;
    };
    for id in graph.reachable(&[result.plan.target]) {
        let Op::Exec(exec) = &graph.vertex(id).op else { continue };
        for mount in &exec.mounts {
            match &mount.kind {
                MountKind::Secret(SecretFile { id, required, .. }) => add(&mut secrets, id, *required),
                MountKind::Ssh(SecretFile { id, required, .. }) => add(&mut agents, id, *required),
                MountKind::Bind { .. } | MountKind::Cache(_) | MountKind::Tmpfs { .. } => {}
            }
        }
        exec.secret_env.iter().for_each(|secret| add(&mut secrets, &secret.id, secret.required));
    }
    let list = |all: BTreeMap<String, bool>| -> Value {
        let one = |(id, required): (String, bool)| {
            if required { json!({ "id": id }) } else { json!({ "id": id, "optional": true }) }
        };
        all.into_iter().map(one).collect()
    };
    (list(secrets), list(agents))
}
