//! Turns the needed stages into vertices, from the first line to the last.

use std::rc::Rc;

use builder_solver::{FileAction, FileOp, Graph, NetworkMode, Op, Origin, Owner, Source, Vertex, VertexId};

use crate::ast::{Arg, Command, Span, Stage, Word};
use crate::config::ImageConfig;
use crate::expand::{Expander, Variables};
use crate::history::HistoryEntry;
use crate::plan::arguments::{self, BuildArguments, Declared};
use crate::plan::environment::Environment;
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::name::{self, Counter};
use crate::plan::settings::{Applied, Settings};
use crate::plan::stages::{Base, Names, Needed, Step};
use crate::plan::{BaseImage, BuildOptions, ResolvedImage};

/// The name of the local source that `COPY` and `ADD` copy from.
const CONTEXT: &str = "context";

/// A stage so far. What it has in common with the stage below it is not repeated: its history is its own.
pub(super) struct StageState {
    pub(super) vertex: VertexId,
    pub(super) settings: Settings,
    pub(super) declared: Rc<Declared>,
    pub(super) history: Vec<HistoryEntry>,
    /// The stage that it is built on.
    pub(super) parent: Option<usize>,
    /// The base image of the first stage of the line.
    pub(super) image: Option<Rc<ResolvedImage>>,
    /// What the stage's own instructions became, in order.
    pub(super) vertices: Vec<VertexId>,
}

/// Where the vertices of a stage say that they come from.
pub(super) struct Place {
    counter: Counter,
    stage: String,
    lineage: String,
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
    pub(super) graph: Graph,
    pub(super) contexts: Vec<String>,
    pub(super) stages: Vec<Option<StageState>>,
}

impl Converter<'_> {
    /// Adds a stage to the graph; the stages that it needs are there already.
    pub(super) fn stage(&mut self, index: usize, stage: &Stage, needed: &Needed<'_>) -> Result<(), PlanError> {
        let shown = self.names.shown(index).to_owned();
        let has_image = matches!(needed.base, Base::Image(_));
        let mut place = Place {
            counter: Counter::new(if self.single { "" } else { &shown }, has_image, &needed.steps),
            stage: stage.name().unwrap_or_else(|| index.to_string()),
            lineage: format!("{}/{shown}", self.options.project),
            ignore_cache: self.options.ignores_cache(index, stage.name().as_deref()),
        };
        let mut state = match &needed.base {
            Base::Stage(parent) => self.on_top_of(*parent)?,
            Base::Scratch => {
                let vertex = self.scratch();
                StageState::new(vertex, ImageConfig::scratch(&self.options.platform), None)
            }
            Base::Image(image) => {
                let from = &stage.from;
                let origin = Origin {
                    name: place.counter.next(&format!("FROM {}", image.reference), false),
                    stage: place.stage.clone(),
                    instruction: from.text.value.clone(),
                    span: Some(from.span.clone()),
                    lineage: format!("{}/from", place.lineage),
                    hidden: false,
                };
                let vertex = self.image_source(image, origin);
                let mut state = StageState::new(vertex, image.config.inherit(), Some(Rc::clone(image)));
                state.history.extend(image.config.history.iter().map(HistoryEntry::inherited));
                state.settings.clear_triggers();
                state
            }
        };
        if let Base::Image(_) = needed.base {
            state.vertices.push(state.vertex);
        }
        for step in &needed.steps {
            self.step(&mut state, &mut place, step).map_err(|error| step.blame(error))?;
        }
        self.stages[index] = Some(state);
        Ok(())
    }

    fn on_top_of(&self, parent: usize) -> Result<StageState, PlanError> {
        let Some(below) = &self.stages[parent] else { return Err(PlanError::new(PlanErrorKind::NoStages, None)) };
        Ok(StageState {
            vertex: below.vertex,
            settings: below.settings.inherit(),
            declared: Rc::clone(&below.declared),
            history: Vec::new(),
            parent: Some(parent),
            image: below.image.clone(),
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
        let origin = self.origin(state, place, step);
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

    /// The origin of the next step of a stage.
    pub(super) fn origin(&self, state: &StageState, place: &mut Place, step: &Step<'_>) -> Origin {
        let text = name::shown(&step.instruction, self.escape, state.settings.env());
        let name = place.counter.next(&text, step.onbuild);
        Origin {
            name,
            stage: place.stage.clone(),
            instruction: step.instruction.text.value.clone(),
            span: Some(step.place.clone().unwrap_or_else(|| step.instruction.span.clone())),
            lineage: format!("{}/{}", place.lineage, place.counter.count()),
            hidden: false,
        }
    }

    /// Adds the vertex of an instruction, which makes one layer.
    pub(super) fn layer(&mut self, state: &mut StageState, vertex: Vertex, history: String) {
        state.vertex = self.graph.add(vertex);
        state.vertices.push(state.vertex);
        state.history.push(HistoryEntry::new(history, Some(state.vertex)));
    }

    /// The empty tree.
    pub(super) fn scratch(&mut self) -> VertexId {
        let origin = Origin { name: "FROM scratch".to_owned(), hidden: true, ..Origin::default() };
        self.source(Source::Scratch, origin)
    }

    /// The build context.
    pub(super) fn context(&mut self) -> VertexId {
        if !self.contexts.iter().any(|name| name == CONTEXT) {
            self.contexts.push(CONTEXT.to_owned());
        }
        let origin = Origin {
            name: "[internal] load build context".to_owned(),
            lineage: format!("{}/{CONTEXT}", self.options.project),
            ..Origin::default()
        };
        self.source(Source::Local { name: CONTEXT.to_owned() }, origin)
    }

    /// Where `COPY --from` copies from.
    pub(super) fn copy_source(&mut self, base: &Base, from: &Step<'_>) -> Result<VertexId, PlanError> {
        match base {
            Base::Scratch => Ok(self.scratch()),
            Base::Stage(index) => match &self.stages[*index] {
                Some(stage) => Ok(stage.vertex),
                None => Err(PlanError::new(PlanErrorKind::NoStages, None)),
            },
            Base::Image(image) => {
                let origin = Origin {
                    name: format!("FROM {}", image.reference),
                    instruction: from.instruction.text.value.clone(),
                    span: Some(from.place.clone().unwrap_or_else(|| from.instruction.span.clone())),
                    lineage: format!("{}/image/{}", self.options.project, image.reference),
                    ..Origin::default()
                };
                Ok(self.image_source(image, origin))
            }
        }
    }

    fn image_source(&mut self, image: &ResolvedImage, origin: Origin) -> VertexId {
        if image.config.is_empty() {
            return self.scratch();
        }
        let source = Source::Image { reference: image.reference.clone(), id: image.id.clone() };
        self.source(source, origin)
    }

    fn source(&mut self, source: Source, origin: Origin) -> VertexId {
        self.graph.add(Vertex { op: Op::Source(source), inputs: Vec::new(), origin, ignore_cache: false })
    }

    /// The network of a `RUN` that names none.
    pub(super) fn network(&self) -> NetworkMode {
        self.options.network
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

impl StageState {
    fn new(vertex: VertexId, config: ImageConfig, image: Option<Rc<ResolvedImage>>) -> Self {
        Self {
            vertex,
            settings: Settings::new(config).with_path(),
            declared: Rc::default(),
            history: Vec::new(),
            parent: None,
            image,
            vertices: Vec::new(),
        }
    }

    /// The image that the stage is built on in the end.
    pub(super) fn base_image(&self) -> Option<BaseImage> {
        self.image.as_ref().filter(|image| !image.config.is_empty()).map(|image| BaseImage {
            id: image.id.clone(),
            reference: image.reference.clone(),
            layers: image.config.rootfs.diff_ids.len(),
        })
    }
}

/// Nobody means root.
pub(super) fn owner(name: &str) -> Owner {
    if name.is_empty() { Owner::Default } else { Owner::Named(name.to_owned()) }
}
