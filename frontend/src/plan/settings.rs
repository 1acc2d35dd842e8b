//! What a stage has set so far: the image's config and the environment of its instructions.
//!
//! Everything here happens without a layer. The same code serves `import --change` ([`crate::changes`]).

use std::rc::Rc;

use crate::ast::{Command, CommandLine, Healthcheck, KeyValues, Word};
use crate::config::{self, ContainerConfig, DEFAULT_PATH, ImageConfig};
use crate::expand::{Expander, Variables};
use crate::plan::environment::Environment;
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::paths;
use crate::{go_text, history, ports, signal};

/// The config of an image in the making.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The config but for `Env`, which is kept in `image_env` until the end. Stages on top of each other share what
    /// they do not change.
    image: Rc<ImageConfig>,
    /// What `ENV` set: it goes into the image.
    image_env: Rc<Environment>,
    /// What instructions see: `image_env` and the build arguments, whichever came last.
    env: Rc<Environment>,
    /// `CMD` was given in this stage, so that `ENTRYPOINT` leaves it alone.
    has_command: bool,
}

/// What came of an instruction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It changed the config; the text for its history entry.
    Entry(String),
    /// It changed the config and leaves no trace in the history.
    Silently,
    /// It is not an instruction of this kind.
    Not,
}

impl Settings {
    /// Begins with what a base image says.
    pub(crate) fn new(mut image: ImageConfig) -> Self {
        let image_env = Rc::new(Environment::from_config(&std::mem::take(&mut image.config.env)));
        if !image.config.working_dir.is_empty() {
            image.config.working_dir = paths::working_directory("", &image.config.working_dir);
        }
        Self { image: Rc::new(image), env: Rc::clone(&image_env), image_env, has_command: false }
    }

    /// Gives the image a search path if it has none: every image that is built has one.
    #[must_use]
    pub(crate) fn with_path(mut self) -> Self {
        if self.image.os != "windows" && self.image_env.get("PATH").is_none() {
            Rc::make_mut(&mut self.image_env).set("PATH", DEFAULT_PATH);
            Rc::make_mut(&mut self.env).set("PATH", DEFAULT_PATH);
        }
        self
    }

    /// Begins a stage on top of another one.
    pub(crate) fn inherit(&self) -> Self {
        let mut child = self.clone();
        child.clear_triggers();
        child.has_command = false;
        child
    }

    /// The finished config.
    pub(crate) fn finish(self) -> ImageConfig {
        let mut image = Rc::unwrap_or_clone(self.image);
        image.config.env = self.image_env.to_config();
        image
    }

    fn image_mut(&mut self) -> &mut ImageConfig {
        Rc::make_mut(&mut self.image)
    }

    /// The image's config, without `Env`.
    pub(crate) fn config(&self) -> &ContainerConfig {
        &self.image.config
    }

    /// Forgets the triggers of the base: they run now.
    pub(crate) fn clear_triggers(&mut self) {
        if !self.image.config.on_build.is_empty() {
            self.image_mut().config.on_build.clear();
        }
    }

    /// What an instruction sees.
    pub(crate) fn env(&self) -> &Environment {
        &self.env
    }

    /// A build argument, seen by instructions and absent from the image.
    pub(crate) fn set_argument(&mut self, name: &str, value: &str) {
        Rc::make_mut(&mut self.env).set(name, value);
    }

    /// Where processes start, absolute.
    pub(crate) fn working_directory(&self) -> &str {
        let directory = self.image.config.working_dir.as_str();
        if directory.is_empty() { "/" } else { directory }
    }

    /// `text` for the shell.
    pub(crate) fn with_shell(&self, text: &str) -> Vec<String> {
        let mut command = self.image.config.shell.clone();
        if command.is_empty() {
            command = match self.image.os.as_str() {
                "windows" => vec!["cmd".to_owned(), "/S".to_owned(), "/C".to_owned()],
                _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
            };
        }
        command.push(text.to_owned());
        command
    }

    /// Expands a word of an instruction.
    pub(crate) fn expand(&self, expander: Expander, word: &Word) -> Result<String, PlanError> {
        let expanded = expander.word(&word.value, &*self.env);
        expanded.map(|word| word.text.into_owned()).map_err(|error| PlanError::expand(error, word))
    }

    /// `WORKDIR`: the new directory.
    pub(crate) fn set_working_directory(&mut self, expander: Expander, path: &Word) -> Result<&str, PlanError> {
        let path = self.expand(expander, path)?;
        self.image_mut().config.working_dir = paths::working_directory(&self.image.config.working_dir, &path);
        Ok(&self.image.config.working_dir)
    }

    /// Carries out an instruction that only changes the config.
    pub(crate) fn apply(&mut self, command: &Command, expander: Expander) -> Result<Applied, PlanError> {
        let text = match command {
            Command::Cmd(line) => {
                let command = self.command(line);
                let text = format!("CMD {}", go_text::quoted_list(&command));
                self.image_mut().config.cmd = command;
                self.image_mut().config.args_escaped = true;
                self.has_command = true;
                text
            }
            Command::Entrypoint(line) => {
                let command = self.command(line);
                let text = format!("ENTRYPOINT {}", go_text::quoted_list(&command));
                self.image_mut().config.entrypoint = command;
                if !self.has_command {
                    self.image_mut().config.cmd.clear();
                }
                text
            }
            Command::Env(pairs) => {
                let pairs = self.pairs(pairs, expander)?;
                for (name, value) in &pairs {
                    Rc::make_mut(&mut self.image_env).set(name, value);
                    Rc::make_mut(&mut self.env).set(name, value);
                }
                format!("ENV {}", joined(&pairs))
            }
            Command::Label(pairs) => {
                let pairs = self.pairs(pairs, expander)?;
                let text = format!("LABEL {}", joined(&pairs));
                self.image_mut().config.labels.extend(pairs);
                text
            }
            Command::Expose(words) => {
                let exposed = self.ports(words, expander)?;
                let text = format!("EXPOSE {}", go_text::list(&exposed));
                self.image_mut().config.exposed_ports.extend(exposed);
                text
            }
            Command::Volume(words) => {
                let mut volumes = Vec::with_capacity(words.len());
                for word in words {
                    let volume = self.expand(expander, word)?;
                    if volume.trim().is_empty() {
                        return Err(PlanError::new(PlanErrorKind::BlankVolume, word.span.clone()));
                    }
                    volumes.push(volume);
                }
                let text = format!("VOLUME {}", go_text::list(&volumes));
                self.image_mut().config.volumes.extend(volumes);
                text
            }
            Command::User(word) => {
                let user = self.expand(expander, word)?;
                let text = format!("USER {user}");
                self.image_mut().config.user = user;
                text
            }
            Command::Stopsignal(word) => {
                let name = self.expand(expander, word)?;
                if !signal::is_signal(&name) {
                    let help = "give a name such as `SIGTERM`, or a number".to_owned();
                    return Err(PlanError::new(PlanErrorKind::Signal(name), word.span.clone()).help(help));
                }
                let text = format!("STOPSIGNAL {name}");
                self.image_mut().config.stop_signal = name;
                text
            }
            Command::Healthcheck(check) => {
                let check = healthcheck(check);
                let text = history::healthcheck(&check);
                self.image_mut().config.healthcheck = Some(check);
                text
            }
            Command::Shell(words) => {
                self.image_mut().config.shell = values(words);
                format!("SHELL {}", go_text::list(&self.image.config.shell))
            }
            Command::Maintainer(word) => {
                self.image_mut().author.clone_from(&word.value);
                format!("MAINTAINER {}", word.value)
            }
            Command::Onbuild(onbuild) => {
                self.image_mut().config.on_build.push(onbuild.trigger.clone());
                return Ok(Applied::Silently);
            }
            Command::Add(_)
            | Command::Arg(_)
            | Command::Copy(_)
            | Command::From(_)
            | Command::Run(_)
            | Command::Workdir(_) => return Ok(Applied::Not),
        };
        Ok(Applied::Entry(text))
    }

    fn command(&self, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Shell(text) => self.with_shell(&text.value),
            CommandLine::Exec(words) => values(words),
        }
    }

    /// All see the environment as it was before the instruction.
    fn pairs(&self, pairs: &KeyValues, expander: Expander) -> Result<Vec<(String, String)>, PlanError> {
        let mut expanded = Vec::with_capacity(pairs.items.len());
        for pair in &pairs.items {
            let name = self.expand(expander, &pair.key)?;
            if name.is_empty() {
                return Err(PlanError::new(PlanErrorKind::BlankName, pair.key.span.clone()));
            }
            expanded.push((name, self.expand(expander, &pair.value)?));
        }
        Ok(expanded)
    }

    fn ports(&self, words: &[Word], expander: Expander) -> Result<Vec<String>, PlanError> {
        let mut ranges = Vec::new();
        for word in words {
            let split = expander.words(&word.value, &*self.env).map_err(|error| PlanError::expand(error, word))?;
            for port in split {
                let wrong = |error| PlanError::new(PlanErrorKind::Port(error), word.span.clone());
                ranges.push(ports::parse(&port).map_err(wrong)?);
            }
        }
        Ok(ports::list(&ranges))
    }
}

fn values(words: &[Word]) -> Vec<String> {
    words.iter().map(|word| word.value.clone()).collect()
}

fn joined(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(" ")
}

fn healthcheck(check: &Healthcheck) -> config::Healthcheck {
    let Healthcheck::Check { options, test } = check else {
        return config::Healthcheck { test: vec!["NONE".to_owned()], ..config::Healthcheck::default() };
    };
    let nanoseconds = |option: &Option<crate::ast::Spanned<std::time::Duration>>| {
        option.as_ref().map_or(0, |time| i64::try_from(time.value.as_nanos()).unwrap_or(i64::MAX))
    };
    let mut command = match test {
        CommandLine::Shell(text) => vec!["CMD-SHELL".to_owned(), text.value.clone()],
        CommandLine::Exec(_) => vec!["CMD".to_owned()],
    };
    if let CommandLine::Exec(words) = test {
        command.extend(values(words));
    }
    config::Healthcheck {
        test: command,
        interval: nanoseconds(&options.interval),
        timeout: nanoseconds(&options.timeout),
        start_period: nanoseconds(&options.start_period),
        start_interval: nanoseconds(&options.start_interval),
        retries: options.retries.as_ref().map_or(0, |retries| i64::from(retries.value)),
    }
}
