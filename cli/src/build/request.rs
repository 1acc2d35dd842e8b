//! What is asked for: one build of a Dockerfile, and how the whole command behaves.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use builder_frontend::platform::Platform;

use super::check::{CallRequest, Method};
use super::export;
use crate::commands::build::BuildArgs;
use crate::error::{CliError, CliResult};
use crate::outputs::{OutputSpec, boolean};
use crate::progress::{self, Mode};
use crate::sync::{self, Durability};

/// The build argument that asks for an index.
const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";

/// One build: what `builder build` does, or one target of a bake file.
#[derive(Debug, Clone)]
pub(crate) struct BuildRequest {
    /// The target's name; `None` for `builder build`.
    pub(crate) name: Option<String>,
    /// What the command line of such a build says.
    pub(crate) args: BuildArgs,
    /// The Dockerfile itself, when it is no file.
    pub(crate) dockerfile: Option<String>,
    /// Named contexts that are the results of other requests, by their positions. Those come before this one.
    pub(crate) links: BTreeMap<String, usize>,
    /// Others need it, and nobody asked for it: it goes nowhere.
    pub(crate) linked: bool,
    /// There are others: names of steps begin with the target's.
    pub(crate) one_of_many: bool,
}

impl BuildRequest {
    /// `builder build`.
    pub(crate) fn new(args: BuildArgs) -> Self {
        Self { name: None, args, dockerfile: None, links: BTreeMap::new(), linked: false, one_of_many: false }
    }

    /// What names of its steps begin with.
    pub(crate) fn prefix(&self) -> Option<&str> {
        self.name.as_deref().filter(|_| self.one_of_many)
    }

    /// The question to answer instead of building, if there is one.
    pub(crate) fn call(&self) -> Option<CallRequest> {
        let alias = self.args.check.then(CallRequest::check);
        alias.or(self.args.call).filter(|call| call.method != Method::Build)
    }

    /// Where the result goes: into the store when nothing else is said.
    pub(crate) fn outputs(&self) -> CliResult<Vec<OutputSpec>> {
        let mut outputs = match &self.args.outputs[..] {
            _ if self.linked => Vec::new(),
            [] => vec![OutputSpec::store()],
            outputs => outputs.to_vec(),
        };
        let stored = |output: &OutputSpec| matches!(output, OutputSpec::Image(image) if !image.passing);
        if self.args.load && !self.linked && !outputs.iter().any(stored) {
            outputs.push(OutputSpec::store());
        }
        // What is wrong should not be told after an hour of building.
        let platforms = self.platforms()?;
        export::prepare(&self.args, &mut outputs, &platforms, platforms.len() > 1 || self.wants_index())?;
        Ok(outputs)
    }

    /// Whether `--build-arg BUILDKIT_MULTI_PLATFORM=1` asks for an index even over one platform.
    pub(super) fn wants_index(&self) -> bool {
        let named = |argument: &&String| argument.split('=').next() == Some(MULTI_PLATFORM);
        let given = self.args.arguments.iter().rfind(named);
        let value = given.and_then(|argument| match argument.split_once('=') {
            Some((_, value)) => Some(value.to_owned()),
            None => std::env::var(MULTI_PLATFORM).ok(),
        });
        value.is_some_and(|value| boolean(MULTI_PLATFORM, &value) == Ok(true))
    }

    /// The platforms to build for, without repetitions; this machine's when none is named.
    pub(crate) fn platforms(&self) -> CliResult<Vec<Platform>> {
        let mut platforms = Vec::new();
        for text in self.args.platforms.iter().filter(|text| !text.trim().is_empty()) {
            let platform: Platform = match text.trim() {
                "local" => Platform::host(),
                text => text.parse().map_err(|error| CliError::Usage(format!("--platform: {error}")))?,
            };
            if !platforms.contains(&platform) {
                platforms.push(platform);
            }
        }
        if platforms.is_empty() {
            platforms.push(Platform::host());
        }
        Ok(platforms)
    }
}

/// How the command behaves, whatever it builds.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// How progress is shown.
    pub(crate) progress: progress::Options,
    /// Nothing but the image id is printed.
    pub(crate) quiet: bool,
    /// Say why steps ran.
    pub(crate) explain: bool,
    /// How many steps run at once.
    pub(crate) jobs: Option<usize>,
    /// Where digests and names of all requests go, by target.
    pub(crate) metadata_file: Option<PathBuf>,
    /// When the store is flushed.
    pub(crate) durability: Durability,
}

impl Session {
    /// From the flags that all builds have in common.
    pub(crate) fn new(progress: Option<Mode>, quiet: bool, explain: bool, jobs: Option<u32>) -> CliResult<Self> {
        let mode = if quiet { Some(Mode::Quiet) } else { progress };
        let terminal = std::io::stderr().is_terminal();
        let progress = progress::Options::resolve(mode, terminal, |name| std::env::var(name).ok())
            .map_err(|error| CliError::Usage(error.to_string()))?;
        Ok(Self {
            progress,
            quiet,
            explain,
            jobs: jobs.map(|jobs| jobs as usize),
            metadata_file: None,
            durability: sync::durability()?,
        })
    }
}

/// Refuses outputs that would destroy each other, before anything is built.
pub(super) fn check_destinations(session: &Session, outputs: &[Vec<OutputSpec>]) -> CliResult<()> {
    let mut places: BTreeMap<PathBuf, bool> = BTreeMap::new();
    for (path, shared) in outputs.iter().flatten().filter_map(OutputSpec::destination) {
        // Devices and pipes take what comes.
        if path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            continue;
        }
        let place = place(path)?;
        if places.insert(place, shared).is_some_and(|before| !(before && shared)) {
            return Err(CliError::Usage(format!(
                "two outputs go to {}, and only one would be left: give them different names",
                path.display()
            )));
        }
    }
    // What one output makes of a name, a link above all, must not decide where another one writes.
    for outputs in outputs {
        let locals = outputs.iter().filter(|output| matches!(output, OutputSpec::Local(_)));
        for (outer, _) in locals.filter_map(OutputSpec::destination) {
            let outer_place = place(outer)?;
            for (inner, _) in outputs.iter().filter_map(OutputSpec::destination) {
                let inner_place = place(inner)?;
                if inner_place != outer_place && inner_place.starts_with(&outer_place) {
                    return Err(CliError::Usage(format!(
                        "the output {} lies inside the output {}: put them side by side",
                        inner.display(),
                        outer.display()
                    )));
                }
            }
        }
    }
    match outputs.iter().flatten().filter(|output| output.is_stdout()).count() {
        1 if session.quiet => {
            Err(CliError::Usage("--quiet prints the image id where the output is to go: give it a file".into()))
        }
        1 if std::io::stdout().is_terminal() => {
            Err(CliError::Usage("refusing to write a tarball to a terminal: redirect it, or give dest=FILE".into()))
        }
        0 | 1 => Ok(()),
        _ => Err(CliError::Usage("only one output can go to standard output".into())),
    }
}

/// A path without links, as far as it exists.
fn place(path: &Path) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let found = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    Ok(match found {
        Some((above, real)) => match path.strip_prefix(above) {
            Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
            _ => real,
        },
        None => path,
    })
}
