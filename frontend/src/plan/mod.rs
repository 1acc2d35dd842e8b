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

pub(crate) mod arguments;
mod convert;
mod copy;
pub(crate) mod environment;
mod epoch;
mod error;
mod finish;
mod images;
mod mode;
mod mounts;
mod name;
mod named;
pub(crate) mod names;
mod options;
pub(crate) mod paths;
mod remote;
mod result;
mod run;
pub(crate) mod settings;
mod sources;
mod stages;
mod syntax;
mod wanted;

use std::collections::HashMap;

use builder_solver::Graph;

pub use epoch::EPOCHS;
pub use error::{PlanError, PlanErrorKind, ResolveError};
pub use finish::{LayerCountError, LayerFacts};
pub use images::{Images, ResolvedImage};
pub use named::{NamedContext, TargetContext, context_name};
pub use options::BuildOptions;
pub use result::{BaseImage, Plan, StageInfo};
pub use wanted::wanted_images;

use crate::ast::{Command, Dockerfile, Stage};
use crate::config::ImageConfig;
use crate::expand::Expander;
use crate::history::HistoryEntry;
use crate::platform::Platform;
use arguments::BuildArguments;
use convert::{Converter, StageState};
use epoch::Epoch;
use names::Names;
use stages::{Finder, Needed};

/// Plans the build of a Dockerfile into `graph`, which other plans may share: equal vertices become one. `text` is what
/// `file` was parsed from. After an error the graph may hold vertices that nothing needs.
pub fn plan(
    graph: &mut Graph,
    file: &Dockerfile,
    text: &str,
    options: &BuildOptions,
    images: &dyn Images,
) -> Result<Plan, PlanError> {
    let mut arguments = BuildArguments::new(options);
    syntax::check(file, &arguments)?;
    if file.stages.is_empty() {
        return Err(PlanError::new(PlanErrorKind::NoStages, None));
    }
    let multi_platform = options.multi_platform || arguments.truth("BUILDKIT_MULTI_PLATFORM")?.unwrap_or(false);
    arguments.declare_file(file);
    let escape = file.directives.escape_char();
    let expander = Expander::new(escape);
    let mut globals = arguments::globals(file, options, &arguments, expander)?;
    let epoch = Epoch { file, options, images, expander };
    let source_date_epoch = epoch.resolve(&mut arguments, &mut globals)?;
    let names = Names::new(file);
    let target = names.target(options.target.as_deref())?;
    names.check(file, expander)?;

    let resolved = HashMap::new();
    let mut finder = Finder { file, options, images, names: &names, globals: &globals, expander, resolved };
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
        graph,
        contexts: Vec::new(),
        stages: file.stages.iter().map(|_| None).collect(),
    };
    for (index, (stage, needed)) in file.stages.iter().zip(&needed).enumerate() {
        if let Some(needed) = needed {
            converter.stage(index, stage, needed)?;
        }
    }
    let Converter { contexts, mut stages, .. } = converter;

    let infos = infos(file, target, &needed, &stages);
    let history = history(target, &mut stages);
    let Some(state) = stages[target].take() else { return Err(PlanError::new(PlanErrorKind::NoStages, None)) };
    let mut config = state.settings.finish();
    set_platform(&mut config, options);
    config.config.labels.extend(options.labels.iter().cloned());
    Ok(Plan {
        target: state.vertex,
        config,
        history,
        base: state.base,
        stages: infos,
        contexts,
        warnings: warnings(&arguments, options, file),
        source_date_epoch,
        multi_platform,
    })
}

fn infos(
    file: &Dockerfile,
    target: usize,
    needed: &[Option<Needed<'_>>],
    stages: &[Option<StageState>],
) -> Vec<StageInfo> {
    let info = |(index, stage): (usize, &Stage)| StageInfo {
        name: stage.name(),
        base: match &needed[index] {
            Some(needed) => needed.base_name.clone(),
            None => stage.from.command.image.value.clone(),
        },
        description: description(stage),
        span: stage.from.span.clone(),
        is_target: index == target,
        vertices: stages[index].as_ref().map(|state| state.vertices.clone()).unwrap_or_default(),
    };
    file.stages.iter().enumerate().map(info).collect()
}

/// The history of the target: of the stages that it is built on, from the bottom up, and its own.
fn history(target: usize, stages: &mut [Option<StageState>]) -> Vec<HistoryEntry> {
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
    history
}

/// The platform of the image: the one that was asked for, whatever the base image says, or without a wish the base's.
fn set_platform(config: &mut ImageConfig, options: &BuildOptions) {
    let wanted = &options.platform;
    let asked = options.explicit_platform || options.multi_platform || *wanted != options.build_platform;
    if asked || config.os.is_empty() || config.architecture.is_empty() {
        let same = config.os == wanted.os && config.architecture == wanted.architecture;
        config.os.clone_from(&wanted.os);
        config.architecture.clone_from(&wanted.architecture);
        if !same {
            config.os_version.clear();
        }
        if !same || !wanted.variant.is_empty() {
            config.variant.clone_from(&wanted.variant);
        }
    }
    let Platform { os, architecture, variant } = config.platform();
    (config.os, config.architecture, config.variant) = (os, architecture, variant);
}

fn description(stage: &Stage) -> Option<String> {
    let name = stage.from.command.name.as_ref()?;
    stage.from.description(&name.value).map(str::to_owned)
}

/// BuildKit names no stage when there is only one, and counts what a `COPY --from` or a `RUN --mount` takes files from.
fn is_single(file: &Dockerfile) -> bool {
    let takes = |command: &Command| match command {
        Command::Copy(copy) => names::copy_from(copy).is_some(),
        Command::Run(run) => !run.mounts.is_empty(),
        _ => false,
    };
    match &file.stages[..] {
        [stage] => !stage.instructions.iter().any(|instruction| takes(&instruction.command)),
        _ => false,
    }
}

fn warnings(arguments: &BuildArguments, options: &BuildOptions, file: &Dockerfile) -> Vec<String> {
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
    warnings
}
