//! The variables that the instructions of a stage see, one instruction after the other.

use std::rc::Rc;

use crate::ast::{Arg, Command, Heredoc, KeyValues, Span, Word};
use crate::config::{DEFAULT_PATH, ImageConfig};
use crate::expand::{ExpandError, Expanded, Expander, Variables};
use crate::plan::arguments::{self, BuildArguments};
use crate::plan::environment::Environment;
use crate::plan::paths;

/// What is the same for all stages.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    /// The arguments of the command line.
    pub(crate) arguments: &'a BuildArguments,
    /// What a bare `ARG` falls back on.
    pub(crate) globals: &'a Environment,
    pub(crate) expander: Expander,
}

/// A variable that had no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unset {
    pub(crate) name: String,
    pub(crate) span: Span,
}

/// The variables of a stage so far.
#[derive(Debug, Clone)]
pub(crate) struct Scope<'a> {
    given: &'a Given<'a>,
    env: Rc<Environment>,
    /// Every name that an `ARG` declared, with or without a value.
    declared: Rc<Vec<String>>,
    /// Variables that had no value since somebody asked last.
    unset: Vec<Unset>,
    /// The base is known, and so are its variables.
    pub(crate) is_known: bool,
    /// Commands are not run by the default shell.
    pub(crate) has_shell: bool,
    /// `WORKDIR` was given in this file.
    pub(crate) has_workdir: bool,
    /// Where relative paths begin.
    pub(crate) workdir: String,
}

impl<'a> Scope<'a> {
    /// Begins with what an image says.
    pub(crate) fn new(given: &'a Given<'a>, image: &ImageConfig, is_known: bool) -> Self {
        let mut env = Environment::from_config(&image.config.env);
        if image.os != "windows" && env.get("PATH").is_none() {
            env.set("PATH", DEFAULT_PATH);
        }
        Self {
            given,
            env: Rc::new(env),
            declared: Rc::default(),
            unset: Vec::new(),
            is_known,
            has_shell: !image.config.shell.is_empty(),
            has_workdir: false,
            workdir: paths::working_directory("", &image.config.working_dir),
        }
    }

    /// The names that have a value.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.env.names()
    }

    /// The variables without a value that were used and that no `ARG` declares, each once.
    pub(crate) fn take_unset(&mut self) -> Vec<Unset> {
        let mut unset: Vec<Unset> = Vec::new();
        for variable in std::mem::take(&mut self.unset) {
            let is_expected = self.declared.contains(&variable.name) || !arguments::is_variable(&variable.name);
            if !is_expected && !unset.iter().any(|known| known.name == variable.name) {
                unset.push(variable);
            }
        }
        unset
    }

    /// Expands a word.
    pub(crate) fn expand(&mut self, word: &Word) -> Result<String, ExpandError> {
        let expanded = self.given.expander.word(&word.value, &*self.env)?;
        note(&mut self.unset, &expanded, word);
        Ok(expanded.text.into_owned())
    }

    /// Expands a word that may become several.
    pub(crate) fn expand_all(&self, word: &Word) -> Result<Vec<String>, ExpandError> {
        self.given.expander.words(&word.value, &*self.env)
    }

    /// Expands the body of a heredoc for what it uses.
    pub(crate) fn use_heredoc(&mut self, heredoc: &Heredoc) -> Result<(), ExpandError> {
        if heredoc.expand {
            let expanded = Expander::for_heredoc().word(&heredoc.body.value, &*self.env)?;
            note(&mut self.unset, &expanded, &heredoc.body);
        }
        Ok(())
    }

    /// Carries out an instruction that changes what the next ones see. Returns the names that `ENV` and `ARG` set.
    pub(crate) fn apply(&mut self, command: &Command) -> Result<Vec<(String, Span)>, ExpandError> {
        match command {
            Command::Env(pairs) => return self.env(pairs),
            Command::Arg(arg) => return self.arg(arg),
            Command::Shell(_) => self.has_shell = true,
            Command::Workdir(path) => {
                let path = self.expand(path)?;
                self.workdir = paths::working_directory(&self.workdir, &path);
                self.has_workdir = true;
            }
            _ => {}
        }
        Ok(Vec::new())
    }

    /// All see the environment as it was before the instruction.
    fn env(&mut self, pairs: &KeyValues) -> Result<Vec<(String, Span)>, ExpandError> {
        let mut set = Vec::with_capacity(pairs.items.len());
        for pair in &pairs.items {
            set.push((self.expand(&pair.key)?, self.expand(&pair.value)?, pair.key.span.clone()));
        }
        let env = Rc::make_mut(&mut self.env);
        for (name, value, _) in &set {
            env.set(name, value);
        }
        Ok(set.into_iter().map(|(name, _, span)| (name, span)).collect())
    }

    fn arg(&mut self, arg: &Arg) -> Result<Vec<(String, Span)>, ExpandError> {
        for item in &arg.items {
            let name = item.key.as_str();
            let value = match (self.given.arguments.get(name), &item.default) {
                (Some(given), _) => Some(given.to_owned()),
                (None, Some(default)) => Some(self.expand(default)?),
                (None, None) => self.given.globals.get(name).map(str::to_owned),
            };
            if let Some(value) = value.filter(|_| arguments::is_variable(name)) {
                Rc::make_mut(&mut self.env).set(name, &value);
            }
            Rc::make_mut(&mut self.declared).push(name.to_owned());
        }
        Ok(arg.items.iter().map(|item| (item.key.value.clone(), item.key.span.clone())).collect())
    }

    /// The value that a name has.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.env.get(name)
    }
}

fn note(unset: &mut Vec<Unset>, expanded: &Expanded<'_>, word: &Word) {
    for name in &expanded.unset {
        unset.push(Unset { name: name.clone(), span: place(word, name) });
    }
}

/// Where a word uses a variable.
pub(super) fn place(word: &Word, name: &str) -> Span {
    for (pattern, more) in [(format!("${{{name}"), 1), (format!("${name}"), 0)] {
        if let Some(at) = word.value.find(&pattern) {
            let end = at + pattern.len();
            let end = match word.value[end..].find('}') {
                Some(length) if more == 1 => end + length + 1,
                _ => end,
            };
            return word.sub_span(at..end);
        }
    }
    word.span.clone()
}
