//! What is asked for: one build of a Dockerfile, and how the whole command behaves.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use builder_frontend::platform::Platform;

use super::check::{CallRequest, Method};
use super::export;
use crate::commands::build::BuildArgs;
use crate::csv::boolean;
use crate::error::{CliError, CliResult};
use crate::outputs::{Attest, ImageOutput, OutputSpec};
use crate::paths::resolved;
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

    /// The question to answer instead of building, if there is one. `--check` is short for `--call=check`, which may
    /// stand beside it and say more.
    pub(crate) fn call(&self) -> CliResult<Option<CallRequest>> {
        let call = match (self.args.check, self.args.call) {
            (true, Some(call)) if call.method != Method::Check => {
                let name = call.name();
                return Err(CliError::Usage(format!("--check and --call={name} ask for two things: leave one out")));
            }
            (true, None) => Some(CallRequest::check()),
            (_, call) => call,
        };
        Ok(call.filter(|call| call.method != Method::Build))
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
        if self.args.push && !self.linked {
            let mut images = 0;
            for output in &mut outputs {
                if let OutputSpec::Image(image) = output {
                    (image.push, images) = (true, images + 1);
                }
            }
            if images == 0 {
                outputs.push(OutputSpec::Image(ImageOutput { push: true, ..ImageOutput::default() }));
            }
        }
        // What is wrong should not be told after an hour of building.
        let platforms = self.platforms()?;
        export::prepare(&self.args, &mut outputs, &platforms, platforms.len() > 1 || self.wants_index())?;
        Ok(outputs)
    }

    /// What is to be said of the result beside it.
    pub(crate) fn attest(&self) -> CliResult<Attest> {
        let args = &self.args;
        Attest::new(&args.attest, args.provenance.as_deref(), args.sbom.as_deref(), &args.arguments)
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
    let mut destinations = Vec::new();
    for (request, outputs) in outputs.iter().enumerate() {
        destinations.extend(outputs.iter().filter_map(|output| Destination::of(request, output)));
    }
    let mut taken: BTreeMap<&Path, bool> = BTreeMap::new();
    for Destination { path, place, shared, .. } in &destinations {
        // Devices and pipes take what comes.
        if path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            continue;
        }
        if taken.insert(place, *shared).is_some_and(|before| !(before && *shared)) {
            return Err(CliError::Usage(format!(
                "two outputs go to {}, and only one would be left: give them different names",
                path.display()
            )));
        }
    }
    for outer in destinations.iter().filter(|outer| outer.tree) {
        if let Some(inner) = destinations.iter().find(|inner| outer.spoils(inner)) {
            return Err(CliError::Usage(format!(
                "the output {} lies inside the output {}: put them side by side",
                inner.path.display(),
                outer.path.display()
            )));
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

/// Where an output goes.
struct Destination<'a> {
    /// Whose output it is.
    request: usize,
    path: &'a Path,
    /// Without links, as far as it exists.
    place: PathBuf,
    /// Others may write there, too.
    shared: bool,
    /// The files of the result go there.
    tree: bool,
}

impl<'a> Destination<'a> {
    fn of(request: usize, output: &'a OutputSpec) -> Option<Self> {
        let (path, shared) = output.destination()?;
        Some(Self { request, path, place: resolved(path), shared, tree: matches!(output, OutputSpec::Local(_)) })
    }

    /// Whether what is written here spoils what is written there. What an output makes of a name, a link above all,
    /// must not decide where another one of the same result writes; and one that is alone in its directory removes
    /// whatever others write into it.
    fn spoils(&self, inner: &Self) -> bool {
        let inside = inner.place != self.place && inner.place.starts_with(&self.place);
        inside && (inner.request == self.request || !self.shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_keep_out_of_each_others_way() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(dir.path().join("there")).expect("a fresh name");
        std::os::unix::fs::symlink("there", dir.path().join("link")).expect("a fresh name");
        let session = Session::new(Some(Mode::Plain), false, false, None).expect("nothing is odd");
        let check = |requests: &[&[&str]]| {
            let spec = |text: &&str| {
                let text = text.replace("dest=", &format!("dest={}/", dir.path().display()));
                text.parse::<OutputSpec>().expect("an output")
            };
            let outputs: Vec<Vec<_>> = requests.iter().map(|outputs| outputs.iter().map(spec).collect()).collect();
            check_destinations(&session, &outputs).map_err(|error| error.to_string())
        };
        let (local, alone) = ("type=local,dest=out", "type=local,mode=delete,dest=out");
        for fine in [
            &[&[local][..], &[local]][..],
            &[&[local], &["type=local,dest=out/a"], &["type=tar,dest=out/a.tar"]],
            &[&[local, "type=local,dest=out-too"]],
            &[&[alone], &["type=local,dest=beside"]],
            &[&["type=oci,tar=false,dest=out"], &["type=oci,tar=false,dest=out"]],
        ] {
            assert_eq!(check(fine), Ok(()), "{fine:?}");
        }
        for (wrong, says) in [
            (&[&[local][..], &[alone]][..], "two outputs go to"),
            (&[&["type=tar,dest=x"], &["type=oci,dest=new/../x"]], "two outputs go to"),
            (&[&["type=tar,dest=link/x"], &["type=tar,dest=there/x"]], "two outputs go to"),
            (&[&[local, "type=tar,dest=out/a/b.tar"]], "lies inside"),
            (&[&["type=local,dest=out/a", local]], "lies inside"),
            (&[&[alone], &["type=local,dest=out/a"]], "lies inside"),
            (&[&["type=tar,dest=link/x"], &["type=local,mode=delete,dest=there"]], "lies inside"),
        ] {
            let error = check(wrong).expect_err("it is refused");
            assert!(error.contains(says), "{wrong:?}: {error}");
        }
    }
}
