//! `RUN`.

use builder_solver::{Exec, NetworkMode, Op, Script, Vertex};

use crate::ast::{Heredoc, Run, RunCommand, RunNetwork, RunSecurity};
use crate::expand::Variables;
use crate::history;
use crate::plan::convert::{Converter, Place, StageState};
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::stages::Step;

impl Converter<'_> {
    /// Adds an exec vertex.
    pub(super) fn run(
        &mut self,
        state: &mut StageState,
        place: &mut Place,
        step: &Step<'_>,
        run: &Run,
    ) -> Result<(), PlanError> {
        self.refuse(step, run)?;
        let (args, script) = command(state, run)?;
        if args.is_empty() {
            return Err(PlanError::new(PlanErrorKind::EmptyCommand, step.instruction.span.clone()));
        }
        let settings = &state.settings;
        let env = settings.env();
        // What the Dockerfile or an ARG sets is part of the key and comes first.
        let proxies = self.proxies.iter().filter(|(name, _)| env.get(name).is_none());
        let exec = Exec {
            env: env.as_slice().to_vec(),
            cwd: settings.working_directory().to_owned(),
            user: settings.config().user.clone(),
            network: match run.network.as_ref().map(|network| network.value) {
                None | Some(RunNetwork::Default) => self.network(),
                Some(RunNetwork::None) => NetworkMode::None,
                Some(RunNetwork::Host) => NetworkMode::Host,
            },
            script,
            proxy_env: proxies.cloned().collect(),
            args,
        };
        let history = history::run(&state.declared.seen_in(env), &exec.args);
        let origin = self.origin(state, place, step);
        let vertex =
            Vertex { op: Op::Exec(exec), inputs: vec![state.vertex], origin, ignore_cache: place.ignore_cache };
        self.layer(state, vertex, history);
        Ok(())
    }

    /// What this version cannot do.
    fn refuse(&self, step: &Step<'_>, run: &Run) -> Result<(), PlanError> {
        let no = |what: &str, flag: &str, value| {
            let kind = PlanErrorKind::NotSupported(what.to_owned());
            Err(PlanError::new(kind, self.flag(step, flag, Some(value))))
        };
        if let Some(mount) = run.mounts.first() {
            return no("RUN --mount", "--mount", &mount.raw.span);
        }
        if let Some(security) = run.security.as_ref().filter(|security| security.value == RunSecurity::Insecure) {
            return no("RUN --security=insecure", "--security", &security.span);
        }
        if let Some(device) = run.devices.first() {
            return no("RUN --device", "--device", &device.name.span);
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
