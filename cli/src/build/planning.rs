//! Requests → plans in one graph.
//!
//! What requests have in common is done once: a Dockerfile is read and parsed, a base image is looked up, a context is
//! opened once, and equal steps are one vertex of the graph.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::rc::Rc;

use builder_cache::Store;
use builder_frontend::ast::Dockerfile;
use builder_frontend::diagnostic::Diagnostic;
use builder_frontend::lint::{CheckOptionsError, Report};
use builder_frontend::parser;
use builder_frontend::plan::{
    BuildOptions, Images, NamedContext, Plan, PlanError, ResolveError, ResolvedImage, context_name, wanted_images,
};
use builder_frontend::platform::Platform;
use builder_solver::{Graph, Source};

use super::check::{self, Checker};
use super::contexts::Contexts;
use super::images::BaseImages;
use super::options::build_options;
use super::report::Origins;
use super::request::BuildRequest;
use super::source::{self, BuildSource, Fetcher};
use crate::commands::Global;
use crate::error::{CliError, CliResult};
use crate::output;
use crate::progress::{Progress, Step, Warning};
use crate::pull::PullPolicy;

/// What became of a request.
#[derive(Debug)]
pub(super) struct Planned {
    /// One for each platform.
    pub(super) plans: Vec<(Platform, Plan)>,
    /// The result is an index even of one platform.
    pub(super) multi: bool,
    /// What was planned.
    pub(super) source: Rc<BuildSource>,
}

/// Plans requests one after the other.
pub(super) struct Planner<'a> {
    progress: &'a Progress,
    images: KnownImages<'a>,
    sources: HashMap<SourceKey, Rc<Loaded>>,
    files: HashMap<String, Rc<Dockerfile>>,
    /// What all of it goes into.
    pub(super) graph: Graph,
    /// The directories that are read.
    pub(super) contexts: Rc<Contexts>,
    /// Which Dockerfile a vertex is from.
    pub(super) origins: Origins,
    /// In the order of the requests.
    pub(super) planned: Vec<Planned>,
}

/// What a source is read from: context, file, text.
type SourceKey = (String, Option<PathBuf>, Option<String>);

/// A source and its syntax tree.
#[derive(Debug)]
struct Loaded {
    source: Rc<BuildSource>,
    file: Rc<Dockerfile>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(global: &'a Global, store: &'a Store, progress: &'a Progress, fetcher: Fetcher) -> Self {
        let contexts = Rc::new(Contexts::new(fetcher, progress.clone()));
        Self {
            progress,
            images: KnownImages {
                images: BaseImages::new(global, store, progress),
                known: RefCell::default(),
                contexts: Rc::clone(&contexts),
            },
            sources: HashMap::new(),
            files: HashMap::new(),
            graph: Graph::new(),
            contexts,
            origins: Origins::default(),
            planned: Vec::new(),
        }
    }

    /// Plans the next request. Those that it links to come before it.
    pub(super) fn add(&mut self, request: &BuildRequest) -> CliResult<()> {
        let platforms = request.platforms()?;
        self.images.images.set_policy(request.args.pull);
        let (loaded, mut step) = self.load(request)?;
        let mut options = build_options(request, &loaded.source)?;
        options.context = self.contexts.name(&loaded.source);
        options.contexts = source::named(&request.args, &self.contexts)?;
        options.multi_platform = platforms.len() > 1;
        options.explicit_platform = request.args.platforms.iter().any(|text| !text.trim().is_empty());
        let mut plans = Vec::with_capacity(platforms.len());
        for platform in platforms {
            options.platform = platform.clone();
            for (name, &position) in &request.links {
                let linked = self.link(position, &platform).map_err(|error| {
                    let (own, other) = (request.name.as_deref().unwrap_or_default(), name);
                    error.context(&format!("the context `{other}` of target {own} can't be used"))
                })?;
                options.contexts.insert(context_name(name), linked);
            }
            if loaded.file.stages.len() > 1 {
                self.images.images.prefetch(&wanted_images(&loaded.file, &options));
            }
            let report = self.check(&loaded, &options, step.as_ref());
            let first = self.graph.len();
            let plan = self.plan(request, &loaded, &options, &mut step)?;
            // What can't be planned at all comes first.
            if let Err(error) = check::enforce(&loaded.source, report) {
                step.take().into_iter().for_each(Step::done);
                return Err(error);
            }
            let own = self.graph.vertices().skip(first).map(|(id, _)| id);
            self.origins.add(&loaded.source, own.collect::<Vec<_>>());
            plans.push((platform, plan));
        }
        let multi = options.multi_platform || request.wants_index();
        self.planned.push(Planned { plans, multi, source: Rc::clone(&loaded.source) });
        if let Some(step) = step {
            step.done();
            self.show_ignore_file(request, &loaded.source);
        }
        Ok(())
    }

    /// The result of an earlier request for a platform; one that has only one result gives that.
    fn link(&self, position: usize, platform: &Platform) -> CliResult<NamedContext> {
        let plans = &self.planned[position].plans;
        let same = plans.iter().find(|(other, _)| other == platform);
        if let Some((_, plan)) = same.or(if plans.len() == 1 { plans.first() } else { None }) {
            return Ok(plan.as_context());
        }
        let there: Vec<String> = plans.iter().map(|(platform, _)| platform.to_string()).collect();
        Err(CliError::message(format!("it is not built for {platform}, only for {}", there.join(", "))))
    }

    /// Reads and parses, unless that was done; then there is no step to end.
    fn load(&mut self, request: &BuildRequest) -> CliResult<(Rc<Loaded>, Option<Step>)> {
        let address = source::context_address(&request.args)?;
        let key = (format!("{address:?}"), request.args.file.clone(), request.dockerfile.clone());
        if let Some(loaded) = self.sources.get(&key) {
            return Ok((Rc::clone(loaded), None));
        }
        self.contexts.fetch(&address, &format!("[{}internal]", prefix(request)))?;
        let inline = request.dockerfile.as_deref();
        let source = Rc::new(BuildSource::read(&request.args, inline, self.contexts.fetcher())?);
        self.origins.add(&source, []);
        let step = self.definition_step(request, &source);
        step.part("transferring dockerfile:").count("bytes", source.text.len() as u64, None);
        let file = if let Some(file) = self.files.get(&source.text) {
            Rc::clone(file)
        } else {
            let file = match parser::parse(&source.text) {
                Ok(file) => Rc::new(file),
                Err(error) => {
                    for warning in check::above(&source, error.span.start) {
                        step.warn(warning);
                    }
                    let line = Diagnostic::new(String::new(), error.span.clone()).position(&source.text).0;
                    let summary = error.summary(line);
                    return Err(shown(step, &source, &error.into(), &summary));
                }
            };
            self.files.insert(source.text.clone(), Rc::clone(&file));
            file
        };
        let loaded = Rc::new(Loaded { source, file });
        self.sources.insert(key, Rc::clone(&loaded));
        Ok((loaded, Some(step)))
    }

    fn definition_step(&self, request: &BuildRequest, source: &BuildSource) -> Step {
        self.progress.step(&format!("[{}internal] load build definition from {}", prefix(request), source.name))
    }

    fn show_ignore_file(&self, request: &BuildRequest, source: &BuildSource) {
        if let Some((name, bytes)) = &source.ignore {
            let step = self.progress.step(&format!("[{}internal] load {name}", prefix(request)));
            step.part("transferring context:").count("bytes", bytes.len() as u64, None);
            step.done();
        }
    }

    fn plan(
        &mut self,
        request: &BuildRequest,
        loaded: &Loaded,
        options: &BuildOptions,
        step: &mut Option<Step>,
    ) -> CliResult<Plan> {
        let Loaded { source, file } = loaded;
        let planned = builder_frontend::plan::plan(&mut self.graph, file, &source.text, options, &self.images);
        let plan = planned.map_err(|error| {
            let step = step.take().unwrap_or_else(|| self.definition_step(request, source));
            refused(step, source, &error)
        })?;
        for message in &plan.warnings {
            self.progress.warn(Warning { message: message.clone(), ..Warning::default() });
        }
        Ok(plan)
    }

    /// Says what is probably not meant. A second platform finds the same again, which is told once.
    fn check(&self, loaded: &Loaded, options: &BuildOptions, step: Option<&Step>) -> Result<Report, CheckOptionsError> {
        let Loaded { source, file } = loaded;
        let report = Checker::new(source).check(file, options, &self.images, false)?;
        for warning in check::warnings(&report.findings, source) {
            match step {
                Some(step) => step.warn(warning),
                None => self.progress.warn(warning),
            }
        }
        Ok(report)
    }
}

/// What names of a target's steps begin with.
fn prefix(request: &BuildRequest) -> String {
    request.prefix().map(|name| format!("{name} ")).unwrap_or_default()
}

/// Ends a step with why a Dockerfile can't be planned.
fn refused(step: Step, source: &BuildSource, error: &PlanError) -> CliError {
    if let Some(diagnostic) = error.diagnostic() {
        return shown(step, source, &diagnostic, &diagnostic.message);
    }
    step.failed(error.to_string());
    let error_text = anyhow::anyhow!("{FAILED}{error}");
    CliError::Failed { error: error_text, hint: error.help.clone() }
}

/// What the last line of a build that fails begins with, as with BuildKit: scripts look for it.
pub(super) const FAILED: &str = "failed to build: failed to solve: ";

/// Ends a step with what is wrong with its Dockerfile.
fn shown(step: Step, source: &BuildSource, diagnostic: &Diagnostic, summary: &str) -> CliError {
    step.failed(diagnostic.message.clone());
    let drawn = output::drawn(diagnostic, &source.name, &source.text);
    CliError::Diagnosed(format!("{drawn}\nERROR: {FAILED}{summary}\n"))
}

/// What an image is asked for by: its reference, its platform, and when its registry is asked.
type Asked = (String, Option<String>, PullPolicy);

/// Looks each image up once.
struct KnownImages<'a> {
    images: BaseImages<'a>,
    known: RefCell<BTreeMap<Asked, ResolvedImage>>,
    contexts: Rc<Contexts>,
}

impl Images for KnownImages<'_> {
    fn resolve(&self, reference: &str, platform: Option<&str>) -> Result<ResolvedImage, ResolveError> {
        let key = (reference.to_owned(), platform.map(str::to_owned), self.images.policy());
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(known.clone());
        }
        let image = self.images.resolve(reference, platform)?;
        self.known.borrow_mut().insert(key, image.clone());
        Ok(image)
    }

    fn source_time(&self, source: &Source) -> Result<Option<i64>, ResolveError> {
        let time = self.contexts.time(source);
        time.map_err(|error| ResolveError { message: error.text(), help: None, source: None })
    }
}
