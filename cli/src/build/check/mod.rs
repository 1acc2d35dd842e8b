//! Questions about a Dockerfile that are answered without building it: `--check` and `--call`.
//!
//! Answers go to standard output, in the form in which buildx prints them. The same checks run at the beginning of every
//! build ([`Checker`]); what they find is listed below it.

mod findings;
mod json;
mod outline;
mod request;
mod verdict;

use builder_cache::Store;
use builder_frontend::config::ImageConfig;
use builder_frontend::diagnostic::Diagnostic;
use builder_frontend::plan::{BuildOptions, Images, NamedContext, ResolveError, ResolvedImage, context_name};
use builder_frontend::platform::Platform;
use builder_solver::Source;

use super::RunOptions;
use super::contexts::Contexts;
use super::images::StoreImages;
use super::options::build_options;
use super::request::{BuildRequest, Session};
use super::source::{self, Address, BuildSource};
use crate::commands::Global;
use crate::commands::build::BuildArgs;
use crate::error::{CliError, CliResult};
use crate::progress::{Mode, Progress};
use crate::{output, store};

pub(super) use self::findings::{Checker, above, enforce, warnings};
pub(crate) use self::request::{CallRequest, Method};

/// Answers a question about what a request would build. The result is the exit code.
pub(crate) fn answer(global: &Global, request: &BuildRequest, call: CallRequest) -> CliResult<u8> {
    reply(global, request, call, &mut output::result)
}

/// Gives the answer to whoever shows it. The result is the exit code.
pub(crate) fn reply(
    global: &Global,
    request: &BuildRequest,
    call: CallRequest,
    show: &mut dyn FnMut(&str) -> CliResult<()>,
) -> CliResult<u8> {
    if call.method == Method::Describe {
        show(&outline::describe(call.json))?;
        return Ok(0);
    }
    let store = store::open(global)?;
    let _lease = store.lease()?;
    let run = RunOptions::of([(None, &request.args)])?;
    let fetcher = source::fetcher(&store, [&request.args], &run)?;
    let progress = progress(&request.args)?;
    let contexts = Contexts::new(fetcher, progress.clone());
    let source = read(request, &contexts);
    progress.finish();
    let source = source?;
    let question = Question { request, source: &source, store: &store, contexts: &contexts };
    match call.method {
        Method::Targets => show(&outline::targets(&source, call.json)?)?,
        Method::Outline => show(&outline::outline(&question, call.json)?)?,
        _ => return verdict::verdict(&question, call, show),
    }
    Ok(0)
}

/// Shows how a context is fetched; files of this machine are read in no time.
fn progress(args: &BuildArgs) -> CliResult<Progress> {
    let mut options = Session::new(args.progress, args.quiet, false, None)?.progress;
    if matches!(source::context_address(args)?, Address::Directory(_)) {
        options.mode = Mode::Quiet;
    }
    Ok(Progress::start(&options))
}

fn read(request: &BuildRequest, contexts: &Contexts) -> CliResult<BuildSource> {
    contexts.fetch(&source::context_address(&request.args)?, "[internal]")?;
    BuildSource::read(&request.args, request.dockerfile.as_deref(), contexts.fetcher())
}

/// What is wrong with a Dockerfile, drawn below its lines.
fn drawn(source: &BuildSource, diagnostic: &Diagnostic) -> String {
    output::drawn(diagnostic, &source.name, &source.text)
}

fn diagnosed(source: &BuildSource, diagnostic: &Diagnostic) -> CliError {
    CliError::Diagnosed(drawn(source, diagnostic))
}

/// What is asked about.
struct Question<'a> {
    request: &'a BuildRequest,
    source: &'a BuildSource,
    store: &'a Store,
    contexts: &'a Contexts,
}

impl Question<'_> {
    /// As for a build, for the first platform that is asked for.
    fn options(&self) -> CliResult<BuildOptions> {
        let mut options = build_options(self.request, self.source)?;
        options.context = self.contexts.name(self.source);
        options.contexts = source::named(&self.request.args, self.contexts)?;
        // What the other targets come to is not known; they are files in any case.
        let links = self.request.links.keys().map(|name| (context_name(name), NamedContext::Files(name.clone())));
        options.contexts.extend(links);
        if let Some(platform) = self.request.platforms()?.into_iter().next() {
            options.platform = platform;
        }
        Ok(options)
    }
}

/// Images that are not there are taken for empty ones, so that the rest can be looked at.
struct AnyImages<'a>(StoreImages<'a>);

impl Images for AnyImages<'_> {
    fn resolve(&self, reference: &str, platform: Option<&str>) -> Result<ResolvedImage, ResolveError> {
        match (self.0.resolve(reference, platform), store::full_name(reference)) {
            (Err(_), Ok(full)) => {
                let platform: Platform = platform.and_then(|text| text.parse().ok()).unwrap_or_else(Platform::host);
                let config = ImageConfig {
                    os: platform.os,
                    architecture: platform.architecture,
                    variant: platform.variant,
                    ..ImageConfig::default()
                };
                Ok(ResolvedImage { id: format!("sha256:{:064}", 0), reference: full, config })
            }
            (resolved, _) => resolved,
        }
    }

    /// Nothing is fetched to find out about a time.
    fn source_time(&self, _source: &Source) -> Result<Option<i64>, ResolveError> {
        Ok(None)
    }
}
