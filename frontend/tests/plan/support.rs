//! Images to build on, and a plan as text.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::ops::Deref;

use builder_frontend::config::{History, ImageConfig};
use builder_frontend::parser;
use builder_frontend::plan::{self, BuildOptions, Images, Plan, PlanError, ResolveError, ResolvedImage};
use builder_frontend::platform::Platform;
use builder_solver::{
    CacheMount, Exec, FileAction, FileMode, Graph, Mount, MountKind, NetworkMode, Op, Owner, SecretFile, SecurityMode,
    Source,
};

/// A few images that every test knows; remembers what it was asked for.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) asked: RefCell<Vec<String>>,
    pub(crate) triggers: Vec<String>,
    /// When sources were made, by the beginning of their names or addresses.
    pub(crate) times: Vec<(&'static str, i64)>,
}

impl Store {
    /// With an image `onbuild` that has these triggers.
    pub(crate) fn with_triggers(triggers: &[&str]) -> Self {
        Self { triggers: triggers.iter().map(|&trigger| trigger.to_owned()).collect(), ..Self::default() }
    }
}

impl Images for Store {
    fn resolve(&self, reference: &str, platform: Option<&str>) -> Result<ResolvedImage, ResolveError> {
        let platform = platform.expect("a platform");
        let asked = if platform == "linux/amd64" { String::new() } else { format!(" for {platform}") };
        self.asked.borrow_mut().push(format!("{reference}{asked}"));
        let Platform { os, architecture, variant } = platform.parse().unwrap();
        let mut config = ImageConfig { architecture, os, variant, ..ImageConfig::default() };
        config.rootfs.diff_ids = vec!["sha256:base".into()];
        config.history = vec![History {
            created_by: "ADD rootfs /".into(),
            created: Some("2020-01-01T00:00:00Z".into()),
            ..History::default()
        }];
        match reference {
            "busybox" | "debian:12" | "later" => config.config.cmd = vec!["sh".into()],
            "app" => {
                config.config.env = vec!["PATH=/app/bin".into(), "VERSION=1".into()];
                config.config.user = "app".into();
                config.config.working_dir = "srv/app/".into();
                config.config.entrypoint = vec!["/app".into()];
                config.config.cmd = vec!["--help".into()];
                config.config.shell = vec!["/bin/bash".into(), "-ec".into()];
                config.config.labels.insert("from".into(), "app".into());
            }
            "foreign" => "riscv64".clone_into(&mut config.architecture),
            "bare" => config.architecture.clear(),
            "onbuild" => config.config.on_build.clone_from(&self.triggers),
            "nolayers" => {
                config.rootfs.diff_ids.clear();
                config.history[0].empty_layer = true;
                config.config.user = "kept".into();
            }
            other => {
                return Err(ResolveError {
                    message: format!("the image `{other}` is not in the store"),
                    help: Some("load it first".into()),
                    source: None,
                });
            }
        }
        let tag = if reference.contains(':') { "" } else { ":latest" };
        Ok(ResolvedImage {
            id: format!("sha256:id-of-{reference}{}", asked.replace([' ', '/'], "-")),
            reference: format!("docker.io/library/{reference}{tag}"),
            config,
        })
    }

    fn source_time(&self, source: &Source) -> Result<Option<i64>, ResolveError> {
        let name = match source {
            Source::Local { name } => name.clone(),
            Source::Http(http) => http.url.clone(),
            Source::Git(git) => format!("{} {}", git.remote, git.reference.as_deref().unwrap_or_default()),
            other => format!("{other:?}"),
        };
        self.asked.borrow_mut().push(format!("the time of {name}"));
        Ok(self.times.iter().find(|(known, _)| name.starts_with(known)).map(|(_, time)| *time))
    }
}

/// Options for linux/amd64.
pub(crate) fn options() -> BuildOptions {
    let platform: Platform = "linux/amd64".parse().unwrap();
    BuildOptions {
        platform: platform.clone(),
        build_platform: platform,
        project: "p".into(),
        ..BuildOptions::default()
    }
}

/// Options with build arguments `NAME=value` or `NAME`.
pub(crate) fn with_args(args: &[&str]) -> BuildOptions {
    let split = |arg: &&str| match arg.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => ((*arg).to_owned(), None),
    };
    BuildOptions { build_args: args.iter().map(split).collect(), ..options() }
}

/// A plan in a graph of its own.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) graph: Graph,
    pub(crate) plan: Plan,
}

impl Deref for Planned {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

pub(crate) fn try_plan(text: &str, options: &BuildOptions, images: &Store) -> Result<Planned, PlanError> {
    let file = parser::parse(text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    let mut graph = Graph::new();
    let plan = plan::plan(&mut graph, &file, text, options, images)?;
    Ok(Planned { graph, plan })
}

pub(crate) fn plan_with(text: &str, options: &BuildOptions) -> Planned {
    try_plan(text, options, &Store::default()).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

pub(crate) fn plan(text: &str) -> Planned {
    plan_with(text, &options())
}

/// The texts of the history that this build adds.
pub(crate) fn history(plan: &Plan) -> Vec<String> {
    let own = plan.history.iter().filter(|entry| !entry.inherited);
    own.map(|entry| entry.entry.created_by.clone()).collect()
}

/// The names of the vertices.
pub(crate) fn names(plan: &Planned) -> Vec<String> {
    plan.graph.vertices().map(|(_, vertex)| vertex.origin.name.clone()).collect()
}

/// The only `RUN`.
pub(crate) fn run(plan: &Planned) -> &Exec {
    let mut runs = plan.graph.vertices().filter_map(|(_, vertex)| match &vertex.op {
        Op::Exec(exec) => Some(exec),
        _ => None,
    });
    let exec = runs.next().expect("a RUN");
    assert!(runs.next().is_none(), "one RUN");
    exec
}

/// The environment of the only `RUN`, without `PATH`.
pub(crate) fn env(plan: &Planned) -> String {
    let env = run(plan).env.iter().filter(|(name, _)| name != "PATH");
    env.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// A plan as text.
pub(crate) fn dump(plan: &Planned) -> String {
    let mut out = String::new();
    for (id, vertex) in plan.graph.vertices() {
        let inputs: Vec<String> = vertex.inputs.iter().map(|input| input.index().to_string()).collect();
        let _ = write!(out, "{}: {}", id.index(), vertex.origin.name);
        if !inputs.is_empty() {
            let _ = write!(out, "  <- {}", inputs.join(" "));
        }
        let _ = writeln!(
            out,
            "{}{}{}",
            if vertex.origin.hidden { "  hidden" } else { "" },
            if vertex.ignore_cache { "  no-cache" } else { "" },
            if id == plan.target { "  TARGET" } else { "" }
        );
        let _ = writeln!(out, "     lineage {} stage {:?}", vertex.origin.lineage, vertex.origin.stage);
        op(&mut out, &vertex.op);
    }
    if let Some(base) = &plan.base {
        let _ = writeln!(out, "base: {} ({} layers)", base.reference, base.layers);
    }
    let _ = writeln!(out, "history:");
    for entry in &plan.history {
        let layer = match (entry.inherited, entry.vertex) {
            (true, _) => "base".to_owned(),
            (false, Some(vertex)) => format!("<- {}", vertex.index()),
            (false, None) => "empty".to_owned(),
        };
        assert!(entry.inherited || entry.entry.empty_layer == entry.vertex.is_none());
        let _ = writeln!(out, "  {layer:<6} {}", entry.entry.created_by.replace('\n', "⏎"));
    }
    let _ = writeln!(out, "config: {}", serde_json::to_string(&plan.config.config).unwrap());
    if !plan.config.author.is_empty() {
        let _ = writeln!(out, "author: {}", plan.config.author);
    }
    for warning in &plan.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    out
}

fn op(out: &mut String, op: &Op) {
    match op {
        Op::Source(Source::Scratch) | Op::Merge => {}
        Op::Source(Source::Image { id, .. }) => drop(writeln!(out, "     image {id}")),
        Op::Source(Source::Local { name }) => drop(writeln!(out, "     local {name}")),
        Op::Source(Source::Http(http)) => drop(writeln!(out, "     {http:?}")),
        Op::Source(Source::Git(git)) => drop(writeln!(out, "     {git:?}")),
        Op::Exec(exec) => {
            let _ = writeln!(out, "     exec {:?}", exec.args);
            let env: Vec<String> = exec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let _ = writeln!(out, "     env {env:?}");
            let _ = write!(out, "     cwd {} user {:?}", exec.cwd, exec.user);
            if exec.network != NetworkMode::Default {
                let _ = write!(out, " network {:?}", exec.network);
            }
            if !exec.proxy_env.is_empty() {
                let _ = write!(out, " proxies {:?}", exec.proxy_env);
            }
            if exec.security == SecurityMode::Insecure {
                out.push_str(" insecure");
            }
            if let Some(platform) = &exec.platform {
                let _ = write!(out, " platform {platform}");
            }
            if let Some(hostname) = &exec.hostname {
                let _ = write!(out, " hostname {hostname}");
            }
            if !exec.hosts.is_empty() {
                let _ = write!(out, " hosts {:?}", exec.hosts);
            }
            if let Some(script) = &exec.script {
                let _ = write!(out, " script {} {:?}", script.name, String::from_utf8_lossy(&script.data));
            }
            out.push('\n');
            for line in mounts(exec) {
                let _ = writeln!(out, "     {line}");
            }
        }
        Op::File(file) => {
            for action in &file.actions {
                match action {
                    FileAction::Mkdir { path, mode, owner } => {
                        let _ = writeln!(out, "     mkdir {path} {mode:o}{}", owned(owner));
                    }
                    FileAction::Mkfile { dest, name, data, mode, owner } => {
                        let data = String::from_utf8_lossy(data);
                        let _ = writeln!(out, "     write {dest} {name} {data:?}{}{}", moded(Some(mode)), owned(owner));
                    }
                    FileAction::Copy(copy) => {
                        let selection = &copy.selection;
                        let _ = write!(
                            out,
                            "     copy {} of input {} to {}",
                            selection.sources.join(" "),
                            copy.input,
                            copy.dest
                        );
                        if !selection.exclude.is_empty() {
                            let _ = write!(out, " without {}", selection.exclude.join(" "));
                        }
                        let flags = [(selection.parents, " parents"), (copy.unpack, " unpack")];
                        out.extend(flags.into_iter().filter(|(set, _)| *set).map(|(_, text)| text));
                        let _ = writeln!(out, "{}{}", moded(copy.mode.as_ref()), owned(&copy.owner));
                    }
                }
            }
        }
    }
}

/// The mounts of a `RUN`, one a line.
pub(crate) fn mounts(exec: &Exec) -> Vec<String> {
    let secret = |secret: &SecretFile| {
        let required = if secret.required { " required" } else { "" };
        format!("{} {:o} {}:{}{required}", secret.id, secret.mode, secret.uid, secret.gid)
    };
    let mount = |mount: &Mount| {
        let what = match &mount.kind {
            MountKind::Bind { input, source } => format!("bind {source} of input {input}"),
            MountKind::Cache(cache) => {
                let CacheMount { id, sharing, seed, mode, uid, gid } = cache;
                let seed = seed.as_ref().map(|(input, source)| format!(" from {source} of input {input}"));
                format!("cache {id} {sharing:?} {mode:o} {uid}:{gid}{}", seed.unwrap_or_default())
            }
            MountKind::Tmpfs { size } => {
                format!("tmpfs{}", size.map(|size| format!(" of {size}")).unwrap_or_default())
            }
            MountKind::Secret(file) => format!("secret {}", secret(file)),
            MountKind::Ssh(file) => format!("ssh {}", secret(file)),
        };
        format!("{what} at {}{}", mount.target, if mount.read_only { " ro" } else { "" })
    };
    let variables = exec.secret_env.iter().map(|secret| {
        format!("secret {} as {}{}", secret.id, secret.name, if secret.required { " required" } else { "" })
    });
    exec.mounts.iter().map(mount).chain(variables).collect()
}

fn owned(owner: &Owner) -> String {
    match owner {
        Owner::Default => String::new(),
        Owner::Named(name) => format!(" owner {name}"),
    }
}

fn moded(mode: Option<&FileMode>) -> String {
    match mode {
        None => String::new(),
        Some(FileMode::Octal(mode)) => format!(" mode {mode:o}"),
        Some(FileMode::Symbolic(mode)) => format!(" mode {mode}"),
    }
}
