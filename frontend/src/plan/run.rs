//! `RUN`.

use builder_solver::{Exec, NetworkMode, Op, Script, SecurityMode, Vertex};

use crate::ast::{Heredoc, Run, RunCommand, RunNetwork, RunSecurity};
use crate::expand::Variables;
use crate::history;
use crate::plan::convert::{Converter, Place, StageState};
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::mounts::Mounts;
use crate::plan::stages::Step;

/// The build argument that gives steps another host name.
const HOSTNAME: &str = "BUILDKIT_SANDBOX_HOSTNAME";

impl Converter<'_> {
    /// Adds an exec vertex.
    pub(super) fn run(
        &mut self,
        state: &mut StageState,
        place: &mut Place,
        step: &Step<'_>,
        run: &Run,
    ) -> Result<(), PlanError> {
        self.refuse(state, step, run)?;
        let (args, script) = command(state, run)?;
        if args.is_empty() {
            return Err(PlanError::new(PlanErrorKind::EmptyCommand, step.instruction.span.clone()));
        }
        let Mounts { files, secret_env, inputs } = self.mounts(state, place, step, run)?;
        let settings = &state.settings;
        let env = settings.env();
        // What the Dockerfile or an ARG sets is part of the key and comes first.
        let proxies = self.proxies.iter().filter(|(name, _)| env.get(name).is_none());
        let here = &self.options.build_platform;
        let foreign = (&state.machine.os, &state.machine.architecture) != (&here.os, &here.architecture);
        let exec = Exec {
            env: env.as_slice().to_vec(),
            cwd: settings.working_directory().to_owned(),
            user: settings.config().user.clone(),
            network: match run.network.as_ref().map(|network| network.value) {
                None | Some(RunNetwork::Default) => self.options.network,
                Some(RunNetwork::None) => NetworkMode::None,
                Some(RunNetwork::Host) => NetworkMode::Host,
            },
            script,
            proxy_env: proxies.cloned().collect(),
            mounts: files,
            secret_env,
            security: match run.security.as_ref().map(|security| security.value) {
                None | Some(RunSecurity::Sandbox) => SecurityMode::Sandbox,
                Some(RunSecurity::Insecure) => SecurityMode::Insecure,
            },
            hosts: self.options.hosts.clone(),
            hostname: self.arguments.get(HOSTNAME).filter(|name| !name.is_empty()).map(str::to_owned),
            platform: foreign.then(|| state.machine.to_string()),
            args,
        };
        let history = history::run(&state.declared.seen_in(env), &exec.args);
        let secrets: Vec<&str> = exec.secret_env.iter().map(|secret| secret.name.as_str()).collect();
        let origin = self.origin(state, place, step, &secrets);
        let inputs = [state.vertex].into_iter().chain(inputs).collect();
        let vertex = Vertex { op: Op::Exec(exec), inputs, origin, ignore_cache: place.ignore_cache };
        self.layer(state, vertex, history);
        Ok(())
    }

    /// What nobody can do here, and what the user has to allow.
    fn refuse(&self, state: &StageState, step: &Step<'_>, run: &Run) -> Result<(), PlanError> {
        if state.platform.os != "linux" {
            let kind = PlanErrorKind::NotSupported(format!("RUN for `{}`", state.platform));
            return Err(PlanError::new(kind, step.instruction.span.clone()));
        }
        if let Some(device) = run.devices.first() {
            let kind = PlanErrorKind::NotSupported("RUN --device".to_owned());
            return Err(PlanError::new(kind, self.flag(step, "--device", Some(&device.name.span))));
        }
        if let Some(security) = &run.security
            && security.value == RunSecurity::Insecure
            && !self.options.allow_insecure
        {
            let kind = PlanErrorKind::NotAllowed("RUN --security=insecure");
            let help =
                "such a step can do to this machine whatever root can: allow it with `--allow security.insecure`";
            let span = self.flag(step, "--security", Some(&security.span));
            return Err(PlanError::new(kind, span).help(help.to_owned()));
        }
        if let Some(network) = &run.network
            && network.value == RunNetwork::Host
            && self.options.network == NetworkMode::None
            && !self.options.allow_host_network
        {
            let kind = PlanErrorKind::NotAllowed("RUN --network=host");
            let help = "the build was asked for `--network none`: allow it with `--allow network.host`";
            let span = self.flag(step, "--network", Some(&network.span));
            return Err(PlanError::new(kind, span).help(help.to_owned()));
        }
        Ok(())
    }
}

/// The arguments of the process, and the script that it needs beside it.
fn command(state: &StageState, run: &Run) -> Result<(Vec<String>, Option<Script>), PlanError> {
    match &run.command {
        RunCommand::Exec(words) => Ok((words.iter().map(|word| word.value.clone()).collect(), None)),
        RunCommand::Script(heredoc) if heredoc.has_shebang() => {
            let name = file_name(heredoc)?.to_owned();
            let args = state.settings.with_shell(&format!("/dev/pipes/{name}"));
            Ok((args, Some(Script { name, data: heredoc.content().into_owned().into_bytes() })))
        }
        command => {
            let text = command.shell_text().unwrap_or_default();
            Ok((state.settings.with_shell(&text), None))
        }
    }
}

/// The delimiter of a heredoc as the name of a file.
pub(super) fn file_name(heredoc: &Heredoc) -> Result<&str, PlanError> {
    let name = heredoc.name.as_str();
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(PlanError::new(PlanErrorKind::HeredocName(name.to_owned()), heredoc.name.span.clone()));
    }
    Ok(name)
}
