//! `SOURCE_DATE_EPOCH`: the time that the build pretends to be at.
//!
//! | value | time |
//! |---|---|
//! | a number | so many seconds after 1970 |
//! | `context` | of the build context: of its commit or archive; a directory has none |
//! | the name of a `--build-context` | of that context |
//! | the name of a stage | of what its only `ADD` brings in; the stage is `FROM scratch`, `ARG`s and that `ADD` |
//!
//! Whatever it is, instructions see the number, and nothing when there is no time.

use std::ops::RangeInclusive;

use builder_solver::Source;

use crate::ast::{Add, Command, CopySource, Dockerfile, Span, Stage, Word};
use crate::expand::{Expander, Variables};
use crate::plan::arguments::BuildArguments;
use crate::plan::environment::Environment;
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::remote::{self, Place};
use crate::plan::{BuildOptions, Images, NamedContext};

const NAME: &str = "SOURCE_DATE_EPOCH";

/// The times that can be written down, in seconds after 1970: from the year 0 to where every time zone is still in 9999.
pub const EPOCHS: RangeInclusive<i64> = -62_167_219_200..=253_402_207_200;

/// Where the time is looked for.
pub(super) struct Epoch<'a> {
    pub(super) file: &'a Dockerfile,
    pub(super) options: &'a BuildOptions,
    pub(super) images: &'a dyn Images,
    pub(super) expander: Expander,
}

impl Epoch<'_> {
    /// The time, which takes the place of what the command line or a global `ARG` says.
    pub(super) fn resolve(
        &self,
        arguments: &mut BuildArguments,
        globals: &mut Environment,
    ) -> Result<Option<i64>, PlanError> {
        let given = arguments.get(NAME).map(str::to_owned);
        let global = || globals.get(NAME).filter(|text| !text.is_empty()).map(str::to_owned);
        let span = if given.is_some() { None } else { self.span() };
        let Some(text) = given.or_else(global) else { return Ok(None) };
        let time = self.time(&text, span, arguments, globals)?;
        let shown = time.map(|time| time.to_string());
        arguments.replace(NAME, shown.as_deref());
        globals.replace(NAME, shown.as_deref());
        Ok(time)
    }

    /// The `ARG` before the first `FROM` that says it.
    fn span(&self) -> Option<Span> {
        let items = self.file.global_args.iter().rev().flat_map(|arg| arg.command.items.iter().rev());
        let item = items.into_iter().find(|item| item.key.value == NAME)?;
        item.default.as_ref().map(|word| word.span.clone())
    }

    fn time(
        &self,
        text: &str,
        span: Option<Span>,
        arguments: &BuildArguments,
        globals: &Environment,
    ) -> Result<Option<i64>, PlanError> {
        if text.is_empty() {
            return Ok(None);
        }
        if let Some(seconds) = text.parse().ok().filter(|seconds| EPOCHS.contains(seconds)) {
            return Ok(Some(seconds));
        }
        let (source, span) = if text == "context" {
            (Source::Local { name: self.options.context.clone() }, span)
        } else if let Some((_, context)) = self.options.named_context(text, &self.options.build_platform) {
            match context {
                NamedContext::Files(name) => (Source::Local { name: name.clone() }, span),
                NamedContext::Image(_) | NamedContext::Target(_) => return Ok(None),
            }
        } else if let Some(stage) = self.stage(text) {
            let (source, span) = self.stage_source(stage, arguments, globals)?;
            (source, Some(span))
        } else {
            let help = "give a number of seconds, `context`, or the name of a build context or of a stage".to_owned();
            return Err(PlanError::new(PlanErrorKind::SourceDateEpoch(text.to_owned()), span).help(help));
        };
        let time = self.images.source_time(&source).map_err(|error| {
            let help = error.help.clone();
            PlanError::new(PlanErrorKind::EpochSource(error), span).help(help)
        })?;
        // Whoever made a commit chose its time.
        Ok(time.map(|time| time.clamp(*EPOCHS.start(), *EPOCHS.end())))
    }

    fn stage(&self, name: &str) -> Option<&Stage> {
        self.file.stages.iter().find(|stage| stage.name().is_some_and(|known| known.eq_ignore_ascii_case(name)))
    }

    /// What the only `ADD` of a stage brings in, and where it stands.
    fn stage_source(
        &self,
        stage: &Stage,
        arguments: &BuildArguments,
        globals: &Environment,
    ) -> Result<(Source, Span), PlanError> {
        const ONE: &str = "it must have exactly one ADD, of one URL or git repository";
        let fail = |reason, span: &Span| {
            let stage = stage.name().unwrap_or_default();
            PlanError::new(PlanErrorKind::EpochStage { stage, reason }, span.clone())
        };
        let mut env = globals.clone();
        env.replace(NAME, None);
        let expand = |word: &Word, env: &Environment| {
            let word_or = self.expander.word(&word.value, env).map(|word| word.text.into_owned());
            word_or.map_err(|error| PlanError::expand(error, word))
        };
        let from = &stage.from.command.image;
        if expand(from, &env)? != "scratch" {
            return Err(fail("it must begin with `FROM scratch`", &from.span));
        }
        let mut found = None;
        for instruction in &stage.instructions {
            match &instruction.command {
                Command::Arg(arg) => {
                    for item in &arg.items {
                        match (arguments.get(item.key.as_str()), &item.default) {
                            (Some(given), _) => env.set(item.key.as_str(), given),
                            (None, Some(default)) => {
                                let value = expand(default, &env)?;
                                env.set(item.key.as_str(), &value);
                            }
                            (None, None) => {}
                        }
                    }
                }
                Command::Add(add) => {
                    let source = add_source(add, |word| expand(word, &env))?;
                    let span = instruction.span.clone();
                    match source {
                        Some(source) if found.is_none() => found = Some((source, span)),
                        _ => return Err(fail(ONE, &span)),
                    }
                }
                _ => return Err(fail("it may have nothing but ARG and one ADD", &instruction.span)),
            }
        }
        found.ok_or_else(|| fail(ONE, &stage.from.span))
    }
}

/// What an `ADD` brings in, when that is one remote thing.
fn add_source(add: &Add, expand: impl Fn(&Word) -> Result<String, PlanError>) -> Result<Option<Source>, PlanError> {
    let [CopySource::Path(word)] = &add.sources[..] else { return Ok(None) };
    let path = expand(word)?;
    let checksum = match &add.checksum {
        Some(flag) => Some((expand(flag)?, flag)).filter(|(text, _)| !text.is_empty()),
        None => None,
    };
    Ok(match remote::place(&path, add.keep_git_dir.is_some(), word)? {
        Place::Path => None,
        Place::Url => Some(Source::Http(remote::http(&path, checksum)?)),
        Place::Git(address) => Some(Source::Git(remote::git(address, add.keep_git_dir, checksum, word)?)),
    })
}
