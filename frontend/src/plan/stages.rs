//! Stages by name and number, and what the target needs.
//!
//! A stage only ever uses stages above it, so going from the target to the top once finds everything that is needed.
//! Base images are resolved on the way, because their `ONBUILD` triggers may need more stages; those of stages that
//! nothing needs are never looked at.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use crate::ast::{Command, CopySource, Dockerfile, Instruction, Span, Stage, Word};
use crate::expand::{Expander, NoVariables};
use crate::parser;
use crate::plan::arguments::BuildArguments;
use crate::plan::environment::Environment;
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::{BuildOptions, Images, ResolvedImage};
use crate::platform::Platform;
use crate::suggest;

/// The stages of a file by name.
pub(super) struct Names {
    /// Names are compared without case; several stages may have the same, in order.
    by_name: HashMap<String, Vec<usize>>,
    /// The name of each stage, or `stage-0` and so on.
    shown: Vec<String>,
}

impl Names {
    pub(super) fn new(file: &Dockerfile) -> Self {
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        let mut shown = Vec::with_capacity(file.stages.len());
        for (index, stage) in file.stages.iter().enumerate() {
            shown.push(stage.name().unwrap_or_else(|| format!("stage-{index}")));
            if let Some(name) = stage.name() {
                by_name.entry(name).or_default().push(index);
            }
        }
        Self { by_name, shown }
    }

    /// The name of a stage to show.
    pub(super) fn shown(&self, index: usize) -> &str {
        &self.shown[index]
    }

    /// The last stage of that name above stage `index`.
    fn before(&self, name: &str, index: usize) -> Option<usize> {
        let stages = self.by_name.get(&name.to_lowercase())?;
        stages[..stages.partition_point(|&stage| stage < index)].last().copied()
    }

    /// Whether any stage has that name.
    fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(&name.to_lowercase())
    }

    /// The stage to build.
    pub(super) fn target(&self, target: Option<&str>) -> Result<usize, PlanError> {
        let Some(target) = target else { return Ok(self.shown.len().saturating_sub(1)) };
        if let Some(index) = self.before(target, usize::MAX) {
            return Ok(index);
        }
        if let Some(index) = target.parse().ok().filter(|&index| index < self.shown.len()) {
            return Ok(index);
        }
        let help = match self.suggestion(target) {
            Some(near) => format!("did you mean `{near}`? The stages are: {}", self.shown.join(", ")),
            None => format!("the stages are: {}", self.shown.join(", ")),
        };
        Err(PlanError::new(PlanErrorKind::UnknownTarget(target.to_owned()), None).help(help))
    }

    fn suggestion(&self, name: &str) -> Option<&str> {
        let names: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
        suggest::nearest(name, &names)
    }
}

/// What a stage or a copy begins with.
#[derive(Debug, Clone)]
pub(super) enum Base {
    /// Nothing.
    Scratch,
    /// A stage further up.
    Stage(usize),
    /// An image.
    Image(Rc<ResolvedImage>),
}

/// An instruction to carry out: one of the stage, or a trigger of its base.
pub(super) struct Step<'a> {
    pub(super) instruction: Cow<'a, Instruction>,
    /// It is a trigger.
    pub(super) onbuild: bool,
    /// A trigger that does not stand in this file: the `FROM` that brought it in.
    pub(super) place: Option<Span>,
    /// Where `COPY --from` copies from.
    pub(super) from: Option<Base>,
}

impl Step<'_> {
    /// Puts an error of the instruction where the reader can see it.
    pub(super) fn blame(&self, error: PlanError) -> PlanError {
        if self.onbuild { error.in_trigger(&self.instruction.text.value, self.place.as_ref()) } else { error }
    }
}

/// A stage that the target needs.
pub(super) struct Needed<'a> {
    pub(super) base: Base,
    pub(super) base_name: String,
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
            for base in stage.steps.iter().filter_map(|step| step.from.as_ref()).chain([&stage.base]) {
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
        let (base, base_name) = self.base(stage, index)?;
        let mut steps = match &base {
            Base::Scratch => Vec::new(),
            Base::Stage(other) => self.stage_triggers(*other),
            Base::Image(image) => image_triggers(image, &stage.from.span, arguments)?,
        };
        steps.extend(stage.instructions.iter().map(|instruction| Step {
            instruction: Cow::Borrowed(instruction),
            onbuild: false,
            place: None,
            from: None,
        }));
        for step in &mut steps {
            step.from = self.copy_source(&step.instruction, index).map_err(|error| step.blame(error))?;
        }
        Ok(Needed { base, base_name, steps })
    }

    /// What `FROM` means.
    fn base(&mut self, stage: &Stage, index: usize) -> Result<(Base, String), PlanError> {
        let from = &stage.from.command;
        let name = self.global(&from.image)?;
        if name.is_empty() {
            let names: Vec<&str> = self.globals.names().collect();
            let unset = self.expander.word(&from.image.value, self.globals).map(|word| word.unset).unwrap_or_default();
            let near = unset.iter().find_map(|name| suggest::nearest(name, &names));
            let help = match near {
                Some(near) => format!("did you mean the argument `{near}`?"),
                None => "only an ARG before the first FROM can be used in FROM".to_owned(),
            };
            let kind = PlanErrorKind::BlankBase(from.image.value.clone());
            return Err(PlanError::new(kind, from.image.span.clone()).help(help));
        }
        let platform = self.platform(from.platform.as_ref(), &from.image)?;
        if let Some(other) = self.names.before(&name, index) {
            return Ok((Base::Stage(other), name));
        }
        if name == "scratch" {
            return Ok((Base::Scratch, name));
        }
        let image = self.resolve(&name, &platform, &from.image.span)?;
        Ok((Base::Image(image), name))
    }

    fn global(&self, word: &Word) -> Result<String, PlanError> {
        let expanded = self.expander.word(&word.value, self.globals);
        expanded.map(|word| word.text.into_owned()).map_err(|error| PlanError::expand(error, word))
    }

    /// The platform of a stage: this machine's, for now.
    fn platform(&self, flag: Option<&Word>, image: &Word) -> Result<Platform, PlanError> {
        let (platform, span) = match flag {
            Some(flag) => {
                let platform = self.global(flag)?.parse::<Platform>();
                (platform.map_err(|error| PlanError::new(error.into(), flag.span.clone()))?, &flag.span)
            }
            None => (self.options.platform.clone(), &image.span),
        };
        if platform == self.options.build_platform {
            return Ok(platform);
        }
        let what = format!("building for `{platform}` on a machine of `{}`", self.options.build_platform);
        Err(PlanError::new(PlanErrorKind::NotSupported(what), span.clone()))
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

    /// The triggers that a stage's own `ONBUILD`s leave for the stages on top of it.
    fn stage_triggers(&self, base: usize) -> Vec<Step<'a>> {
        let commands = self.file.stages[base].instructions.iter().map(|instruction| &instruction.command);
        commands
            .filter_map(|command| match command {
                Command::Onbuild(onbuild) => Some(&*onbuild.instruction),
                _ => None,
            })
            .map(|instruction| Step { instruction: Cow::Borrowed(instruction), onbuild: true, place: None, from: None })
            .collect()
    }

    /// What `COPY --from` of stage `index` means.
    fn copy_source(&mut self, instruction: &Instruction, index: usize) -> Result<Option<Base>, PlanError> {
        let Command::Copy(copy) = &instruction.command else { return Ok(None) };
        let Some(from) = &copy.from else { return Ok(None) };
        let has_paths = copy.sources.iter().any(|source| matches!(source, CopySource::Path(_)));
        self.reference(from, index).map(|base| has_paths.then_some(base))
    }

    /// A stage or image that an instruction of stage `index` refers to: `--from`.
    fn reference(&mut self, from: &Word, index: usize) -> Result<Base, PlanError> {
        let fail = |kind: PlanErrorKind| PlanError::new(kind, from.span.clone());
        let literal = self.expander.word(&from.value, &NoVariables).is_ok_and(|word| word.text == from.value);
        if !literal {
            let help = "name it with `FROM $… AS name` and copy from that stage".to_owned();
            return Err(fail(PlanErrorKind::VariableInFrom).help(help));
        }
        let stage = || self.names.shown(index).to_owned();
        if from.value.bytes().all(|b| b.is_ascii_digit()) && !from.value.is_empty() {
            let stages = self.file.stages.len();
            return match from.value.parse::<usize>() {
                Ok(other) if other < index => Ok(Base::Stage(other)),
                Ok(other) if other == index => Err(fail(PlanErrorKind::CopyFromItself(stage()))),
                Ok(other) if other < stages => {
                    Err(fail(PlanErrorKind::CopyFromLater { from: from.value.clone(), stage: stage() }))
                }
                _ => Err(fail(PlanErrorKind::StageIndex { index: from.value.clone(), stages })),
            };
        }
        if let Some(other) = self.names.before(&from.value, index) {
            return Ok(Base::Stage(other));
        }
        if self.names.before(&from.value, index + 1).is_some() {
            return Err(fail(PlanErrorKind::CopyFromItself(stage())));
        }
        if self.names.contains(&from.value) {
            return Err(fail(PlanErrorKind::CopyFromLater { from: from.value.clone(), stage: stage() }));
        }
        if from.value == "scratch" {
            return Ok(Base::Scratch);
        }
        let platform = self.options.platform.clone();
        self.resolve(&from.value, &platform, &from.span).map(Base::Image)
    }
}

/// The triggers of a base image, which are text.
fn image_triggers<'a>(
    image: &ResolvedImage,
    from: &Span,
    arguments: &mut BuildArguments,
) -> Result<Vec<Step<'a>>, PlanError> {
    let mut steps = Vec::new();
    for trigger in &image.config.config.on_build {
        let blame = |kind: PlanErrorKind| PlanError::new(kind, from.clone()).in_trigger(trigger, Some(from));
        let instruction = parser::parse_instruction(trigger)
            .map_err(|error| blame(PlanErrorKind::Trigger(error.error.to_string())))?;
        if matches!(instruction.command, Command::From(_) | Command::Onbuild(_) | Command::Maintainer(_)) {
            return Err(blame(PlanErrorKind::TriggerKeyword(instruction.command.keyword())));
        }
        arguments.declare(&instruction.command);
        steps.push(Step { instruction: Cow::Owned(instruction), onbuild: true, place: Some(from.clone()), from: None });
    }
    Ok(steps)
}
