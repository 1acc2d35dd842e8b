//! `RUN --mount`.

use builder_solver::{CacheMount, Mount, MountKind, SecretEnv, SecretFile, Sharing, VertexId};

use crate::ast::{self, MountType, ResolvedMount, Run, Span};
use crate::plan::convert::{Converter, Place, StageState};
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::paths;
use crate::plan::stages::{Base, Step};

/// The build argument that keeps the cache mounts of one build apart from those of others.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// What a `RUN` sees beside its root file system.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) files: Vec<Mount>,
    pub(super) secret_env: Vec<SecretEnv>,
    /// The inputs of the vertex after the first one.
    pub(super) inputs: Vec<VertexId>,
}

impl Mounts {
    /// The number of an input.
    fn input(&mut self, vertex: VertexId) -> usize {
        let known = self.inputs.iter().position(|input| *input == vertex);
        1 + known.unwrap_or_else(|| {
            self.inputs.push(vertex);
            self.inputs.len() - 1
        })
    }
}

/// One mount of an instruction.
struct Request<'a> {
    /// With its variables expanded.
    mount: ResolvedMount,
    /// Where it takes files from; nothing for the build context.
    base: Option<&'a Base>,
    /// Where it stands.
    span: &'a Span,
    step: &'a Step<'a>,
    /// Of what has to be made for it.
    lineage: String,
}

impl Converter<'_> {
    /// The mounts of an instruction, with the vertices that they need.
    pub(super) fn mounts(
        &mut self,
        state: &StageState,
        place: &Place,
        step: &Step<'_>,
        run: &Run,
    ) -> Result<Mounts, PlanError> {
        let mut mounts = Mounts::default();
        let mut agents = 0;
        for (position, written) in run.mounts.iter().enumerate() {
            let mount = written.resolve(|word| state.settings.expand(self.expander, word))?;
            let request = Request {
                mount,
                base: step.sources.get(position).and_then(Option::as_ref),
                span: &written.raw.span,
                step,
                lineage: place.beside_next(&format!("mount-{position}")),
            };
            match request.mount.kind {
                MountType::Bind => self.bind(&mut mounts, state, &request)?,
                MountType::Cache => self.cache(&mut mounts, state, &request)?,
                MountType::Tmpfs => {
                    let kind = MountKind::Tmpfs { size: request.mount.size.filter(|size| *size > 0) };
                    mounts.files.push(request.mounted(state, kind)?);
                }
                MountType::Secret => secret(&mut mounts, &request)?,
                MountType::Ssh => {
                    mounts.files.push(agent(&request, agents)?);
                    agents += 1;
                }
            }
        }
        Ok(mounts)
    }

    fn bind(&mut self, mounts: &mut Mounts, state: &StageState, request: &Request<'_>) -> Result<(), PlanError> {
        let source = request.source();
        let vertex = self.vertex(request, &source)?;
        let kind = MountKind::Bind { input: mounts.input(vertex), source };
        mounts.files.push(request.mounted(state, kind)?);
        Ok(())
    }

    fn cache(&mut self, mounts: &mut Mounts, state: &StageState, request: &Request<'_>) -> Result<(), PlanError> {
        let mount = &request.mount;
        let source = request.source();
        let described = mount.uid.is_some() || mount.gid.is_some() || mount.mode.is_some();
        // As in BuildKit, a cache with an owner or a mode begins empty unless it names a directory of its source.
        let seed = match request.base {
            None | Some(Base::Scratch) => None,
            Some(_) if described && source == "/" => None,
            Some(_) => {
                let vertex = self.vertex(request, &source)?;
                Some((mounts.input(vertex), source))
            }
        };
        let id = match &mount.id {
            Some(id) => id.clone(),
            None => paths::cleaned(mount.target.as_deref().unwrap_or_default()),
        };
        let namespace = self.arguments.get(CACHE_NAMESPACE).unwrap_or_default();
        let kind = MountKind::Cache(CacheMount {
            id: format!("{namespace}/{id}"),
            sharing: match mount.sharing {
                ast::Sharing::Shared => Sharing::Shared,
                ast::Sharing::Private => Sharing::Private,
                ast::Sharing::Locked => Sharing::Locked,
            },
            seed,
            mode: mount.mode.unwrap_or(0o755),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
        });
        mounts.files.push(request.mounted(state, kind)?);
        Ok(())
    }

    /// The vertex that has the files.
    fn vertex(&mut self, request: &Request<'_>, source: &str) -> Result<VertexId, PlanError> {
        let Request { base, span, step, lineage, .. } = request;
        let span = step.place.as_ref().unwrap_or(span);
        self.mount_source(*base, source.trim_start_matches('/'), step, span, lineage)
    }
}

impl Request<'_> {
    /// The directory or file to mount, absolute.
    fn source(&self) -> String {
        paths::working_directory("/", self.mount.source.as_deref().unwrap_or_default())
    }

    /// At its target, which is relative to where processes start.
    fn mounted(&self, state: &StageState, kind: MountKind) -> Result<Mount, PlanError> {
        let written = self.mount.target.as_deref().unwrap_or_default();
        let target = self.below_root(paths::working_directory(state.settings.working_directory(), written))?;
        Ok(Mount { target, read_only: self.mount.read_only, kind })
    }

    fn below_root(&self, target: String) -> Result<String, PlanError> {
        if target != "/" {
            return Ok(target);
        }
        let help = match &self.mount.target {
            None => "give `target=` a directory below `/`",
            Some(_) => "mount below `/`: a root file system cannot be replaced",
        };
        let kind = PlanErrorKind::MountTarget(target);
        Err(PlanError::new(kind, self.span.clone()).help(help.to_owned()))
    }
}

/// A file, a variable, or with a target and a name both.
fn secret(mounts: &mut Mounts, request: &Request<'_>) -> Result<(), PlanError> {
    let mount = &request.mount;
    let base = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let target = mount.target.as_deref();
    let id = mount.id.clone().unwrap_or_else(|| base(target.unwrap_or_default()));
    if let Some(name) = &mount.env {
        mounts.secret_env.push(SecretEnv { id: id.clone(), name: name.clone(), required: mount.required });
    }
    let target = match (target, &mount.env) {
        (Some(target), _) => request.below_root(paths::working_directory("/", target))?,
        (None, None) => paths::working_directory("/run/secrets", &base(&id)),
        (None, Some(_)) => return Ok(()),
    };
    let kind = MountKind::Secret(file(mount, id, 0o400));
    mounts.files.push(Mount { target, read_only: true, kind });
    Ok(())
}

/// The socket of the agent number `number`.
fn agent(request: &Request<'_>, number: usize) -> Result<Mount, PlanError> {
    let mount = &request.mount;
    if mount.source.is_some() {
        let kind = PlanErrorKind::Mount("ssh does not support source".to_owned());
        let help = "name the agent with `id=`".to_owned();
        return Err(PlanError::new(kind, request.span.clone()).help(help));
    }
    let target = match &mount.target {
        Some(target) => request.below_root(paths::working_directory("/", target))?,
        None => format!("/run/buildkit/ssh_agent.{number}"),
    };
    let id = mount.id.clone().unwrap_or_else(|| "default".to_owned());
    Ok(Mount { target, read_only: true, kind: MountKind::Ssh(file(mount, id, 0o600)) })
}

fn file(mount: &ResolvedMount, id: String, mode: u32) -> SecretFile {
    SecretFile {
        id,
        required: mount.required,
        mode: mount.mode.unwrap_or(mode),
        uid: mount.uid.unwrap_or(0),
        gid: mount.gid.unwrap_or(0),
    }
}
