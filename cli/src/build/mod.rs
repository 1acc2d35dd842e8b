//! `builder build` and the targets of `builder bake`, from requests to the last line printed.
//!
//! ```text
//! requests ─▶ sources (context, Dockerfile) ─▶ plans in one graph ─▶ one solve ─▶ exports ─▶ explain, sync
//! ```

mod attest;
pub(crate) mod check;
mod contexts;
pub(crate) mod export;
mod images;
mod metadata;
mod options;
mod planning;
mod report;
mod request;
mod result;
mod run_options;
mod shared;
mod solving;
mod source;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use builder_cache::{Snapshot, Store};
use builder_executor::op::{BuildWorker, WorkerOptions};
use builder_executor::rootfs::{Driver, DriverKind};
use builder_executor::sandbox::{Sandbox, check_privilege};
use builder_solver::{Op, Solved, VertexId};

use self::attest::Attested;
use self::export::{Early, Expected, Exported, Exporter, Pushing};
use self::planning::{Planned, Planner};
use self::report::{Origins, report};
use self::result::{BuildResult, PlatformResult};
use self::shared::{Export, SharedCaches};
use crate::commands::Global;
use crate::commands::build::BuildArgs;
use crate::error::{CliError, CliResult};
use crate::outputs::OutputSpec;
use crate::progress::{FetchedLayers, Progress, Warning};
use crate::{output, provider, signals, store, sync};

pub(crate) use self::check::CallRequest;
pub(crate) use self::request::{BuildRequest, Session};
pub(crate) use self::run_options::{RunArgs, RunOptions};
pub(crate) use self::source::{RemoteFiles, remote_files};

/// How many results are exported at once. Each uses all cores for what is worth it.
const EXPORTS: usize = 4;

/// `builder build`.
pub(crate) fn run(global: &Global, args: &BuildArgs) -> CliResult<u8> {
    let request = BuildRequest::new(args.clone());
    if let Some(call) = request.call()? {
        return check::answer(global, &request, call);
    }
    let session = Session::new(args.progress, args.quiet, args.explain, args.jobs)?;
    build_all(global, &session, &[request])?;
    Ok(0)
}

/// Builds all requests at once and sends each result where it should go.
pub(crate) fn build_all(global: &Global, session: &Session, requests: &[BuildRequest]) -> CliResult<()> {
    let outputs = requests.iter().map(BuildRequest::outputs).collect::<CliResult<Vec<_>>>()?;
    request::check_destinations(session, &outputs)?;
    let store = store::open(global)?;
    let lease = store.lease()?;
    let progress = Progress::start(&session.progress);
    provider::watch(global, Arc::new(FetchedLayers::new(&progress)));
    let mut origins = Origins::default();
    let result = build(global, session, requests, &outputs, &store, &progress, &mut origins);
    let outcome = progress.finish();
    drop(lease);
    report(session, &origins, &outcome, result.as_ref().err());
    // The steps that succeeded are worth keeping, whatever became of the rest.
    let kept = store.flush_uses().map_err(CliError::from);
    let kept = kept.and_then(|()| sync::after_build(global, &store, session.durability));
    let exported = result?;
    kept?;
    metadata::write(requests, &exported, &outcome.warnings, session.metadata_file.as_deref())?;
    if session.quiet {
        for id in exported.into_iter().filter_map(|exported| exported.id) {
            output::result(&format!("{id}\n"))?;
        }
    }
    Ok(())
}

/// From the texts to the outputs.
fn build(
    global: &Global,
    session: &Session,
    requests: &[BuildRequest],
    outputs: &[Vec<OutputSpec>],
    store: &Store,
    progress: &Progress,
    origins: &mut Origins,
) -> CliResult<Vec<Exported>> {
    let started = jiff::Timestamp::now();
    let run = RunOptions::of(requests.iter().map(|request| (request.prefix(), &request.args)))?;
    let fetcher = source::fetcher(store, requests.iter().map(|request| &request.args), &run)?;
    let remotes = fetcher.remotes().clone();
    let caches = SharedCaches::new(requests)?;
    caches.begin(global, progress);
    let mut planner = Planner::new(global, store, progress, fetcher);
    let planned = requests.iter().try_for_each(|request| planner.add(request));
    let Planner { graph, contexts, planned: plans, origins: known, .. } = planner;
    *origins = known;
    planned?;
    let graph = Arc::new(graph);
    let driver = driver(global, store)?;
    if graph.vertices().any(|(_, vertex)| matches!(vertex.op, Op::Exec(_) | Op::File(_))) {
        check_privilege().map_err(CliError::from)?;
    }
    let used = plans.iter().flat_map(|planned| &planned.plans).flat_map(|(_, plan)| &plan.contexts);
    let options =
        WorkerOptions { contexts: contexts.open(used, store)?, remotes, grants: run.grants, mounts: caches.carried() };
    let worker = BuildWorker::new(store.clone(), driver.clone(), Sandbox::new(), options)?;
    // What is only there for others is solved as far as they need it.
    let asked: Vec<usize> = (0..requests.len()).filter(|&position| !requests[position].linked).collect();
    let targets: Vec<VertexId> =
        asked.iter().flat_map(|&position| &plans[position].plans).map(|(_, plan)| plan.target).collect();

    let pushing = Pushing::new(global, store, progress, requests.iter().map(|request| &request.args).zip(outputs))?;
    let expected = asked.iter().map(|&position| Expected {
        args: &requests[position].args,
        outputs: &outputs[position],
        plans: plans[position].plans.iter().map(|(_, plan)| plan).collect(),
    });
    let early = match &pushing {
        Some(pushing) => Early::start(store, pushing, &graph, expected)?,
        None => None,
    };
    let observer = early.as_ref().map(Early::observer);

    let sources: Vec<_> = plans.iter().map(|planned| Rc::clone(&planned.source)).collect();
    let planned_graph = Arc::clone(&graph);
    let bases = shared::bases(store, &graph)?;
    let records = Arc::new(caches.records(store, &bases));
    let runtime = solving::runtime()?;
    // Which of the targets become images of the store.
    let stays = |output: &OutputSpec| matches!(output, OutputSpec::Image(image) if !image.passing);
    let stays = |position: usize| outputs[position].iter().any(stays);
    let kept: Vec<bool> =
        asked.iter().flat_map(|&position| plans[position].plans.iter().map(move |_| stays(position))).collect();
    let solve = || {
        let (graph, worker, records) = (Arc::clone(&graph), worker.clone(), Arc::clone(&records));
        let solved = solving::solve(session, &targets, graph, worker, records, progress, observer.clone());
        let solution = runtime.block_on(solved)?;
        let kept = solution.targets.iter().zip(&kept).filter(|(_, kept)| **kept);
        shared::fetch_kept(store, &bases, kept.map(|(target, _)| &target.output), pushing.is_some())?;
        Ok(solution)
    };
    let mut solved = solve();
    while solved.is_err() && !signals::is_interrupted() && records.lose(&provider::provider(global).take_failed()) {
        let message =
            "a shared cache does not have the layers of some steps that it says it has, which run instead".to_owned();
        progress.warn(Warning { message, ..Warning::default() });
        solved = solve();
    }
    let mut solution = match solved {
        Ok(solution) => solution,
        Err(error) => {
            solving::end(runtime);
            return Err(error);
        }
    };
    // Finding out takes a moment that a warm build does not have.
    if solution.executed > 0
        && global.driver.is_none()
        && let (DriverKind::Vfs, reason) = driver.probe()?
    {
        let message = format!("files are copied for each step with the driver vfs, which is slow: {reason}");
        progress.warn(Warning { message, ..Warning::default() });
    }
    for (vertex, recipe) in &solution.recipes {
        if let Some(cache) = records.cache_of(recipe) {
            progress.found_in(*vertex, &cache);
        }
    }
    let results = results(plans, &asked, std::mem::take(&mut solution.targets));
    let mut settled = Some(solution.settled());
    // What is known of the content of results belongs into caches, too.
    if let Some(settled) = settled.take_if(|_| caches.writes_inline()) {
        runtime.block_on(settled);
    }
    let built = attest::Built { store, graph: &planned_graph, origins, contexts: &contexts, started };
    let attested = built.provenance(requests, &sources, &results);
    early.into_iter().for_each(Early::finish);
    let export = |attested: &[Attested], position: usize| {
        let (args, prefix) = (&requests[position].args, requests[position].prefix());
        let result = &results[position];
        if outputs[position].is_empty() {
            return Ok(Exported::default());
        }
        let step =
            || progress.step(&prefix.map_or("generating sbom".into(), |name| format!("[{name}] generating sbom")));
        let attested = if outputs[position].iter().all(|output| *output == OutputSpec::CacheOnly) {
            Attested::default()
        } else {
            attest::with_packages(&attested[position], &requests[position], store, &driver, result, step)?
        };
        let wants_digest = args.metadata_file.is_some() || session.metadata_file.is_some();
        let wants_id = session.quiet || args.iidfile.is_some();
        let exporter = Exporter {
            args,
            prefix,
            result,
            store,
            driver: &driver,
            progress,
            attested,
            pushing: pushing.as_ref(),
            inline: caches.inline(position, store, &bases),
            wants_digest,
            wants_id,
        };
        exporter.run(&outputs[position])
    };
    let (exported, cached) = thread::scope(|scope| {
        let cached = caches.writes().then(|| {
            let settled = settled.take();
            let mounts = caches.mounts(&planned_graph, &targets);
            let (caches, bases, results, runtime) = (&caches, &bases, &results, &runtime);
            scope.spawn(move || {
                if let Some(settled) = settled {
                    runtime.block_on(settled);
                }
                caches.export(&Export { global, store, progress, bases, mounts, outputs, results })
            })
        });
        let exported = attested.and_then(|attested| each(requests.len(), |position| export(&attested, position)));
        (
            exported,
            cached.map_or(Ok(()), |thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
        )
    });
    if exported.is_ok() {
        pushing.iter().for_each(Pushing::done);
    }
    if let Some(settled) = settled {
        runtime.block_on(settled);
    }
    let exported = exported?;
    cached.map(|()| exported)
}

/// What the solver found, by request and platform, for the requests that were `asked` for. The others go nowhere, and
/// nobody looks at their results.
fn results(plans: Vec<Planned>, asked: &[usize], solved: Vec<Solved<Snapshot>>) -> Vec<BuildResult> {
    let mut solved = solved.into_iter();
    let result = |(position, planned): (usize, Planned)| {
        let plans = if asked.contains(&position) { planned.plans } else { Vec::new() };
        let platforms = plans.into_iter().zip(&mut solved).map(|((platform, plan), solved)| PlatformResult {
            platform,
            plan,
            snapshot: solved.output,
            target: solved.recipe,
        });
        BuildResult { platforms: platforms.collect(), multi: planned.multi }
    };
    plans.into_iter().enumerate().map(result).collect()
}

/// Does `work` for each position, several at once; the answers are in order. After a failure nothing more is begun.
fn each<T: Send>(count: usize, work: impl Fn(usize) -> CliResult<T> + Sync) -> CliResult<Vec<T>> {
    if count <= 1 {
        return (0..count).map(work).collect();
    }
    let waiting: Mutex<VecDeque<usize>> = Mutex::new((0..count).collect());
    let answers: Mutex<Vec<(usize, CliResult<T>)>> = Mutex::new(Vec::with_capacity(count));
    // Threads of their own: turns are taken at locks of the store, and a thread of rayon that waits there could hold up
    // the very work that it waits for.
    thread::scope(|scope| {
        for _ in 0..count.min(EXPORTS) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(position) = next else { break };
                    let answer = work(position);
                    if answer.is_err() {
                        waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    }
                    answers.lock().unwrap_or_else(PoisonError::into_inner).push((position, answer));
                }
            });
        }
    });
    let mut answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
    answers.sort_by_key(|(position, _)| *position);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// The driver that the command line asks for, or the first that works.
pub(crate) fn driver(global: &Global, store: &Store) -> CliResult<Driver> {
    let wanted = match &global.driver {
        None => None,
        Some(name) => Some(name.parse().map_err(CliError::Usage)?),
    };
    Ok(Driver::new(store.root(), wanted))
}
