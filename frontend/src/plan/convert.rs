//! Turns the needed stages into vertices, from the first line to the last.

use std::rc::Rc;

use builder_solver::{FileAction, FileOp, Graph, Op, Origin, Owner, Vertex, VertexId};

use crate::ast::{Arg, Command, Span, Stage, Word};
use crate::config::ImageConfig;
use crate::expand::{Expander, Variables};
use crate::history::HistoryEntry;
use crate::plan::arguments::{self, BuildArguments, Declared};
use crate::plan::environment::Environment;
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::name::{self, Counter, Masked};
use crate::plan::names::Names;
use crate::plan::settings::{Applied, Settings};
use crate::plan::stages::{Base, Needed, Step};
use crate::plan::{BaseImage, BuildOptions};
use crate::platform::Platform;

/// A stage so far. What it has in common with the stage below it is not repeated: its history is its own.
pub(super) struct StageState {
    pub(super) vertex: VertexId,
    pub(super) settings: Settings,
    pub(super) declared: Rc<Declared>,
    pub(super) history: Vec<HistoryEntry>,
    /// The stage that it is built on.
    pub(super) parent: Option<usize>,
    /// The image at the bottom.
    pub(super) base: Option<BaseImage>,
    /// What it is for.
    pub(super) platform: Platform,
    /// What its programs are for: what the base image says, whatever was asked for.
    pub(super) machine: Platform,
    /// What the stage's own instructions became, in order.
    pub(super) vertices: Vec<VertexId>,
}

/// Where the vertices of a stage say that they come from.
pub(super) struct Place {
    counter: Counter,
    pub(super) stage: String,
    pub(super) lineage: String,
    pub(super) ignore_cache: bool,
}

/// Builds the graph.
pub(super) struct Converter<'a> {
    pub(super) text: &'a str,
    pub(super) options: &'a BuildOptions,
    pub(super) names: &'a Names,
    pub(super) arguments: &'a BuildArguments,
    pub(super) globals: &'a Environment,
    pub(super) expander: Expander,
    pub(super) escape: char,
    /// The name of the stage is left out of the steps' names.
    pub(super) single: bool,
    pub(super) proxies: Vec<(String, String)>,
    pub(super) graph: &'a mut Graph,
    pub(super) contexts: Vec<String>,
    pub(super) stages: Vec<Option<StageState>>,
}

impl Converter<'_> {
    /// Adds a stage to the graph; the stages that it needs are there already.
    pub(super) fn stage(&mut self, index: usize, stage: &Stage, needed: &Needed<'_>) -> Result<(), PlanError> {
        let shown = self.names.shown(index).to_owned();
        let has_image = matches!(needed.base, Base::Image(_) | Base::Context(_));
        // The steps of another platform are other steps, whose records are of no help to these.
        let platform = match &self.options.platform {
            platform if *platform == self.options.build_platform => String::new(),
            platform => format!("{platform}/"),
        };
        let mut place = Place {
            counter: Counter::new(if self.single { "" } else { &shown }, has_image, &needed.steps),
            stage: stage.name().unwrap_or_else(|| index.to_string()),
            lineage: format!("{}/{platform}{shown}", self.options.project),
            ignore_cache: self.options.ignores_cache(index, stage.name().as_deref()),
        };
        let mut state = self.base(stage, needed, &mut place)?;
        for step in &needed.steps {
            self.step(&mut state, &mut place, step).map_err(|error| step.blame(error))?;
        }
        self.stages[index] = Some(state);
        Ok(())
    }

    pub(super) fn on_top_of(&self, parent: usize) -> Result<StageState, PlanError> {
        let Some(below) = &self.stages[parent] else { return Err(PlanError::new(PlanErrorKind::NoStages, None)) };
        Ok(StageState {
            vertex: below.vertex,
            settings: below.settings.inherit(),
            declared: Rc::clone(&below.declared),
            history: Vec::new(),
            parent: Some(parent),
            base: below.base.clone(),
            platform: below.platform.clone(),
            machine: below.machine.clone(),
            vertices: Vec::new(),
        })
    }

    fn step(&mut self, state: &mut StageState, place: &mut Place, step: &Step<'_>) -> Result<(), PlanError> {
        match &step.instruction.command {
            Command::Run(run) => self.run(state, place, step, run),
            Command::Copy(copy) => self.copy(state, place, step, copy),
            Command::Add(add) => self.add(state, place, step, add),
            Command::Workdir(path) => self.working_directory(state, place, step, path),
            Command::Arg(arg) => self.argument(state, arg),
            // It opens a stage and cannot stand inside one.
            Command::From(_) => Ok(()),
            command => {
                if let Applied::Entry(text) = state.settings.apply(command, self.expander)? {
                    state.history.push(HistoryEntry::new(text, None));
                }
                Ok(())
            }
        }
    }

    fn working_directory(
        &mut self,
        state: &mut StageState,
        place: &mut Place,
        step: &Step<'_>,
        path: &Word,
    ) -> Result<(), PlanError> {
        let path = state.settings.set_working_directory(self.expander, path)?.to_owned();
        let text = format!("WORKDIR {path}");
        if path == "/" {
            state.history.push(HistoryEntry::new(text, None));
            return Ok(());
        }
        let owner = owner(&state.settings.config().user);
        let action = FileAction::Mkdir { path, mode: 0o755, owner };
        let origin = self.origin(state, place, step, &[]);
        let op = Op::File(FileOp { actions: vec![action] });
        self.layer(state, Vertex { op, inputs: vec![state.vertex], origin, ignore_cache: place.ignore_cache }, text);
        Ok(())
    }

    /// `ARG`: the command line comes before the default, that before the value from above the first `FROM`.
    fn argument(&mut self, state: &mut StageState, arg: &Arg) -> Result<(), PlanError> {
        let mut text = "ARG".to_owned();
        for item in &arg.items {
            let name = item.key.as_str();
            let value = match (self.arguments.get(name), &item.default) {
                (Some(given), _) => Some(given.to_owned()),
                (None, Some(default)) => Some(state.settings.expand(self.expander, default)?),
                (None, None) => self.globals.get(name).map(str::to_owned),
            };
            text.extend([" ", name]);
            if let Some(value) = &value {
                text.extend(["=", value]);
                if arguments::is_variable(name) {
                    state.settings.set_argument(name, value);
                }
            }
            Rc::make_mut(&mut state.declared).set(name, value.as_deref());
        }
        state.history.push(HistoryEntry::new(text, None));
        Ok(())
    }

    /// The origin of the next step of a stage. `secrets` are variables whose values are not shown.
    pub(super) fn origin(&self, state: &StageState, place: &mut Place, step: &Step<'_>, secrets: &[&str]) -> Origin {
        let env = state.settings.env();
        let text = name::shown(&step.instruction, self.escape, &Masked { env, secrets });
        let platform = || name::platform(&state.platform, env);
        let name = place.name(&self.heading_with(platform), &text, step.onbuild);
        Origin {
            name,
            stage: place.stage.clone(),
            instruction: step.instruction.text.value.clone(),
            span: Some(step.span().clone()),
            lineage: format!("{}/{}", place.lineage, place.counter.count()),
            hidden: false,
        }
    }

    /// What stands before the stage in the name of a step for `platform`.
    pub(super) fn heading(&self, platform: &Platform) -> String {
        self.heading_with(|| platform.to_string())
    }

    fn heading_with(&self, platform: impl FnOnce() -> String) -> String {
        let prefix = self.options.name_prefix.clone();
        let platform = self.options.multi_platform.then(platform);
        prefix.into_iter().chain(platform).collect::<Vec<_>>().join(" ")
    }

    /// Adds the vertex of an instruction, which makes one layer.
    pub(super) fn layer(&mut self, state: &mut StageState, vertex: Vertex, history: String) {
        state.vertex = self.graph.add(vertex);
        state.vertices.push(state.vertex);
        state.history.push(HistoryEntry::new(history, Some(state.vertex)));
    }

    /// Where the flag `--name` of an instruction stands, its value included.
    pub(super) fn flag(&self, step: &Step<'_>, name: &str, value: Option<&Span>) -> Span {
        let instruction = &step.instruction.span;
        if step.place.is_some() {
            return instruction.clone();
        }
        let end = value.map_or(instruction.end, |value| value.end);
        let Some(text) = self.text.get(instruction.start..end) else { return instruction.clone() };
        // The value, when there is one, belongs to the last flag of that name before its end.
        let found = if value.is_some() { text.rfind(name) } else { text.find(name) };
        match found {
            Some(at) => {
                let start = instruction.start + at;
                let length = self.text[start..end].find(char::is_whitespace).unwrap_or(end - start);
                start..value.map_or(start + length, |value| value.end)
            }
            None => value.unwrap_or(instruction).clone(),
        }
    }
}

impl Place {
    /// The name of the next step.
    pub(super) fn name(&mut self, heading: &str, text: &str, onbuild: bool) -> String {
        self.counter.next(heading, text, onbuild)
    }

    /// The lineage of something that the next step needs.
    pub(super) fn beside_next(&self, what: &str) -> String {
        format!("{}/{}/{what}", self.lineage, self.counter.count() + 1)
    }
}

impl StageState {
    pub(super) fn new(vertex: VertexId, config: ImageConfig, platform: Platform) -> Self {
        Self {
            vertex,
            settings: Settings::new(config).with_path(),
            declared: Rc::default(),
            history: Vec::new(),
            parent: None,
            base: None,
            machine: platform.clone(),
            platform,
            vertices: Vec::new(),
        }
    }
}

/// Nobody means root.
pub(super) fn owner(name: &str) -> Owner {
    if name.is_empty() { Owner::Default } else { Owner::Named(name.to_owned()) }
}
