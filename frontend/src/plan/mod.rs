//! Syntax tree → graph, image config and history.
//!
//! [`plan`] goes over a Dockerfile twice. First it walks from the target up and finds the stages that the target needs,
//! asking [`Images`] for their base images (`stages`); then it walks down and turns each instruction into a vertex
//! (`convert`, `run`, `copy`) or a change of the config (`settings`).
//!
//! Invariants
//! * Stages that the target does not need are neither resolved nor in the graph.
//! * An instruction sees the environment as it was at its start.
//! * The result of a stage's vertex is a chain of layers: those of the base image and then exactly one for each history
//!   entry without `empty_layer`, in order. [`Plan::image_config`] depends on it.
//! * No I/O, no clock, no randomness: equal input gives an equal plan.

mod arguments;
mod convert;
mod copy;
pub(crate) mod environment;
mod error;
mod finish;
mod mode;
mod name;
mod options;
mod paths;
mod run;
pub(crate) mod settings;
mod stages;
mod syntax;

use builder_solver::{Graph, VertexId};

pub use error::{PlanError, PlanErrorKind, ResolveError};
pub use finish::{LayerCountError, LayerFacts};
pub use options::BuildOptions;

use crate::ast::{Command, Dockerfile, Span, Stage};
use crate::config::ImageConfig;
use crate::expand::Expander;
use crate::history::HistoryEntry;
use crate::platform::Platform;
use arguments::BuildArguments;
use convert::Converter;
use stages::{Base, Finder, Names, Needed};

/// Where base images come from. The frontend does no I/O: this is its view of the store and of registries.
pub trait Images {
    /// Finds an image by what `FROM` or `COPY --from` says (`debian`, `debian:12`, `host/app@sha256:…`), which the
    /// implementation brings into full form. `platform` is `os/architecture[/variant]`.
    fn resolve(&self, reference: &str, platform: Option<&str>) -> Result<ResolvedImage, ResolveError>;
}

/// An image that [`Images`] found.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The image id, `sha256:…`.
    pub id: String,
    /// The reference in full: `docker.io/library/debian:12`.
    pub reference: String,
    /// Its config.
    pub config: ImageConfig,
}

/// What to do, and what the image will say.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The vertices.
    pub graph: Graph,
    /// The vertex whose result is the image's root file system.
    pub target: VertexId,
    /// The config of the image. Its `history`, `rootfs` and `created` are empty: [`Plan::image_config`] fills them in when
    /// the layers are there.
    pub config: ImageConfig,
    /// The history, the base image's entries first.
    pub history: Vec<HistoryEntry>,
    /// The image below the first layer that is built here; `None` for `FROM scratch`.
    pub base: Option<BaseImage>,
    /// All stages of the file, in order.
    pub stages: Vec<StageInfo>,
    /// The local directories that the build reads, by the names of their sources.
    pub contexts: Vec<String>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// `SOURCE_DATE_EPOCH`, from the command line or from an `ARG` before the first `FROM`.
    pub source_date_epoch: Option<i64>,
}

/// The image at the bottom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// The image id.
    pub id: String,
    /// The reference in full.
    pub reference: String,
    /// How many layers of the result are its own.
    pub layers: usize,
}

/// A stage of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageInfo {
    /// The name in lower case, if it has one.
    pub name: Option<String>,
    /// What it is built on, expanded when the stage is needed and otherwise as written.
    pub base: String,
    /// What the comment above it says about it.
    pub description: Option<String>,
    /// Its `FROM`.
    pub span: Span,
    /// It is what was asked for.
    pub is_target: bool,
    /// The vertices of its instructions in order; empty when the target does not need it.
    pub vertices: Vec<VertexId>,
}

/// Plans the build of a Dockerfile. `text` is what `file` was parsed from.
pub fn plan(file: &Dockerfile, text: &str, options: &BuildOptions, images: &dyn Images) -> Result<Plan, PlanError> {
    let mut arguments = BuildArguments::new(options);
    syntax::check(file, &arguments)?;
    if file.stages.is_empty() {
        return Err(PlanError::new(PlanErrorKind::NoStages, None));
    }
    arguments.declare_file(file);
    let escape = file.directives.escape_char();
    let expander = Expander::new(escape);
    let globals = arguments::globals(file, options, &arguments, expander)?;
    let source_date_epoch = arguments::source_date_epoch(file, &arguments, &globals)?;
    let names = Names::new(file);
    let target = names.target(options.target.as_deref())?;

    let mut finder = Finder {
        file,
        options,
        images,
        names: &names,
        globals: &globals,
        expander,
        resolved: std::collections::HashMap::new(),
    };
    let needed = finder.find(target, &mut arguments)?;

    let mut converter = Converter {
        text,
        options,
        names: &names,
        arguments: &arguments,
        globals: &globals,
        expander,
        escape,
        single: is_single(file),
        proxies: arguments.proxies(),
        graph: Graph::new(),
        contexts: Vec::new(),
        stages: file.stages.iter().map(|_| None).collect(),
    };
    for (index, (stage, needed)) in file.stages.iter().zip(&needed).enumerate() {
        if let Some(needed) = needed {
            converter.stage(index, stage, needed)?;
        }
    }
    let Converter { graph, contexts, mut stages, .. } = converter;

    let infos = file.stages.iter().enumerate().map(|(index, stage)| StageInfo {
        name: stage.name(),
        base: match &needed[index] {
            Some(needed) => needed.base_name.clone(),
            None => stage.from.command.image.value.clone(),
        },
        description: description(stage),
        span: stage.from.span.clone(),
        is_target: index == target,
        vertices: stages[index].as_ref().map(|state| state.vertices.clone()).unwrap_or_default(),
    });
    let infos: Vec<StageInfo> = infos.collect();
    let mut line = vec![target];
    while let Some(parent) = line.last().and_then(|&stage| stages[stage].as_ref()?.parent) {
        line.push(parent);
    }
    let mut history = Vec::new();
    for &stage in line.iter().rev() {
        if let Some(state) = stages[stage].as_mut() {
            history.append(&mut state.history);
        }
    }
    let Some(state) = stages[target].take() else { return Err(PlanError::new(PlanErrorKind::NoStages, None)) };
    let base = state.base_image();
    let vertex = state.vertex;
    let mut config = state.settings.finish();
    if config.os.is_empty() || config.architecture.is_empty() {
        let Platform { os, architecture, variant } = options.platform.clone();
        (config.os, config.architecture, config.variant) = (os, architecture, variant);
    }
    config.config.labels.extend(options.labels.iter().cloned());
    Ok(Plan {
        graph,
        target: vertex,
        config,
        history,
        base,
        stages: infos,
        contexts,
        warnings: warnings(&arguments, options, file, &needed),
        source_date_epoch,
    })
}

fn description(stage: &Stage) -> Option<String> {
    let name = stage.from.command.name.as_ref()?;
    stage.from.description(&name.value).map(str::to_owned)
}

/// BuildKit names no stage when there is only one, and counts an image that a `COPY --from` names as a stage.
fn is_single(file: &Dockerfile) -> bool {
    let copies = |command: &Command| matches!(command, Command::Copy(copy) if copy.from.is_some());
    match &file.stages[..] {
        [stage] => !stage.instructions.iter().any(|instruction| copies(&instruction.command)),
        _ => false,
    }
}

fn warnings(
    arguments: &BuildArguments,
    options: &BuildOptions,
    file: &Dockerfile,
    needed: &[Option<Needed<'_>>],
) -> Vec<String> {
    let mut warnings = Vec::new();
    let unconsumed = arguments.unconsumed();
    if !unconsumed.is_empty() {
        warnings.push(format!("One or more build-args [{}] were not consumed", unconsumed.join(" ")));
    }
    for wanted in &options.no_cache_stages {
        let mut stages = file.stages.iter().enumerate();
        if !stages.any(|(index, stage)| options::is_stage(wanted, index, stage.name().as_deref())) {
            warnings.push(format!("no stage is named `{wanted}`: nothing is built without cache for it"));
        }
    }
    for stage in needed.iter().flatten() {
        let Base::Image(image) = &stage.base else { continue };
        let actual = image.config.platform();
        if actual != options.platform && !actual.os.is_empty() {
            let (reference, wanted) = (&image.reference, &options.platform);
            warnings.push(format!("the base image {reference} is for `{actual}`, not for `{wanted}`"));
        }
    }
    warnings
}
