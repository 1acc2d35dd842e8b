//! Checks of `FROM`: its arguments and its platform.

use crate::ast::{From, Instruction, Stage, Word};
use crate::expand::{Expanded, Variables};
use crate::go_text;
use crate::lint::reach::{Base, Reach, Reached};
use crate::lint::reference::is_reference;
use crate::lint::report::{Place, Reporter};
use crate::lint::rule::{
    FROM_PLATFORM_FLAG_CONST_DISALLOWED, INVALID_BASE_IMAGE_PLATFORM, INVALID_DEFAULT_ARG_IN_FROM,
    REDUNDANT_TARGET_PLATFORM, UNDEFINED_ARG_IN_FROM,
};
use crate::lint::scope;
use crate::lint::scope::Given;
use crate::plan::environment::Environment;
use crate::platform::Platform;
use crate::suggest;

const TARGET_PLATFORM: &str = "TARGETPLATFORM";

/// What the `FROM`s of a file are checked against.
pub(super) struct Froms<'a> {
    pub(super) given: &'a Given<'a>,
    /// The arguments as they are without any on the command line; `None` when they can't be worked out.
    pub(super) defaults: Option<&'a Environment>,
    /// The names that the `ARG`s before the first `FROM` declare, with or without a value.
    pub(super) declared: Vec<&'a str>,
    pub(super) reach: &'a Reach<'a>,
}

impl Froms<'_> {
    /// Checks one, whether or not a build needs its stage.
    pub(super) fn check(&self, index: usize, stage: &Stage, reporter: &mut Reporter) {
        let from = &stage.from;
        let place = Place::of(from);
        self.default(index, from, &place, reporter);
        self.arguments(&from.command.image, &place, reporter);
        if let Some(platform) = &from.command.platform
            && let Some(expanded) = self.arguments(platform, &place, reporter)
        {
            self.platform(stage, platform, &expanded, &place, reporter);
        }
    }

    /// Without any `--build-arg` the image should still have a name.
    fn default(&self, index: usize, from: &Instruction<From>, place: &Place<'_>, reporter: &mut Reporter) {
        let image = &from.command.image;
        let Some(Ok(name)) = self.defaults.map(|defaults| self.given.expander.word(&image.value, defaults)) else {
            return;
        };
        if is_reference(&name.text) || self.reach.before(&name.text, index).is_some() {
            return;
        }
        let message = format!("Default value for ARG {} results in empty or invalid base image name", image.value);
        reporter.report(&INVALID_DEFAULT_ARG_IN_FROM, place, image.span.clone(), message);
    }

    fn arguments<'w>(&self, word: &'w Word, place: &Place<'_>, reporter: &mut Reporter) -> Option<Expanded<'w>> {
        let expanded = self.given.expander.word(&word.value, self.given.globals).ok()?;
        for name in expanded.unset.iter().filter(|name| !self.declared.contains(&name.as_str())) {
            let known = self.given.globals.names().chain(self.declared.iter().copied());
            let near = suggest::nearest_name(name, known);
            let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            let message = format!("FROM argument '{name}' is not declared{hint}");
            reporter.report(&UNDEFINED_ARG_IN_FROM, place, scope::place(word, name), message);
        }
        Some(expanded)
    }

    fn platform(
        &self,
        stage: &Stage,
        word: &Word,
        expanded: &Expanded<'_>,
        place: &Place<'_>,
        reporter: &mut Reporter,
    ) {
        match (&expanded.used[..], expanded.unset.is_empty()) {
            // No variable at all.
            ([], true) => {
                let Ok(platform) = expanded.text.parse::<Platform>() else { return };
                // A stage for one platform says so in its name.
                let name = stage.name().unwrap_or_default();
                if !name.contains(&platform.os) && !name.contains(&platform.architecture) {
                    let platform = go_text::quote(&expanded.text);
                    let message = format!("FROM --platform flag should not use constant value {platform}");
                    reporter.report(&FROM_PLATFORM_FLAG_CONST_DISALLOWED, place, word.span.clone(), message);
                }
            }
            ([name], true)
                if name == TARGET_PLATFORM && self.given.globals.get(TARGET_PLATFORM) == Some(&expanded.text) =>
            {
                let message = format!(
                    "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
                    word.value
                );
                reporter.report(&REDUNDANT_TARGET_PLATFORM, place, word.span.clone(), message);
            }
            _ => {}
        }
    }
}

/// The base image of a stage that is built should be for the platform of the stage.
pub(super) fn base_platform(stage: &Stage, reached: &Reached<'_>, reporter: &mut Reporter) {
    let Base::Image(config) = &reached.base else { return };
    let (expected, actual) = (&reached.platform, config.platform());
    let differs = (&actual.os, &actual.architecture) != (&expected.os, &expected.architecture);
    if differs && !actual.os.is_empty() && !actual.architecture.is_empty() {
        let message = format!(
            "Base image {} was pulled with platform {}, expected {} for current build",
            reached.base_name,
            go_text::quote(&actual.to_string()),
            go_text::quote(&expected.to_string())
        );
        let focus = stage.from.command.image.span.clone();
        reporter.report(&INVALID_BASE_IMAGE_PLATFORM, &Place::of(&stage.from), focus, message);
    }
}
