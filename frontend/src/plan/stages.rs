//! What the target needs.
//!
//! A stage only ever uses stages above it, so going from the target to the top once finds everything that is needed.
//! Base images are resolved on the way, because their `ONBUILD` triggers may need more stages; those of stages that
//! nothing needs are never looked at.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use crate::ast::{Command, CopySource, Dockerfile, From, Instruction, Span, Stage, Word};
use crate::expand::Expander;
use crate::parser;
use crate::plan::arguments::BuildArguments;
use crate::plan::environment::Environment;
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::named::{Content, Context};
use crate::plan::names::{self, Names, Reference};
use crate::plan::{BuildOptions, Images, NamedContext, ResolvedImage};
use crate::platform::Platform;
use crate::suggest;

/// What a stage, a copy or a mount begins with.
#[derive(Debug, Clone)]
pub(super) enum Base {
    /// Nothing.
    Scratch,
    /// A stage further up.
    Stage(usize),
    /// An image.
    Image(Rc<ResolvedImage>),
    /// What the user gave a name to.
    Context(Rc<Context>),
}

/// An instruction to carry out: one of the stage, or a trigger of its base.
pub(super) struct Step<'a> {
    pub(super) instruction: Cow<'a, Instruction>,
    /// It is a trigger.
    pub(super) onbuild: bool,
    /// A trigger that does not stand in this file: the `FROM` that brought it in.
    pub(super) place: Option<Span>,
    /// Where it takes files from: one for `COPY --from`, one for each mount of `RUN` (nothing for the build context).
    pub(super) sources: Vec<Option<Base>>,
}

impl<'a> Step<'a> {
    fn new(instruction: Cow<'a, Instruction>, onbuild: bool, place: Option<Span>) -> Self {
        Self { instruction, onbuild, place, sources: Vec::new() }
    }

    /// Puts an error of the instruction where the reader can see it.
    pub(super) fn blame(&self, error: PlanError) -> PlanError {
        if self.onbuild { error.in_trigger(&self.instruction.text.value, self.place.as_ref()) } else { error }
    }

    /// Where in the file the instruction stands, or came from.
    pub(super) fn span(&self) -> &Span {
        self.place.as_ref().unwrap_or(&self.instruction.span)
    }
}

/// A stage that the target needs.
pub(super) struct Needed<'a> {
    pub(super) base: Base,
    pub(super) base_name: String,
    /// What it is for; a stage on top of another one is for what that one is for.
    pub(super) platform: Platform,
    /// Its base is a named context that takes the whole stage's place.
    pub(super) replaced: bool,
    pub(super) steps: Vec<Step<'a>>,
}

/// Finds what the target needs.
pub(super) struct Finder<'a> {
    pub(super) file: &'a Dockerfile,
    pub(super) options: &'a BuildOptions,
    pub(super) images: &'a dyn Images,
    pub(super) names: &'a Names,
    pub(super) globals: &'a Environment,
    pub(super) expander: Expander,
    /// What images have resolved to so far.
    pub(super) resolved: HashMap<String, Rc<ResolvedImage>>,
}

impl<'a> Finder<'a> {
    /// The stages that the target needs, at their numbers.
    pub(super) fn find(
        &mut self,
        target: usize,
        arguments: &mut BuildArguments,
    ) -> Result<Vec<Option<Needed<'a>>>, PlanError> {
        let mut is_needed = vec![false; self.file.stages.len()];
        let mut stages: Vec<Option<Needed<'a>>> = self.file.stages.iter().map(|_| None).collect();
        is_needed[target] = true;
        for index in (0..=target).rev() {
            if !is_needed[index] {
                continue;
            }
            let stage = self.stage(index, arguments)?;
            for base in stage.steps.iter().flat_map(|step| step.sources.iter().flatten()).chain([&stage.base]) {
                if let Base::Stage(other) = base {
                    is_needed[*other] = true;
                }
            }
            stages[index] = Some(stage);
        }
        Ok(stages)
    }

    fn stage(&mut self, index: usize, arguments: &mut BuildArguments) -> Result<Needed<'a>, PlanError> {
        let stage = &self.file.stages[index];
        let from = &stage.from.command;
        let base_name = self.base_name(from)?;
        let platform = match &from.platform {
            Some(flag) => self.platform(flag)?,
            None => self.options.platform.clone(),
        };
        if let Some(name) = stage.name()
            && let Some(base) = self.context(&name, &platform, &from.image.span)?
        {
            return Ok(Needed { base, base_name, platform, replaced: true, steps: Vec::new() });
        }
        let base = self.base(&base_name, &platform, from, index)?;
        let mut steps = self.triggers(&base, stage, arguments)?;
        let own = stage.instructions.iter();
        steps.extend(own.map(|instruction| Step::new(Cow::Borrowed(instruction), false, None)));
        for step in &mut steps {
            step.sources = self.sources(&step.instruction, index).map_err(|error| step.blame(error))?;
        }
        Ok(Needed { base, base_name, platform, replaced: false, steps })
    }

    /// The base that `FROM` names, expanded.
    fn base_name(&self, from: &From) -> Result<String, PlanError> {
        let name = self.global(&from.image)?;
        if !name.is_empty() {
            return Ok(name);
        }
        let help = self.near_argument(&from.image);
        let kind = PlanErrorKind::BlankBase(from.image.value.clone());
        Err(PlanError::new(kind, from.image.span.clone()).help(help))
    }

    /// What to do about a word of `FROM` that came to nothing.
    fn near_argument(&self, word: &Word) -> String {
        let names: Vec<&str> = self.globals.names().collect();
        let unset = self.expander.word(&word.value, self.globals).map(|word| word.unset).unwrap_or_default();
        match unset.iter().find_map(|name| suggest::nearest(name, &names)) {
            Some(near) => format!("did you mean the argument `{near}`?"),
            None => "only an ARG before the first FROM can be used in FROM".to_owned(),
        }
    }

    fn platform(&self, flag: &Word) -> Result<Platform, PlanError> {
        let text = self.global(flag)?;
        if text.is_empty() {
            let kind = PlanErrorKind::BlankPlatform(flag.value.clone());
            return Err(PlanError::new(kind, flag.span.clone()).help(self.near_argument(flag)));
        }
        text.parse().map_err(|error: crate::platform::ParsePlatformError| {
            let error = PlanError::new(error.into(), flag.span.clone());
            if flag.value.contains('$') { error.help(self.near_argument(flag)) } else { error }
        })
    }

    fn global(&self, word: &Word) -> Result<String, PlanError> {
        let expanded = self.expander.word(&word.value, self.globals);
        expanded.map(|word| word.text.into_owned()).map_err(|error| PlanError::expand(error, word))
    }

    /// What `FROM` means: a stage further up, nothing, a named context, an image.
    fn base(&mut self, name: &str, platform: &Platform, from: &From, index: usize) -> Result<Base, PlanError> {
        if let Some(other) = self.names.before(name, index) {
            return Ok(Base::Stage(other));
        }
        self.outside(name, platform, &from.image.span)
    }

    /// What a name means that is no stage.
    fn outside(&mut self, name: &str, platform: &Platform, span: &Span) -> Result<Base, PlanError> {
        if name == "scratch" {
            return Ok(Base::Scratch);
        }
        if let Some(context) = self.context(name, platform, span)? {
            return Ok(context);
        }
        self.resolve(name, platform, span).map(Base::Image)
    }

    /// What the user gave a name to.
    fn context(&mut self, name: &str, platform: &Platform, span: &Span) -> Result<Option<Base>, PlanError> {
        let Some((name, context)) = self.options.named_context(name, platform) else { return Ok(None) };
        let content = match context {
            NamedContext::Image(reference) if reference == "scratch" => return Ok(Some(Base::Scratch)),
            NamedContext::Image(reference) => Content::Image(self.resolve(reference, platform, span)?),
            NamedContext::Files(source) => Content::Files(source.clone()),
            NamedContext::Target(target) => Content::Target(target.clone()),
        };
        Ok(Some(Base::Context(Rc::new(Context { name, content }))))
    }

    fn resolve(&mut self, name: &str, platform: &Platform, span: &Span) -> Result<Rc<ResolvedImage>, PlanError> {
        let key = format!("{platform} {name}");
        if let Some(image) = self.resolved.get(&key) {
            return Ok(Rc::clone(image));
        }
        let image = self.images.resolve(name, Some(&platform.to_string())).map_err(|error| {
            let near = if self.names.contains(name) {
                Some(format!(
                    "a stage `{name}` is defined, but not above this line: stages can only use stages above them, and never \
                     themselves in a circle."
                ))
            } else {
                self.names.suggestion(name).map(|near| format!("did you mean the stage `{near}`?"))
            };
            let help = match (near, &error.help) {
                (Some(near), Some(help)) => Some(format!("{near} Otherwise: {help}")),
                (near, help) => near.or_else(|| help.clone()),
            };
            PlanError::new(PlanErrorKind::Image(error), span.clone()).help(help)
        })?;
        let image = Rc::new(image);
        self.resolved.insert(key, Rc::clone(&image));
        Ok(image)
    }

    /// The instructions that a base leaves for what is built on top of it.
    fn triggers(&self, base: &Base, stage: &Stage, arguments: &mut BuildArguments) -> Result<Vec<Step<'a>>, PlanError> {
        let triggers = match base {
            Base::Scratch => return Ok(Vec::new()),
            Base::Stage(other) => return Ok(self.stage_triggers(*other)),
            Base::Image(image) => &image.config.config.on_build,
            Base::Context(context) => match &context.content {
                Content::Files(_) => return Ok(Vec::new()),
                Content::Image(image) => &image.config.config.on_build,
                Content::Target(target) => &target.config.config.on_build,
            },
        };
        image_triggers(triggers, &stage.from.span, arguments)
    }

    /// The triggers that a stage's own `ONBUILD`s leave for the stages on top of it.
    fn stage_triggers(&self, base: usize) -> Vec<Step<'a>> {
        let commands = self.file.stages[base].instructions.iter().map(|instruction| &instruction.command);
        commands
            .filter_map(|command| match command {
                Command::Onbuild(onbuild) => Some(&*onbuild.instruction),
                _ => None,
            })
            .map(|instruction| Step::new(Cow::Borrowed(instruction), true, None))
            .collect()
    }

    /// Where an instruction of stage `index` takes files from.
    fn sources(&mut self, instruction: &Instruction, index: usize) -> Result<Vec<Option<Base>>, PlanError> {
        match &instruction.command {
            Command::Copy(copy) => {
                let Some(from) = names::copy_from(copy) else { return Ok(Vec::new()) };
                let has_paths = copy.sources.iter().any(|source| matches!(source, CopySource::Path(_)));
                let base = self.reference(from, index, None)?;
                Ok(vec![has_paths.then_some(base)])
            }
            Command::Run(run) => {
                let mounts = run.mounts.iter().map(|mount| {
                    let from = names::mount_from(mount);
                    from.map(|from| self.reference(from, index, Some(mount.target()))).transpose()
                });
                mounts.collect()
            }
            _ => Ok(Vec::new()),
        }
    }

    /// What the `from` of a copy, or of a mount at `mounted`, means in stage `index`.
    fn reference(&mut self, from: &Word, index: usize, mounted: Option<&str>) -> Result<Base, PlanError> {
        match self.names.reference(from, index, self.expander)? {
            Reference::Stage(other) if other < index => Ok(Base::Stage(other)),
            Reference::Stage(other) => {
                let stage = self.names.shown(index).to_owned();
                let kind = match mounted {
                    _ if other == index => PlanErrorKind::Circular(stage),
                    None => PlanErrorKind::CopyFromLater { from: from.value.clone(), stage },
                    Some(target) => {
                        PlanErrorKind::MountFromLater { from: from.value.clone(), target: target.to_owned() }
                    }
                };
                let help = "a stage can use files of the stages above it only: move the other one up".to_owned();
                Err(PlanError::new(kind, from.span.clone()).help(help))
            }
            Reference::Other => {
                let platform = self.options.platform.clone();
                self.outside(&from.value, &platform, &from.span)
            }
        }
    }
}

/// The triggers of a base image, which are text.
fn image_triggers<'a>(
    triggers: &[String],
    from: &Span,
    arguments: &mut BuildArguments,
) -> Result<Vec<Step<'a>>, PlanError> {
    let mut steps = Vec::new();
    for trigger in triggers {
        let blame = |kind: PlanErrorKind| PlanError::new(kind, from.clone()).in_trigger(trigger, Some(from));
        let instruction = parser::parse_instruction(trigger)
            .map_err(|error| blame(PlanErrorKind::Trigger(error.error.to_string())))?;
        if matches!(instruction.command, Command::From(_) | Command::Onbuild(_) | Command::Maintainer(_)) {
            return Err(blame(PlanErrorKind::TriggerKeyword(instruction.command.keyword())));
        }
        arguments.declare(&instruction.command);
        steps.push(Step::new(Cow::Owned(instruction), true, Some(from.clone())));
    }
    Ok(steps)
}
