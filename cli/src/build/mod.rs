//! `builder build`, from the command line to the last line printed.
//!
//! ```text
//! source (context, Dockerfile) → parse → plan (base images from the store) → solve → export → explain, sync
//! ```

mod export;
mod images;
mod metadata;
mod source;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use builder_cache::{Snapshot, Store};
use builder_executor::context::LocalContext;
use builder_executor::op::{BuildWorker, OpError, WorkerOptions};
use builder_executor::rootfs::{Driver, DriverKind};
use builder_executor::sandbox::{Sandbox, check_privilege};
use builder_frontend::plan::{BuildOptions, Plan};
use builder_frontend::platform::Platform;
use builder_solver::{Graph, NetworkMode, Op, Solution, SolveError, SolveOptions, Solver};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::export::Exporter;
use self::source::BuildSource;
use crate::commands::Global;
use crate::commands::build::BuildArgs;
use crate::error::{CliError, CliResult};
use crate::outputs::OutputSpec;
use crate::progress::{self, Mode, Outcome, Progress};
use crate::{output, signals, store, sync};

/// Fixes the times that images show.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// How many events may wait for the renderer.
const EVENTS: usize = 1024;

/// How long steps may take to end after Ctrl-C.
const GRACE: Duration = Duration::from_millis(1500);

/// Builds.
pub(crate) fn run(global: &Global, args: &BuildArgs) -> CliResult<u8> {
    let outputs = outputs(args)?;
    let options = progress_options(args)?;
    let durability = sync::durability()?;
    let source = BuildSource::read(args)?;
    let store = store::open(global)?;
    let lease = store.lease()?;
    let progress = Progress::start(&options);
    let result = build(global, args, &outputs, &source, &store, &progress);
    let outcome = progress.finish();
    drop(lease);
    report(args, options.mode, &source, &outcome, result.as_ref().err());
    // The steps that succeeded are worth keeping, whatever became of the rest.
    let kept = store.flush_uses().map_err(CliError::from).and_then(|()| sync::after_build(global, &store, durability));
    let id = result?;
    kept?;
    if args.quiet
        && let Some(id) = id
    {
        output::result(&format!("{id}\n"))?;
    }
    Ok(0)
}

/// The outputs of the command line: into the store when none is named.
fn outputs(args: &BuildArgs) -> CliResult<Vec<OutputSpec>> {
    // A wrong name should not be told after an hour of building.
    export::full_names(&args.tags)?;
    let outputs =
        if args.outputs.is_empty() { vec![OutputSpec::Image { names: Vec::new() }] } else { args.outputs.clone() };
    if outputs.iter().filter(|output| output.is_stdout()).count() > 1 {
        return Err(CliError::Usage("only one output can go to standard output".into()));
    }
    if outputs.iter().any(OutputSpec::is_stdout) {
        if args.quiet {
            return Err(CliError::Usage(
                "--quiet prints the image id where the output is to go: give it a file".into(),
            ));
        }
        if std::io::stdout().is_terminal() {
            return Err(CliError::Usage(
                "refusing to write a tarball to a terminal: redirect it, or give dest=FILE".into(),
            ));
        }
    }
    Ok(outputs)
}

fn progress_options(args: &BuildArgs) -> CliResult<progress::Options> {
    let mode = if args.quiet { Some(Mode::Quiet) } else { args.progress };
    progress::Options::resolve(mode, std::io::stderr().is_terminal(), |name| std::env::var(name).ok())
        .map_err(|error| CliError::Usage(error.to_string()))
}

/// From the text to the outputs; the image id when there is an image.
fn build(
    global: &Global,
    args: &BuildArgs,
    outputs: &[OutputSpec],
    source: &BuildSource,
    store: &Store,
    progress: &Progress,
) -> CliResult<Option<String>> {
    let plan = plan(args, source, store, progress)?;
    let graph = Arc::new(plan.graph.clone());
    let driver = driver(global, store)?;
    if graph.vertices().any(|(_, vertex)| matches!(vertex.op, Op::Exec(_) | Op::File(_))) {
        check_privilege().map_err(CliError::from)?;
    }
    let sandbox = Sandbox::new();
    let contexts = contexts(&plan, source, store)?;
    let worker = BuildWorker::new(store.clone(), driver.clone(), sandbox, WorkerOptions { contexts })?;

    let runtime = runtime()?;
    let solution = match runtime.block_on(solve(args, &plan, graph, worker, store, progress)) {
        Ok(solution) => solution,
        Err(error) => {
            // A copy that is still going on is not waited for; what it wrote is swept up by the next builder.
            runtime.shutdown_background();
            return Err(error);
        }
    };
    // Finding out takes a moment that a warm build does not have.
    if solution.executed > 0
        && global.driver.is_none()
        && let (DriverKind::Vfs, reason) = driver.probe()?
    {
        let message = format!("files are copied for each step with the driver vfs, which is slow: {reason}");
        progress.warn(progress::Warning { message, ..progress::Warning::default() });
    }
    let exporter = Exporter { args, plan: &plan, store, driver: &driver, progress };
    let exported = exporter.run(&solution.output, solution.recipe, outputs);
    runtime.block_on(solution.settled());
    exported
}

fn runtime() -> CliResult<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the threads of the builder can't be started")?)
}

/// The driver that the command line asks for, or the first that works.
pub(crate) fn driver(global: &Global, store: &Store) -> CliResult<Driver> {
    let wanted = match &global.driver {
        None => None,
        Some(name) => Some(name.parse().map_err(CliError::Usage)?),
    };
    Ok(Driver::new(store.root(), wanted))
}

fn plan(args: &BuildArgs, source: &BuildSource, store: &Store, progress: &Progress) -> CliResult<Plan> {
    let step = progress.step(&format!("[internal] load build definition from {}", source.name));
    step.part("transferring dockerfile:").count("bytes", source.text.len() as u64, None);
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let shown = |step: progress::Step, diagnostic: &builder_frontend::diagnostic::Diagnostic| {
        step.failed(diagnostic.message.clone());
        let drawn = diagnostic.render(&source.name, &source.text, coloured);
        CliError::Diagnosed(format!("{drawn}\n"))
    };
    let file = match builder_frontend::parser::parse(&source.text) {
        Ok(file) => file,
        Err(error) => return Err(shown(step, &error.into())),
    };
    let options = build_options(args, source)?;
    let plan = match builder_frontend::plan::plan(&file, &source.text, &options, &images::StoreImages(store)) {
        Ok(plan) => plan,
        Err(error) => {
            if let Some(diagnostic) = error.diagnostic() {
                return Err(shown(step, &diagnostic));
            }
            step.failed(error.to_string());
            let hint = error.help.clone();
            return Err(CliError::Failed { error: anyhow::anyhow!("{}: {error}", source.name), hint });
        }
    };
    for warning in &file.warnings {
        progress.warn(progress::Warning {
            rule: warning.rule.to_owned(),
            message: warning.message.clone(),
            line: Some(source.text[..warning.span.start].matches('\n').count() + 1),
            ..progress::Warning::default()
        });
    }
    for message in &plan.warnings {
        progress.warn(progress::Warning { message: message.clone(), ..progress::Warning::default() });
    }
    step.done();
    if let Some((name, bytes)) = &source.ignore {
        let step = progress.step(&format!("[internal] load {name}"));
        step.part("transferring context:").count("bytes", bytes.len() as u64, None);
        step.done();
    }
    Ok(plan)
}

fn build_options(args: &BuildArgs, source: &BuildSource) -> CliResult<BuildOptions> {
    let host = Platform::host();
    let platform = match &args.platform {
        None => host.clone(),
        Some(text) => {
            let wanted: Platform = text.parse().map_err(|error| CliError::Usage(format!("--platform: {error}")))?;
            if wanted != host {
                return Err(CliError::message(format!(
                    "--platform {text} is not supported yet: this version builds for {host} only"
                )));
            }
            wanted
        }
    };
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.clone(), None),
    };
    let labels = args.labels.iter().map(|label| {
        let (name, value) = pair(label);
        if name.is_empty() {
            return Err(CliError::Usage(format!("--label `{label}` has no name")));
        }
        Ok((name, value.unwrap_or_default()))
    });
    let mut build_args: Vec<(String, Option<String>)> = args.arguments.iter().map(pair).collect();
    // As in buildx, the client's own wish for fixed times is a build argument.
    if std::env::var_os(EPOCH).is_some() && !build_args.iter().any(|(name, _)| name == EPOCH) {
        build_args.push((EPOCH.to_owned(), None));
    }
    Ok(BuildOptions {
        target: args.target.clone(),
        build_args,
        client_env: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        no_cache: args.no_cache,
        no_cache_stages: args.no_cache_filter.clone(),
        labels: labels.collect::<CliResult<_>>()?,
        platform,
        build_platform: host,
        network: match args.network.as_str() {
            "none" => NetworkMode::None,
            "host" => NetworkMode::Host,
            _ => NetworkMode::Default,
        },
        project: format!("{}\0{}", source.context.display(), source.name),
    })
}

fn contexts(plan: &Plan, source: &BuildSource, store: &Store) -> CliResult<BTreeMap<String, LocalContext>> {
    let mut contexts = BTreeMap::new();
    for name in &plan.contexts {
        let ignore = match &source.ignore {
            None => builder_executor::pattern::IgnoreMatcher::default(),
            Some((file, bytes)) => builder_executor::pattern::parse_ignore_file(bytes)
                .map_err(|error| CliError::message(format!("{file}:{}: {error}", error.line())))?,
        };
        let index = store.context_index(&source.context);
        contexts.insert(name.clone(), LocalContext::open(&source.context, ignore, Some(index)).map_err(OpError::from)?);
    }
    Ok(contexts)
}

async fn solve(
    args: &BuildArgs,
    plan: &Plan,
    graph: Arc<Graph>,
    worker: BuildWorker,
    store: &Store,
    progress: &Progress,
) -> CliResult<Solution<Snapshot>> {
    let (events, received) = mpsc::channel(EVENTS);
    let needed = graph.reachable(&[plan.target]);
    let attached = progress.attach(&graph, &needed, received).context("the progress display can't be started")?;
    let cancel = CancellationToken::new();
    let over = Arc::new(AtomicBool::new(false));
    signals::cancel_on_interrupt(cancel.clone(), Arc::clone(&over))?;
    let interrupted = cancel.clone();
    let solver = Solver::new(Arc::new(worker), Arc::new(store.clone()));
    let options = SolveOptions { jobs: args.jobs.map(|jobs| jobs as usize), cancel, events };
    let solved = tokio::select! {
        solved = solver.solve(Arc::clone(&graph), plan.target, options) => solved,
        () = overdue(interrupted) => return Err(CliError::Interrupted),
    };
    over.store(true, Ordering::Relaxed);
    // Every sender is gone with the solve, so this ends.
    tokio::task::block_in_place(|| attached.join());
    match solved {
        Ok(solution) => Ok(solution),
        Err(SolveError::Cancelled) => Err(CliError::Interrupted),
        Err(SolveError::Records(error)) => Err(CliError::Failed {
            error: anyhow::Error::new(error).context("the build cache can't be used"),
            hint: None,
        }),
        Err(SolveError::Vertex { vertex, source }) => Err(CliError::Step {
            span: graph.vertex(vertex).origin.span.clone(),
            name: graph.vertex(vertex).origin.name.clone(),
            error: anyhow::Error::new(source),
        }),
    }
}

/// Ends a while after the build was interrupted: processes are gone by then, and bulk work has had its chance.
async fn overdue(interrupted: CancellationToken) {
    interrupted.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// What is printed below the progress: failures, reasons, warnings.
fn report(args: &BuildArgs, mode: Mode, source: &BuildSource, outcome: &Outcome, error: Option<&CliError>) {
    let dockerfile = progress::Dockerfile { name: &source.name, text: &source.text };
    let mut reported = false;
    if matches!(error, Some(CliError::Step { .. })) {
        for failed in &outcome.failed {
            output::notice(failed.report(Some(dockerfile)).trim_end());
            reported = true;
        }
    }
    if let (Some(CliError::Step { span, name, error }), false) = (error, reported) {
        if let Some(span) = span {
            output::notice(dockerfile.excerpt(span).trim_end());
        }
        output::notice(&format!("ERROR: failed to build: failed to solve: {name}: {error:#}"));
    }
    if args.explain {
        let width = terminal_width();
        output::notice(outcome.explain(width).trim_end());
    }
    if mode != Mode::Quiet && mode != Mode::RawJson {
        let warnings = outcome.warning_summary();
        if !warnings.is_empty() {
            output::notice(warnings.trim_end());
        }
    }
}

fn terminal_width() -> Option<usize> {
    rustix::termios::tcgetwinsize(rustix::stdio::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
}
