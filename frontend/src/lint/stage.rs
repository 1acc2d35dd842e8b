//! Checks of the stages that a build needs, with the variables that their instructions see.

use crate::ast::{Add, Command, CommandLine, Copy, CopySource, KeyValues, MountKey, Span, Stage, Word};
use crate::config::ImageConfig;
use crate::expand::ExpandError;
use crate::go_text;
use crate::lint::from::base_platform;
use crate::lint::layers::{Copied, Layers};
use crate::lint::reach::{Base, Reached};
use crate::lint::report::{Place, Reporter};
use crate::lint::rule::{
    COPY_IGNORED_FILE, EXPOSE_INVALID_FORMAT, EXPOSE_PROTO_CASING, JSON_ARGS_RECOMMENDED, LEGACY_KEY_VALUE_FORMAT,
    MULTIPLE_INSTRUCTIONS_DISALLOWED, SECRETS_USED_IN_ARG_OR_ENV, UNDEFINED_VAR, WORKDIR_RELATIVE_PATH,
};
use crate::lint::scope::{Given, Scope};
use crate::lint::{Facts, layers, secret};
use crate::plan::paths;
use crate::suggest;

/// A stage after its last instruction, for the stages on top of it.
#[derive(Debug, Clone)]
struct Ended<'a> {
    scope: Scope<'a>,
    layers: Layers,
}

/// Checks stages from the first to the last.
pub(super) struct Stages<'a> {
    facts: &'a Facts<'a>,
    given: &'a Given<'a>,
    /// Whether to look at what lands in the layers, which only experimental checks do.
    layers: bool,
    ended: Vec<Option<Ended<'a>>>,
}

/// One stage.
struct StageCheck<'a, 'r> {
    facts: &'a Facts<'a>,
    scope: Scope<'a>,
    layers: Option<Layers>,
    /// The last of each kind, because only that one counts.
    last: [Option<Place<'a>>; 3],
    reporter: &'r mut Reporter,
}

impl<'a> Stages<'a> {
    pub(super) fn new(facts: &'a Facts<'a>, given: &'a Given<'a>, layers: bool) -> Self {
        Self { facts, given, layers, ended: Vec::new() }
    }

    /// Checks the next stage; `None` when no build needs it.
    pub(super) fn check(&mut self, stage: &'a Stage, reached: Option<&'a Reached<'a>>, reporter: &mut Reporter) {
        let ended = reached.and_then(|reached| self.stage(stage, reached, reporter));
        self.ended.push(ended);
    }

    fn stage(&self, stage: &'a Stage, reached: &'a Reached<'a>, reporter: &mut Reporter) -> Option<Ended<'a>> {
        base_platform(stage, reached, reporter);
        let begin = |config: &ImageConfig, is_known| Ended {
            scope: Scope::new(self.given, config, is_known),
            layers: Layers::default(),
        };
        let Ended { scope, layers } = match &reached.base {
            Base::Replaced => return None,
            Base::Stage(base) => self.ended.get(*base)?.clone()?,
            Base::Image(config) => begin(config, true),
            Base::Scratch => begin(&ImageConfig::scratch(&reached.platform), true),
            Base::Unknown => {
                if !reached.base_name.is_empty() {
                    reporter.unknown_image(&reached.base_name);
                }
                begin(&ImageConfig::scratch(&reached.platform), false)
            }
        };
        let layers = self.layers.then(|| layers.inherit());
        let mut check = StageCheck { facts: self.facts, scope, layers, last: [None, None, None], reporter };
        let triggers = reached.triggers.iter().map(|trigger| {
            // A trigger stands in another place, or in another file.
            (&trigger.command, trigger.keyword.as_str(), Place::of(&stage.from), Some(&stage.from.command.image.span))
        });
        let own = stage.instructions.iter().map(|one| (&one.command, one.keyword.as_str(), Place::of(one), None));
        for (command, keyword, place, focus) in triggers.chain(own) {
            // What can't be expanded is an error, and planning tells it.
            check.instruction(command, keyword, &place, focus).ok()?;
        }
        Some(Ended { scope: check.scope, layers: check.layers.unwrap_or_default() })
    }
}

impl<'a> StageCheck<'a, '_> {
    /// Checks an instruction. `elsewhere` is where to point when it does not stand in the file.
    fn instruction(
        &mut self,
        command: &Command,
        keyword: &str,
        place: &Place<'a>,
        elsewhere: Option<&Span>,
    ) -> Result<(), ExpandError> {
        let focus = |span: &Span| elsewhere.unwrap_or(span).clone();
        match command {
            Command::Env(pairs) => self.pairs(pairs, keyword, place, elsewhere),
            Command::Label(pairs) => {
                self.pairs(pairs, keyword, place, elsewhere);
                for pair in &pairs.items {
                    self.scope.expand(&pair.key)?;
                    self.scope.expand(&pair.value)?;
                }
            }
            Command::Workdir(path) => self.workdir(path, place, elsewhere)?,
            Command::Copy(copy) => self.copy(copy, place, elsewhere)?,
            Command::Add(add) => self.add(add, place, elsewhere)?,
            Command::Run(run) => {
                let options = run.mounts.iter().flat_map(|mount| &mount.options);
                for value in options.filter(|option| option.key != MountKey::From).filter_map(|one| one.value.as_ref())
                {
                    self.scope.expand(value)?;
                }
                if let Some(layers) = &mut self.layers {
                    layers.run(run, place, self.reporter);
                }
            }
            Command::User(word) | Command::Stopsignal(word) => drop(self.scope.expand(word)?),
            Command::Volume(words) => {
                for word in words {
                    self.scope.expand(word)?;
                }
            }
            Command::Expose(words) => self.expose(words, place, elsewhere)?,
            Command::Cmd(line) => {
                self.only_the_last(0, keyword, place);
                self.json(line, keyword, place, elsewhere);
            }
            Command::Entrypoint(line) => {
                self.only_the_last(1, keyword, place);
                self.json(line, keyword, place, elsewhere);
            }
            Command::Healthcheck(_) => self.only_the_last(2, keyword, place),
            Command::Arg(_) | Command::From(_) | Command::Maintainer(_) | Command::Onbuild(_) | Command::Shell(_) => {}
        }
        let set = self.scope.apply(command)?;
        for (name, span) in set.iter().filter(|(name, _)| secret::is_secret_name(name)) {
            let message = format!(
                "Do not use ARG or ENV instructions for sensitive data ({} {})",
                command.keyword(),
                go_text::quote(name)
            );
            self.reporter.report(&SECRETS_USED_IN_ARG_OR_ENV, place, focus(span), message);
        }
        self.undefined(place, elsewhere);
        Ok(())
    }

    /// Variables that nobody has set.
    fn undefined(&mut self, place: &Place<'_>, elsewhere: Option<&Span>) {
        for unset in self.scope.take_unset() {
            let is_worth_it = !self.reporter.is_crowded();
            let near = is_worth_it.then(|| suggest::nearest_name(&unset.name, self.scope.names())).flatten();
            // Images set variables in upper case: without the image, such a name may well be one of its own.
            let is_conventional = unset.name.contains(|c: char| c.is_ascii_lowercase());
            if !self.scope.is_known && near.is_none() && !is_conventional {
                continue;
            }
            let hint = near.map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
            let message = format!("Usage of undefined variable '${}'{hint}", unset.name);
            let focus = elsewhere.cloned().unwrap_or(unset.span);
            self.reporter.report(&UNDEFINED_VAR, place, focus, message);
        }
    }

    fn pairs(&mut self, pairs: &KeyValues, keyword: &str, place: &Place<'_>, elsewhere: Option<&Span>) {
        if pairs.legacy
            && let Some(pair) = pairs.items.first()
        {
            let message =
                format!("\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format");
            let focus = elsewhere.cloned().unwrap_or(pair.key.span.start..pair.value.span.end.max(pair.key.span.end));
            self.reporter.report(&LEGACY_KEY_VALUE_FORMAT, place, focus, message);
        }
    }

    fn workdir(&mut self, path: &Word, place: &Place<'_>, elsewhere: Option<&Span>) -> Result<(), ExpandError> {
        if self.scope.has_workdir {
            return Ok(());
        }
        let mut ahead = self.scope.clone();
        let expanded = ahead.expand(path)?;
        if !expanded.starts_with('/') {
            let path_text = go_text::quote(&expanded);
            let message = format!("Relative workdir {path_text} can have unexpected results if the base image changes");
            let focus = elsewhere.unwrap_or(&path.span).clone();
            self.reporter.report(&WORKDIR_RELATIVE_PATH, place, focus, message);
        }
        Ok(())
    }

    /// A shell gets the signals that are meant for the program.
    fn json(&mut self, line: &CommandLine, keyword: &str, place: &Place<'_>, elsewhere: Option<&Span>) {
        if let CommandLine::Shell(text) = line
            && !self.scope.has_shell
        {
            let message = format!(
                "JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals"
            );
            let focus = elsewhere.unwrap_or(&text.span).clone();
            self.reporter.report(&JSON_ARGS_RECOMMENDED, place, focus, message);
        }
    }

    /// The one before has no effect: that is the place of the finding.
    fn only_the_last(&mut self, kind: usize, keyword: &str, place: &Place<'a>) {
        let Some(slot) = self.last.get_mut(kind) else { return };
        if let Some(before) = slot.replace(place.clone()) {
            // Comments above either of the two silence it.
            let comments = if before.comments.is_empty() { place.comments } else { before.comments };
            let message = format!(
                "Multiple {keyword} instructions should not be used in the same stage because only the last one will be used"
            );
            let place = Place { span: before.span.clone(), comments };
            self.reporter.report(&MULTIPLE_INSTRUCTIONS_DISALLOWED, &place, before.span, message);
        }
    }

    fn expose(&mut self, words: &[Word], place: &Place<'_>, elsewhere: Option<&Span>) -> Result<(), ExpandError> {
        for word in words {
            for port in self.scope.expand_all(word)? {
                let (front, container) =
                    port.rsplit_once(':').map_or(("", port.as_str()), |(front, port)| (front, port));
                let protocol = container.split_once('/').map_or("", |(_, protocol)| protocol);
                let focus = || elsewhere.unwrap_or(&word.span).clone();
                if protocol.chars().any(char::is_uppercase) {
                    let message = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
                    self.reporter.report(&EXPOSE_PROTO_CASING, place, focus(), message);
                }
                if !front.is_empty() {
                    let message = format!(
                        "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
                    );
                    self.reporter.report(&EXPOSE_INVALID_FORMAT, place, focus(), message);
                }
            }
        }
        Ok(())
    }

    fn copy(&mut self, copy: &Copy, place: &Place<'a>, elsewhere: Option<&Span>) -> Result<(), ExpandError> {
        for word in [&copy.chown, &copy.chmod].into_iter().flatten() {
            self.scope.expand(word)?;
        }
        let is_context = copy.from.is_none();
        let sources = self.sources("Copy", &copy.sources, is_context, place, elsewhere)?;
        let dest = self.scope.expand(&copy.dest)?;
        if let Some(layers) = &mut self.layers {
            layers::secrets("COPY", &sources, place, elsewhere, self.reporter);
            let copied = Copied {
                from: copy.from.as_ref().map(|from| from.value.to_lowercase()),
                sources,
                heredocs: copy
                    .sources
                    .iter()
                    .filter_map(CopySource::heredoc)
                    .map(|one| one.name.value.clone())
                    .collect(),
                dest: paths::destination(&self.scope.workdir, &dest),
                is_filtered: copy.parents || !copy.exclude.is_empty(),
            };
            layers.copy(copied, place, elsewhere, self.reporter);
        }
        Ok(())
    }

    fn add(&mut self, add: &Add, place: &Place<'a>, elsewhere: Option<&Span>) -> Result<(), ExpandError> {
        for word in [&add.chown, &add.chmod, &add.checksum].into_iter().flatten() {
            self.scope.expand(word)?;
        }
        let sources = self.sources("Add", &add.sources, true, place, elsewhere)?;
        self.scope.expand(&add.dest)?;
        if self.layers.is_some() {
            layers::secrets("ADD", &sources, place, elsewhere, self.reporter);
        }
        Ok(())
    }

    /// The paths with the places where they stand.
    fn sources(
        &mut self,
        verb: &str,
        sources: &[CopySource],
        is_context: bool,
        place: &Place<'_>,
        elsewhere: Option<&Span>,
    ) -> Result<Vec<(String, Span)>, ExpandError> {
        let mut found = Vec::with_capacity(sources.len());
        for source in sources {
            let word = match source {
                CopySource::Heredoc(heredoc) => {
                    self.scope.use_heredoc(heredoc)?;
                    continue;
                }
                CopySource::Path(word) => word,
            };
            let path = self.scope.expand(word)?;
            if is_remote(&path) {
                continue;
            }
            let relative = paths::source(&path, false);
            if is_context && relative != "." && (self.facts.ignored)(&relative) {
                let path = go_text::quote(&clean(&path));
                let message = format!("Attempting to {verb} file {path} that is excluded by .dockerignore");
                let focus = elsewhere.unwrap_or(&word.span).clone();
                self.reporter.report(&COPY_IGNORED_FILE, place, focus, message);
            }
            found.push((path, word.span.clone()));
        }
        Ok(found)
    }
}

/// A source that is not in the context.
fn is_remote(source: &str) -> bool {
    let lower = source.to_ascii_lowercase();
    source.contains("://") || lower.starts_with("git@")
}

/// A path without `.` and doubled slashes, as people wrote it otherwise.
fn clean(path: &str) -> String {
    let clean = paths::source(path, false);
    if path.starts_with('/') { format!("/{clean}") } else { clean }
}
