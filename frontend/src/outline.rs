//! What a build can be given, and what it can build: `--call=outline` and `--call=targets`.

use std::collections::{BTreeMap, HashSet};

use crate::ast::{Arg, Command, Dockerfile, Instruction, MountType, ResolvedMount, Span};
use crate::config::ImageConfig;
use crate::expand::{Expander, Variables};
use crate::lint::reach::{Base, Reach, Reached};
use crate::lint::scope::{Given, Scope};
use crate::parser::ParseError;
use crate::plan::arguments::{self, BuildArguments};
use crate::plan::environment::Environment;
use crate::plan::{BuildOptions, Images};

/// What a target can be given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    /// The stage; `None` when it has no name.
    pub name: Option<String>,
    /// What the comment above it says about it.
    pub description: Option<String>,
    /// The build arguments that it uses, in the order of the file.
    pub args: Vec<OutlineArg>,
    /// The secrets of its steps.
    pub secrets: Vec<OutlineNeed>,
    /// The ssh agents of its steps.
    pub ssh: Vec<OutlineNeed>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArg {
    /// The name.
    pub name: String,
    /// What the comment above says about it.
    pub description: Option<String>,
    /// The value that it would have in this build.
    pub value: Option<String>,
    /// The `ARG`.
    pub span: Span,
}

/// A secret or an ssh agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineNeed {
    /// Its id.
    pub id: String,
    /// The step fails without it.
    pub required: bool,
    /// The `RUN`.
    pub span: Span,
}

/// A stage of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The name in lower case, if it has one.
    pub name: Option<String>,
    /// What the comment above it says about it.
    pub description: Option<String>,
    /// What `FROM` says, unexpanded.
    pub base: String,
    /// `--platform`, unexpanded.
    pub platform: Option<String>,
    /// It is built when no other is asked for.
    pub is_default: bool,
    /// Its `FROM`.
    pub span: Span,
}

/// All stages of a file.
pub fn targets(file: &Dockerfile) -> Vec<Target> {
    let last = file.stages.len().saturating_sub(1);
    let stages = file.stages.iter().enumerate();
    stages
        .map(|(index, stage)| Target {
            name: stage.name(),
            description: description(&stage.from, stage.name().as_deref()),
            base: stage.from.command.image.value.clone(),
            platform: stage.from.command.platform.as_ref().map(|platform| platform.value.clone()),
            is_default: index == last,
            span: stage.from.span.clone(),
        })
        .collect()
}

fn description<C>(instruction: &Instruction<C>, name: Option<&str>) -> Option<String> {
    instruction.description(name?).map(str::to_owned)
}

/// What the target of `options` can be given; `None` when there is no such stage. Images that are not there set nothing.
pub fn outline(file: &Dockerfile, options: &BuildOptions, images: &dyn Images) -> Option<Outline> {
    let arguments = BuildArguments::new(options);
    let expander = Expander::new(file.directives.escape_char());
    let globals = arguments::globals(file, options, &arguments, expander).unwrap_or_default();
    let given = Given { arguments: &arguments, globals: &globals, expander };
    let reach = Reach::new(file, options, images, &globals, expander);
    let target = reach.target()?;
    let reached = reach.stages([target]);
    let mut outline = Outliner {
        given: &given,
        globals: global_args(file, &globals, expander),
        used: HashSet::new(),
        args: BTreeMap::new(),
        outline: Outline::default(),
    };
    let mut scopes: Vec<Option<Scope<'_>>> = Vec::with_capacity(reached.len());
    for (stage, reached) in file.stages.iter().zip(&reached) {
        let scope = reached.as_ref().map(|reached| {
            let from = &stage.from.command;
            for word in [Some(&from.image), from.platform.as_ref()].into_iter().flatten() {
                outline.uses(&word.value);
            }
            let own = stage.instructions.iter();
            let instructions = reached.triggers.iter().map(AsRef::as_ref).chain(own);
            outline.stage(begin(&given, reached, &scopes), instructions)
        });
        scopes.push(scope);
    }
    let stage = file.stages.get(target)?;
    Some(Outline {
        name: stage.name(),
        description: description(&stage.from, stage.name().as_deref()),
        ..outline.finish()
    })
}

fn begin<'a>(given: &'a Given<'a>, reached: &Reached<'_>, scopes: &[Option<Scope<'a>>]) -> Scope<'a> {
    let scratch = || ImageConfig::scratch(&reached.platform);
    match &reached.base {
        Base::Stage(base) => match scopes.get(*base) {
            Some(Some(scope)) => scope.clone(),
            _ => Scope::new(given, &scratch(), false),
        },
        Base::Image(config) => Scope::new(given, config, true),
        _ => Scope::new(given, &scratch(), false),
    }
}

/// An `ARG` before the first `FROM`.
struct Global {
    arg: OutlineArg,
    /// The names that its default uses.
    uses: Vec<String>,
}

fn global_args(file: &Dockerfile, globals: &Environment, expander: Expander) -> BTreeMap<String, Global> {
    let mut found = BTreeMap::new();
    for instruction in &file.global_args {
        for item in &instruction.command.items {
            let name = item.key.value.clone();
            let used = item.default.as_ref().and_then(|default| expander.word(&default.value, globals).ok());
            let arg = OutlineArg {
                description: description(instruction, Some(&name)),
                value: globals.get(&name).map(str::to_owned),
                span: instruction.span.clone(),
                name: name.clone(),
            };
            let uses = used.map(|word| word.used).unwrap_or_default();
            found.insert(name, Global { arg, uses });
        }
    }
    found
}

struct Outliner<'a> {
    given: &'a Given<'a>,
    globals: BTreeMap<String, Global>,
    /// The names that count, global ones.
    used: HashSet<String>,
    args: BTreeMap<String, OutlineArg>,
    outline: Outline,
}

impl<'a> Outliner<'a> {
    /// The variables of a word are used.
    fn uses(&mut self, text: &str) {
        if let Ok(word) = self.given.expander.word(text, self.given.globals) {
            word.used.into_iter().for_each(|name| self.use_global(name));
        }
    }

    fn use_global(&mut self, name: String) {
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            if let Some(global) = self.globals.get(&name)
                && self.used.insert(name)
            {
                open.extend(global.uses.iter().cloned());
            }
        }
    }

    fn stage<'i>(&mut self, mut scope: Scope<'a>, instructions: impl Iterator<Item = &'i Instruction>) -> Scope<'a> {
        for instruction in instructions {
            if let Command::Run(run) = &instruction.command {
                for mount in &run.mounts {
                    let resolved = mount.resolve(|word| Ok::<_, ParseError>(scope.expand(word).unwrap_or_default()));
                    if let Ok(mount) = resolved {
                        self.mount(&mount, &instruction.span);
                    }
                }
            }
            if scope.apply(&instruction.command).is_err() {
                break;
            }
            if let Command::Arg(arg) = &instruction.command {
                self.declare(instruction, arg, &scope);
            }
        }
        scope
    }

    fn declare(&mut self, instruction: &Instruction, arg: &Arg, scope: &Scope<'_>) {
        for item in &arg.items {
            let name = item.key.as_str();
            if item.default.is_none()
                && self.given.arguments.get(name).is_none()
                && self.given.globals.get(name).is_some()
            {
                // It only lets a global one in.
                self.use_global(name.to_owned());
                continue;
            }
            let arg = OutlineArg {
                name: name.to_owned(),
                description: description(instruction, Some(name)),
                value: scope.get(name).map(str::to_owned),
                span: instruction.span.clone(),
            };
            self.args.insert(name.to_owned(), arg);
        }
    }

    fn mount(&mut self, mount: &ResolvedMount, span: &Span) {
        let base = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
        let (list, id) = match mount.kind {
            MountType::Secret => {
                (&mut self.outline.secrets, mount.id.clone().or_else(|| mount.target.as_ref().map(base)))
            }
            MountType::Ssh => (&mut self.outline.ssh, Some(mount.id.clone().unwrap_or_else(|| "default".to_owned()))),
            _ => return,
        };
        let Some(id) = id else { return };
        if !list.iter().any(|known| known.id == id) {
            list.push(OutlineNeed { id, required: mount.required, span: span.clone() });
        }
    }

    fn finish(self) -> Outline {
        let Self { globals, used, mut args, mut outline, .. } = self;
        for (name, global) in globals.into_iter().filter(|(name, _)| used.contains(name)) {
            args.entry(name).or_insert(global.arg);
        }
        outline.args = args.into_values().collect();
        outline.args.sort_by_key(|arg| arg.span.start);
        outline.secrets.sort_by_key(|secret| secret.span.start);
        outline.ssh.sort_by_key(|agent| agent.span.start);
        outline
    }
}
