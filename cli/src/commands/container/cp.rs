use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use builder_cache::{Container, Store};
use builder_executor::container::View;
use builder_executor::container::place::{Lookup, Place, asserts_directory, is_contents};
use builder_executor::rootfs::{Driver, in_root};
use builder_image::layer::{TreeOptions, TreeSource, UnpackOptions, copy_tree, unpack_tree, write_tree};
use clap::Args;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{getegid, geteuid};

use crate::build::driver;
use crate::commands::Global;
use crate::containers::{self, Description, Mounted};
use crate::error::{CliError, CliResult};
use crate::{output, store, sync};

#[derive(Debug, Args)]
#[command(
    override_usage = "builder cp [OPTIONS] CONTAINER:PATH PATH|-\n       builder cp [OPTIONS] PATH|- CONTAINER:PATH"
)]
pub(crate) struct CpArgs {
    /// Keep user and group; without it files belong to root in a container, and to you on this machine
    #[arg(short, long)]
    archive: bool,
    /// Copy what a link leads to instead of the link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Do not tell what was copied
    #[arg(short, long)]
    quiet: bool,
    /// What to copy: PATH/. means what is in the directory, - a tarball on standard input
    #[arg(value_name = "SOURCE")]
    source: OsString,
    /// Where to: a directory that is there takes it in, a name that is not there is made, - is a tarball on standard output
    #[arg(value_name = "DESTINATION")]
    destination: OsString,
}

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Side {
    Host(PathBuf),
    Stream,
    Container(String, PathBuf),
}

impl Side {
    /// As in Docker: a path that is absolute or begins with a dot may have colons.
    fn parse(argument: &OsStr) -> Self {
        let bytes = argument.as_bytes();
        if bytes == b"-" {
            return Self::Stream;
        }
        let colon = bytes.iter().position(|byte| *byte == b':').filter(|_| !bytes.starts_with(b"/"));
        match colon.map(|at| (&bytes[..at], &bytes[at + 1..])) {
            Some((container, path)) if !container.starts_with(b".") => {
                Self::Container(String::from_utf8_lossy(container).into_owned(), PathBuf::from(OsStr::from_bytes(path)))
            }
            _ => Self::Host(argument.into()),
        }
    }
}

pub(crate) fn run(global: &Global, args: &CpArgs) -> CliResult<u8> {
    if args.source.is_empty() || args.destination.is_empty() {
        return Err(CliError::Usage("source and destination can not be empty".into()));
    }
    let (source, destination) = (Side::parse(&args.source), Side::parse(&args.destination));
    let name = match (&source, &destination) {
        (Side::Container(..), Side::Container(..)) => {
            return Err(CliError::Usage("copying between containers is not supported".into()));
        }
        (Side::Container(name, _), _) | (_, Side::Container(name, _)) => name,
        _ => return Err(CliError::Usage("must specify at least one container source".into())),
    };
    let durability = sync::durability()?;
    let store = store::open(global)?;
    let _lease = store.lease()?;
    let container = containers::find(&store, name)?;
    let copy = Copy { args, driver: driver(global, &store)?, store, container };
    let copied = match (&source, &destination) {
        (Side::Container(_, path), _) => {
            let copied = copy.outwards(path, &destination);
            containers::still_there(&copy.store, &copy.container)?;
            copied?
        }
        (_, Side::Container(_, path)) => {
            let copied = copy.inwards(&source, path)?;
            // Until that is on the disk a power cut takes the whole container away.
            sync::after_build(global, &copy.store, durability)?;
            copied
        }
        _ => None,
    };
    if let Some(size) = copied.filter(|_| !args.quiet) {
        let place = args.destination.to_string_lossy();
        output::notice(&format!("Successfully copied {} to {place}", output::size(size)));
    }
    Ok(0)
}

struct Copy<'a> {
    args: &'a CpArgs,
    store: Store,
    driver: Driver,
    container: Container,
}

/// A root in which a path of the container is looked up.
enum Root {
    View(Box<View>),
    /// A directory of the host that is mounted there.
    Mount(OwnedFd),
}

impl Root {
    fn find(&self, path: &Path, follow: bool) -> io::Result<Place> {
        let place = match self {
            Self::View(view) => Place::find(Lookup::Inside(view.root().as_fd()), path, follow)?,
            Self::Mount(root) => Place::find(Lookup::Inside(root.as_fd()), path, follow)?,
        };
        if matches!(self, Self::View(view) if view.is_live()) && place.is_kernels() {
            return Err(io::Error::other("what is there is made up by the kernel"));
        }
        Ok(place)
    }
}

impl Copy<'_> {
    /// From the container. Tells how many bytes were copied.
    fn outwards(&self, path: &Path, destination: &Side) -> CliResult<Option<u64>> {
        let (root, inner) = match self.mount_at(path)? {
            Some((mount, rest)) => (Root::Mount(open_mount(&mount)?), rest),
            None => (Root::View(Box::new(View::read(&self.store, &self.driver, &self.container)?)), path.to_owned()),
        };
        let found = root.find(&inner, self.args.follow_link).map_err(|error| self.not_found(path, &error))?;
        let source =
            found.into_source().ok_or_else(|| self.not_found(path, &io::Error::from(io::ErrorKind::NotFound)))?;
        let name = last_name(path);
        let Side::Host(target) = destination else {
            if io::stdout().is_terminal() {
                return Err(CliError::Usage("refusing to write a tarball to a terminal: redirect it".into()));
            }
            let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
            write_tree(&source, &TreeOptions { name, owner: None }, &mut out)?;
            out.flush().context("standard output can't be written")?;
            return Ok(None);
        };
        let owner = (!self.args.archive).then(|| (geteuid().as_raw(), getegid().as_raw()));
        let place = Place::find(Lookup::Host, target, true);
        let place = place.with_context(|| format!("{} can't be written", target.display()))?;
        transfer(&source, name, place, target, owner)
    }

    /// To the container.
    fn inwards(&self, source: &Side, path: &Path) -> CliResult<Option<u64>> {
        let opened = match source {
            Side::Host(source) => Some(open_host(source, self.args.follow_link)?),
            _ => None,
        };
        let (root, inner) = match self.mount_at(path)? {
            Some((mount, _)) if mount.read_only => {
                return Err(CliError::message(format!("{} is a read-only mount", mount.target.display())));
            }
            Some((mount, rest)) => (Root::Mount(open_mount(&mount)?), rest),
            None => (Root::View(Box::new(View::change(&self.store, &self.driver, &self.container)?)), path.to_owned()),
        };
        let place = root.find(&inner, true).map_err(|error| self.not_found(path, &error))?;
        let Some((source, name)) = opened else {
            let Place::Directory(directory) = place else {
                let (name, path) = (&self.container.name, path.display());
                return Err(CliError::message(format!("destination \"{name}:{path}\" must be a directory")));
            };
            unpack_tree(io::stdin(), directory.as_fd(), &UnpackOptions::default())
                .context("standard input can't be unpacked")?;
            return Ok(None);
        };
        let owner = (!self.args.archive).then_some((0, 0));
        transfer(&source, name, place, path, owner)
    }

    /// The mount of the host that a path is in, and the path in it.
    fn mount_at(&self, path: &Path) -> CliResult<Option<(Mounted, PathBuf)>> {
        let path_of = |path: &Path| in_root::clean(path);
        let (wanted, mut best) = (path_of(path), None::<(Mounted, PathBuf)>);
        for mount in Description::of(&self.container)?.mounts {
            let target = path_of(&mount.target);
            let Ok(rest) = wanted.strip_prefix(&target) else { continue };
            let longer = |(other, _): &(Mounted, PathBuf)| {
                path_of(&other.target).components().count() < target.components().count()
            };
            if best.as_ref().is_none_or(longer) {
                let mut rest = rest.as_os_str().to_owned();
                // What the end of the path says is said of the path in the mount, too.
                if asserts_directory(path) {
                    rest.push("/.");
                }
                best = Some((mount, PathBuf::from(rest)));
            }
        }
        Ok(best)
    }

    fn not_found(&self, path: &Path, error: &io::Error) -> CliError {
        let (path, name) = (path.display(), &self.container.name);
        match error.kind() {
            io::ErrorKind::NotFound => CliError::message(format!("could not find the file {path} in container {name}")),
            _ => CliError::message(format!("{path} in container {name} can't be copied: {error}")),
        }
    }
}

fn open_mount(mount: &Mounted) -> CliResult<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(CWD, &mount.source, flags, Mode::empty()).map_err(io::Error::from);
    Ok(opened.with_context(|| format!("{}, which is mounted there, can't be opened", mount.source.display()))?)
}

fn open_host(path: &Path, follow: bool) -> CliResult<(TreeSource, Vec<u8>)> {
    let context = || format!("{} can't be copied", path.display());
    let found = Place::find(Lookup::Host, path, follow).with_context(context)?;
    let missing = || io::Error::from(rustix::io::Errno::NOENT);
    let source = found.into_source().ok_or_else(missing).with_context(context)?;
    let mut name = last_name(path);
    if name.is_empty() && !is_contents(path) {
        // `..`
        name = last_name(&std::fs::canonicalize(path).with_context(context)?);
    }
    Ok((source, name))
}

/// What a path is called where it goes; nothing when it means the contents of a directory.
fn last_name(path: &Path) -> Vec<u8> {
    if is_contents(path) {
        return Vec::new();
    }
    path.file_name().map(|name| name.to_owned().into_vec()).unwrap_or_default()
}

/// Docker's rules: what a directory that is there takes in keeps its name; else it gets the name that was given.
fn transfer(
    source: &TreeSource,
    name: Vec<u8>,
    place: Place,
    destination: &Path,
    owner: Option<(u32, u32)>,
) -> CliResult<Option<u64>> {
    let is_directory = matches!(source, TreeSource::Directory(_));
    let (directory, name) = match place {
        Place::Directory(directory) => (directory, name),
        Place::Other { .. } if is_directory => {
            return Err(CliError::message(format!(
                "cannot copy directory to {}, which is none",
                destination.display()
            )));
        }
        Place::Missing { .. } if !is_directory && asserts_directory(destination) => {
            return Err(CliError::message(format!("no such directory: {}", destination.display())));
        }
        Place::Other { parent, name } | Place::Missing { parent, name } => (parent, name.into_vec()),
    };
    let copied = copy_tree(source, &TreeOptions { name, owner }, directory.as_fd());
    let copied = copied.with_context(|| format!("copying to {} failed", destination.display()))?;
    Ok(Some(copied.size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_apart_as_in_docker() {
        let container = |name: &str, path: &str| Side::Container(name.into(), path.into());
        for (argument, side) in [
            ("-", Side::Stream),
            ("web:/etc", container("web", "/etc")),
            ("web:", container("web", "")),
            ("web:a:b", container("web", "a:b")),
            ("/tmp/a:b", Side::Host("/tmp/a:b".into())),
            ("./a:b", Side::Host("./a:b".into())),
            ("file", Side::Host("file".into())),
        ] {
            assert_eq!(Side::parse(OsStr::new(argument)), side, "{argument}");
        }
    }

    #[test]
    fn names_are_the_last_part() {
        for (path, name) in
            [("/etc/passwd", "passwd"), ("/etc/", "etc"), ("/etc/.", ""), ("/", ""), (".", ""), ("a/..", "")]
        {
            assert_eq!(last_name(Path::new(path)), name.as_bytes(), "{path}");
        }
    }
}
