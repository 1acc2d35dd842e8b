//! Which stages a build needs, and what is known of their bases.
//!
//! Like the first half of [`crate::plan`], and yet not the same: nothing fails here. What cannot be worked out (a base
//! image that is not there, a variable without a value) is left open, so that the rest can still be checked.

use std::borrow::Cow;

use crate::ast::{Command, Dockerfile, Instruction, Word};
use crate::config::ImageConfig;
use crate::expand::Expander;
use crate::parser;
use crate::plan::environment::Environment;
use crate::plan::names::{self, Names, Reference};
use crate::plan::{BuildOptions, Images, NamedContext};
use crate::platform::Platform;

/// What a stage is built on.
#[derive(Debug)]
pub(crate) enum Base {
    /// Nothing.
    Scratch,
    /// A stage further up.
    Stage(usize),
    /// An image with this config.
    Image(Box<ImageConfig>),
    /// Nobody can tell.
    Unknown,
    /// It does not matter: a named context takes the stage's place.
    Replaced,
}

/// A stage that a build needs.
#[derive(Debug)]
pub(crate) struct Reached<'a> {
    pub(crate) base: Base,
    /// What `FROM` says once its variables are expanded.
    pub(crate) base_name: String,
    /// What it is built for.
    pub(crate) platform: Platform,
    /// The triggers of the base, which come before the stage's own instructions.
    pub(crate) triggers: Vec<Cow<'a, Instruction>>,
}

/// Finds stages.
pub(crate) struct Reach<'a> {
    file: &'a Dockerfile,
    options: &'a BuildOptions,
    images: &'a dyn Images,
    globals: &'a Environment,
    expander: Expander,
    names: Names,
}

impl<'a> Reach<'a> {
    pub(crate) fn new(
        file: &'a Dockerfile,
        options: &'a BuildOptions,
        images: &'a dyn Images,
        globals: &'a Environment,
        expander: Expander,
    ) -> Self {
        Self { file, options, images, globals, expander, names: Names::new(file) }
    }

    /// The stage to build; `None` when there is no such stage.
    pub(crate) fn target(&self) -> Option<usize> {
        self.names.target(self.options.target.as_deref()).ok().filter(|&index| index < self.file.stages.len())
    }

    /// The last stage of that name above stage `index`.
    pub(crate) fn before(&self, name: &str, index: usize) -> Option<usize> {
        self.names.before(name, index)
    }

    /// Everything that the stages in `wanted` need, at the stages' numbers.
    pub(crate) fn stages(&self, wanted: impl IntoIterator<Item = usize>) -> Vec<Option<Reached<'a>>> {
        let mut reached: Vec<Option<Reached<'a>>> = self.file.stages.iter().map(|_| None).collect();
        let mut open: Vec<usize> = wanted.into_iter().collect();
        while let Some(index) = open.pop() {
            if reached.get(index).is_none_or(Option::is_some) {
                continue;
            }
            let stage = self.stage(index);
            open.extend(self.needs(index, &stage));
            reached[index] = Some(stage);
        }
        reached
    }

    /// The stages that a stage refers to.
    pub(crate) fn needs(&self, index: usize, stage: &Reached<'_>) -> Vec<usize> {
        let mut needs = Vec::new();
        match stage.base {
            Base::Replaced => return needs,
            Base::Stage(base) => needs.push(base),
            _ => {}
        }
        let own = self.file.stages[index].instructions.iter();
        for instruction in stage.triggers.iter().map(AsRef::as_ref).chain(own) {
            needs.extend(names::froms(&instruction.command).filter_map(|from| self.source(from, index)));
        }
        needs
    }

    /// What `--from` means, if it is a stage. What it can't mean is an error, and planning says so.
    fn source(&self, from: &Word, index: usize) -> Option<usize> {
        match self.names.reference(from, index, self.expander) {
            Ok(Reference::Stage(stage)) => Some(stage),
            Ok(Reference::Other) | Err(_) => None,
        }
    }

    fn stage(&self, index: usize) -> Reached<'a> {
        let stage = &self.file.stages[index];
        let from = &stage.from.command;
        let expand = |word: &Word| self.expander.word(&word.value, self.globals).map(|word| word.text.into_owned());
        let base_name = expand(&from.image).unwrap_or_default();
        let explicit = from.platform.as_ref().and_then(|word| expand(word).ok()?.parse().ok());
        let platform: Platform = explicit.unwrap_or_else(|| self.options.platform.clone());
        let base = match stage.name().and_then(|name| self.context(&name, &platform)) {
            Some(_) => Base::Replaced,
            None => self.base(&base_name, index, &platform),
        };
        let triggers = match &base {
            Base::Stage(base) => self.stage_triggers(*base),
            Base::Image(config) => config
                .config
                .on_build
                .iter()
                .filter_map(|trigger| parser::parse_instruction(trigger).ok().map(Cow::Owned))
                .collect(),
            _ => Vec::new(),
        };
        Reached { base, base_name, platform, triggers }
    }

    fn base(&self, name: &str, index: usize, platform: &Platform) -> Base {
        if let Some(stage) = self.before(name, index) {
            return Base::Stage(stage);
        }
        match name {
            "" => return Base::Unknown,
            "scratch" => return Base::Scratch,
            _ => {}
        }
        match self.context(name, platform) {
            Some(NamedContext::Files(_)) => Base::Scratch,
            Some(NamedContext::Image(reference)) if reference == "scratch" => Base::Scratch,
            Some(NamedContext::Target(target)) => Base::Image(Box::new(target.config.clone())),
            Some(NamedContext::Image(reference)) => self.image(reference, platform),
            None => self.image(name, platform),
        }
    }

    fn image(&self, reference: &str, platform: &Platform) -> Base {
        // One for another platform is better than none.
        let found = self.images.resolve(reference, Some(&platform.to_string()));
        match found.or_else(|_| self.images.resolve(reference, None)) {
            Ok(image) => Base::Image(Box::new(image.config)),
            Err(_) => Base::Unknown,
        }
    }

    fn context(&self, name: &str, platform: &Platform) -> Option<&'a NamedContext> {
        self.options.named_context(name, platform).map(|(_, context)| context)
    }

    fn stage_triggers(&self, base: usize) -> Vec<Cow<'a, Instruction>> {
        let commands = self.file.stages[base].instructions.iter().map(|instruction| &instruction.command);
        commands
            .filter_map(|command| match command {
                Command::Onbuild(onbuild) => Some(Cow::Borrowed(&*onbuild.instruction)),
                _ => None,
            })
            .collect()
    }
}
