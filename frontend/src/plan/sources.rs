//! The vertices that bring files in: images, directories of the client, nothing.

use std::rc::Rc;

use builder_solver::{CopyAction, FileAction, FileOp, Op, Origin, Owner, Selection, Source, Vertex, VertexId};

use crate::ast::{Span, Stage};
use crate::config::ImageConfig;
use crate::history::HistoryEntry;
use crate::plan::convert::{Converter, Place, StageState};
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::named::{Content, Context};
use crate::plan::paths;
use crate::plan::stages::{Base, Needed, Step};
use crate::plan::{BaseImage, ResolvedImage};

impl Converter<'_> {
    /// What a stage begins with.
    pub(super) fn base(
        &mut self,
        stage: &Stage,
        needed: &Needed<'_>,
        place: &mut Place,
    ) -> Result<StageState, PlanError> {
        let span = &stage.from.span;
        match &needed.base {
            Base::Stage(parent) => self.on_top_of(*parent),
            Base::Scratch => {
                let vertex = self.scratch();
                let platform = self.options.platform.clone();
                Ok(StageState::new(vertex, ImageConfig::scratch(&platform), platform))
            }
            Base::Image(image) => {
                let text = format!("FROM {}", image.reference);
                let origin = Origin {
                    name: place.name(&self.heading(&needed.platform), &text, false),
                    stage: place.stage.clone(),
                    instruction: stage.from.text.value.clone(),
                    span: Some(span.clone()),
                    lineage: format!("{}/from", place.lineage),
                    hidden: false,
                };
                let vertex = self.image_source(image, origin);
                Ok(StageState::on_image(vertex, image, needed))
            }
            Base::Context(context) => match &context.content {
                Content::Image(image) => {
                    let vertex = self.context_image(context, image, span);
                    let mut state = StageState::on_image(vertex, image, needed);
                    if needed.replaced && !image.config.os.is_empty() && !image.config.architecture.is_empty() {
                        state.platform = image.config.platform();
                    }
                    Ok(state)
                }
                Content::Files(source) => {
                    let vertex = self.named_files(context, source);
                    let vertex = self.files_of(vertex, "", span, &format!("{}/from", place.lineage));
                    let config = ImageConfig::scratch(&needed.platform);
                    let mut state = StageState::new(vertex, config, needed.platform.clone());
                    state.vertices.push(vertex);
                    state.history.push(HistoryEntry::of_context(&context.name, vertex));
                    Ok(state)
                }
                Content::Target(target) => {
                    let platform = needed.platform.clone();
                    let mut state = StageState::new(target.vertex, target.config.inherit(), platform);
                    if needed.replaced && !target.config.os.is_empty() {
                        state.platform = target.config.platform();
                    }
                    state.history.extend(target.history.iter().cloned());
                    state.base.clone_from(&target.base);
                    state.settings.clear_triggers();
                    Ok(state)
                }
            },
        }
    }

    /// The vertex that `COPY --from` copies from.
    pub(super) fn copy_source(&mut self, base: &Base, step: &Step<'_>) -> Result<VertexId, PlanError> {
        match base {
            Base::Scratch => Ok(self.scratch()),
            Base::Stage(index) => match &self.stages[*index] {
                Some(stage) => Ok(stage.vertex),
                None => Err(PlanError::new(PlanErrorKind::NoStages, None)),
            },
            Base::Image(image) => {
                let origin = Origin {
                    name: format!("FROM {}", image.reference),
                    instruction: step.instruction.text.value.clone(),
                    span: Some(step.span().clone()),
                    lineage: format!("{}/image/{}", self.options.project, image.reference),
                    ..Origin::default()
                };
                Ok(self.image_source(image, origin))
            }
            Base::Context(context) => match &context.content {
                Content::Files(source) => Ok(self.named_files(context, source)),
                Content::Image(image) => Ok(self.context_image(context, image, step.span())),
                Content::Target(target) => Ok(target.vertex),
            },
        }
    }

    /// A result that holds the files of a mount at `source`: processes never see the client's directories themselves.
    pub(super) fn mount_source(
        &mut self,
        base: Option<&Base>,
        source: &str,
        step: &Step<'_>,
        span: &Span,
        lineage: &str,
    ) -> Result<VertexId, PlanError> {
        let local = match base {
            None => self.context(),
            Some(Base::Context(context)) if matches!(context.content, Content::Files(_)) => {
                self.copy_source(&Base::Context(Rc::clone(context)), step)?
            }
            Some(base) => return self.copy_source(base, step),
        };
        Ok(self.files_of(local, source, span, lineage))
    }

    /// The files at `path` of a directory of the client, as a result with nothing else in it.
    fn files_of(&mut self, local: VertexId, path: &str, span: &Span, lineage: &str) -> VertexId {
        let scratch = self.scratch();
        let source = if path.is_empty() { ".".to_owned() } else { paths::literal(path) };
        let copy = CopyAction {
            input: 1,
            selection: Selection { sources: vec![source], exclude: Vec::new(), parents: false },
            dest: format!("/{path}"),
            owner: Owner::Default,
            mode: None,
            unpack: false,
        };
        let origin = Origin {
            name: self.bracketed(&format!("[internal] preparing /{path} of the context")),
            span: Some(span.clone()),
            lineage: lineage.to_owned(),
            hidden: true,
            ..Origin::default()
        };
        let op = Op::File(FileOp { actions: vec![FileAction::Copy(copy)] });
        self.graph.add(Vertex { op, inputs: vec![scratch, local], origin, ignore_cache: false })
    }

    /// The empty tree.
    pub(super) fn scratch(&mut self) -> VertexId {
        let origin = Origin { name: "FROM scratch".to_owned(), hidden: true, ..Origin::default() };
        self.source(Source::Scratch, origin)
    }

    /// The build context.
    pub(super) fn context(&mut self) -> VertexId {
        let name = self.options.context.clone();
        self.local(name, "[internal] load build context", "context")
    }

    fn named_files(&mut self, context: &Context, source: &str) -> VertexId {
        let name = &context.name;
        self.local(source.to_owned(), &format!("[context {name}] load from client"), &format!("context {name}"))
    }

    fn local(&mut self, name: String, shown: &str, lineage: &str) -> VertexId {
        if !self.contexts.contains(&name) {
            self.contexts.push(name.clone());
        }
        let lineage = format!("{}/{lineage}", self.options.project);
        let origin = Origin { name: self.bracketed(shown), lineage, ..Origin::default() };
        self.source(Source::Local { name }, origin)
    }

    fn context_image(&mut self, context: &Context, image: &ResolvedImage, span: &Span) -> VertexId {
        let origin = Origin {
            name: self.bracketed(&format!("[context {}] {}", context.name, image.reference)),
            span: Some(span.clone()),
            lineage: format!("{}/image/{}", self.options.project, image.reference),
            ..Origin::default()
        };
        self.image_source(image, origin)
    }

    fn image_source(&mut self, image: &ResolvedImage, origin: Origin) -> VertexId {
        if image.config.is_empty() {
            return self.scratch();
        }
        let source = Source::Image { reference: image.reference.clone(), id: image.id.clone() };
        self.source(source, origin)
    }

    pub(super) fn source(&mut self, source: Source, origin: Origin) -> VertexId {
        self.graph.add(Vertex { op: Op::Source(source), inputs: Vec::new(), origin, ignore_cache: false })
    }

    /// A name `[…] …` with what all names begin with.
    pub(super) fn bracketed(&self, name: &str) -> String {
        match (&self.options.name_prefix, name.strip_prefix('[')) {
            (Some(prefix), Some(rest)) => format!("[{prefix} {rest}"),
            _ => name.to_owned(),
        }
    }
}

impl StageState {
    /// A stage on top of an image.
    fn on_image(vertex: VertexId, image: &ResolvedImage, needed: &Needed<'_>) -> Self {
        let config = &image.config;
        let mut state = Self::new(vertex, config.inherit(), needed.platform.clone());
        if !config.os.is_empty() && !config.architecture.is_empty() {
            state.machine = config.platform();
        }
        state.base = (!config.is_empty()).then(|| BaseImage {
            id: image.id.clone(),
            reference: image.reference.clone(),
            layers: config.rootfs.diff_ids.len(),
        });
        state.history.extend(config.history.iter().map(HistoryEntry::inherited));
        state.settings.clear_triggers();
        state.vertices.push(vertex);
        state
    }
}
