//! What is built: the context, the Dockerfile and the ignore file.
//!
//! | context | Dockerfile | ignore file |
//! |---|---|---|
//! | a directory | beside it, or where `-f` says | beside the Dockerfile, or its own |
//! | a tarball (standard input or URL), a repository | in it, where `-f` says; an absolute `-f` is a file of the user | none |
//! | nothing but a Dockerfile (standard input or URL) | that | none |
//!
//! `-f` can also be a URL or `-`. What comes over the network is fetched by [`tree`] into the store.

mod address;
mod layout;
mod named;
mod tree;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Context;
use builder_cache::Store;
use builder_executor::remote::{Access, redact};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::build::RunOptions;
use crate::commands::build::BuildArgs;
use crate::error::{CliError, CliResult};

pub(crate) use address::Address;
pub(crate) use layout::resolve as resolve_layout;
pub(crate) use named::named;
use tree::with_agent;
pub(crate) use tree::{Fetched, Fetcher, Tree};

/// The largest Dockerfile (16 MiB; the language's own limit is 64 KiB a line).
const MAX_DOCKERFILE: u64 = 16 << 20;

/// Keeps `.git` of a context that is a repository.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// What is built.
#[derive(Debug)]
pub(crate) struct BuildSource {
    /// The directory, canonical.
    pub(crate) context: PathBuf,
    /// What stays the same from build to build: the directory, or the address.
    pub(crate) project: String,
    /// Set when the directory was fetched, and belongs to the build.
    pub(crate) tree: Option<Tree>,
    /// The Dockerfile as people call it.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
    /// The ignore file's name and bytes.
    pub(crate) ignore: Option<(String, Vec<u8>)>,
}

/// The files of the context.
struct Files {
    directory: PathBuf,
    project: String,
    tree: Option<Tree>,
    /// The context is nothing but this Dockerfile.
    dockerfile: Option<PathBuf>,
}

impl BuildSource {
    /// Reads what the command line names; `inline` is the Dockerfile itself, when it is no file.
    pub(crate) fn read(args: &BuildArgs, inline: Option<&str>, fetcher: &Fetcher) -> CliResult<Self> {
        let given = args.file.as_deref().filter(|_| inline.is_none());
        let address = context_address(args)?;
        if address == Address::Stdin && given == Some(Path::new("-")) {
            return Err(CliError::Usage("context and Dockerfile can't both come from standard input".into()));
        }
        let files = files(&address, fetcher)?;
        let directory = open_directory(&files.directory)?;
        let (name, bytes, beside) = match (inline, given) {
            (Some(text), _) => ("Dockerfile".to_owned(), text.as_bytes().to_vec(), None),
            (None, Some(file)) if file == Path::new("-") => {
                let mut bytes = Vec::new();
                fetcher
                    .take_stdin("Dockerfile")?
                    .take(MAX_DOCKERFILE + 1)
                    .read_to_end(&mut bytes)
                    .context("the Dockerfile can't be read from standard input")?;
                ("Dockerfile".to_owned(), bytes, None)
            }
            (None, Some(file)) if file.to_str().is_some_and(address::is_http) => {
                let url = file.to_string_lossy();
                (redact(&url), fetcher.dockerfile(&url)?, None)
            }
            (None, given) => match (&files.dockerfile, given) {
                (Some(_), Some(file)) if address == Address::Stdin => {
                    return Err(CliError::Usage(format!(
                        "standard input holds a Dockerfile, and -f names another one: {}",
                        file.display()
                    )));
                }
                (Some(file), given) if given.is_none_or(|given| !given.is_absolute()) => {
                    let bytes = read_file(file).with_context(|| format!("{} can't be read", file.display()))?;
                    ("Dockerfile".to_owned(), bytes, None)
                }
                (None, Some(file)) if files.tree.is_some() && !file.is_absolute() => {
                    (file.display().to_string(), read_fetched(&directory, file, &files.project)?, None)
                }
                (_, Some(file)) => {
                    let bytes = read_file(file).with_context(|| format!("{} can't be read", file.display()))?;
                    let ignore = beside(file);
                    (file.display().to_string(), bytes, Some(ignore))
                }
                (_, None) => {
                    let (name, bytes) = default_dockerfile(&directory, &files.project)?;
                    let ignore = files.directory.join(format!("{name}.dockerignore"));
                    (name, bytes, Some(ignore))
                }
            },
        };
        let text = text(&name, bytes)?;
        // What is fetched was made to be built as it is.
        let ignore = if files.tree.is_some() { None } else { ignore_file(&directory, beside.as_deref())? };
        let Files { directory: context, project, tree, .. } = files;
        Ok(Self { context, project, tree, name, text, ignore })
    }
}

/// What fetches for these command lines. Secrets and agents of all of them are offered to servers.
pub(crate) fn fetcher<'a>(
    store: &Store,
    all: impl IntoIterator<Item = &'a BuildArgs>,
    run: &RunOptions,
) -> CliResult<Fetcher> {
    let mut addresses = Vec::new();
    for args in all {
        addresses.push(context_address(args)?);
        addresses.extend(named::addresses(args)?.into_values());
    }
    Ok(Fetcher::new(store, with_agent(run.access.clone(), &addresses)))
}

/// The main context, with what build arguments say of it.
pub(crate) fn context_address(args: &BuildArgs) -> CliResult<Address> {
    let mut address = Address::context(&args.context)?;
    if let Address::Git(git) = &mut address {
        let mut pairs = args.arguments.iter().map(|text| text.split_once('=').unwrap_or((text, "")));
        if let Some((_, value)) = pairs.rfind(|(name, _)| *name == KEEP_GIT_DIR) {
            let value =
                if value.is_empty() { std::env::var(KEEP_GIT_DIR).unwrap_or_default() } else { value.to_owned() };
            if matches!(value.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True") {
                git.keep_git_dir = Some(true);
            }
        }
    }
    Ok(address)
}

fn files(address: &Address, fetcher: &Fetcher) -> CliResult<Files> {
    let project = match address {
        Address::Directory(given) => {
            let directory =
                given.canonicalize().with_context(|| format!("the context {} can't be opened", given.display()))?;
            if !directory.is_dir() {
                return Err(CliError::with_hint(
                    anyhow::anyhow!("the context {} is not a directory", given.display()),
                    "give the directory of the Dockerfile's files, and the Dockerfile itself with -f",
                ));
            }
            let project = directory.display().to_string();
            return Ok(Files { directory, project, tree: None, dockerfile: None });
        }
        Address::Stdin => "standard input".to_owned(),
        Address::Git(git) => redact(&git.remote),
        Address::Http(url) | Address::File(url) => redact(url),
        Address::Image(name) | Address::Layout(name) => name.clone(),
    };
    let (tree, dockerfile) = match fetcher.fetch(address)? {
        Fetched::Tree(tree) => (tree, None),
        Fetched::File(tree, name) => {
            let file = tree.path.join(name);
            (tree, Some(file))
        }
    };
    Ok(Files { directory: tree.path.clone(), project, tree: Some(tree), dockerfile })
}

fn text(name: &str, bytes: Vec<u8>) -> CliResult<String> {
    if bytes.len() as u64 > MAX_DOCKERFILE {
        return Err(CliError::message(format!("{name} is larger than {MAX_DOCKERFILE} bytes: that is no Dockerfile")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        CliError::message(format!("{name}:{line}: the Dockerfile is not UTF-8"))
    })
}

/// A Dockerfile at a path of a context that was fetched.
fn read_fetched(directory: &OwnedFd, file: &Path, context: &str) -> CliResult<Vec<u8>> {
    let path = file.to_string_lossy();
    match read_inside(directory, &path).with_context(|| format!("{path} of {context} can't be read"))? {
        Some(bytes) => Ok(bytes),
        None => Err(CliError::with_hint(
            anyhow::anyhow!("there is no {path} in {context}"),
            "-f is a path in the context; for a file of your own give its absolute path",
        )),
    }
}

pub(super) fn open_directory(context: &Path) -> CliResult<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(context, flags, Mode::empty())
        .with_context(|| format!("the context {} can't be read", context.display()))?)
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or(OsStr::new("Dockerfile")).to_owned();
    name.push(".dockerignore");
    file.with_file_name(name)
}

/// Looked up inside the context: a `Dockerfile` that is a link leads nowhere else.
fn default_dockerfile(directory: &OwnedFd, context: &str) -> CliResult<(String, Vec<u8>)> {
    for name in ["Dockerfile", "dockerfile"] {
        if let Some(bytes) = read_inside(directory, name).with_context(|| format!("{name} can't be read"))? {
            return Ok((name.to_owned(), bytes));
        }
    }
    Err(CliError::with_hint(
        anyhow::anyhow!("there is no Dockerfile in {context}"),
        "write one, or name another file with -f",
    ))
}

/// `<Dockerfile>.dockerignore` beside the Dockerfile wins over `.dockerignore` of the context.
pub(super) fn ignore_file(directory: &OwnedFd, beside: Option<&Path>) -> CliResult<Option<(String, Vec<u8>)>> {
    if let Some(path) = beside {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => {
                let bytes = read_file(path).with_context(|| format!("{} can't be read", path.display()))?;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                return Ok(Some((name, bytes)));
            }
            _ => {}
        }
    }
    let bytes = read_inside(directory, ".dockerignore").context(".dockerignore can't be read")?;
    Ok(bytes.map(|bytes| (".dockerignore".to_owned(), bytes)))
}

fn read_inside(directory: &OwnedFd, name: &str) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match openat2(directory, name, flags, Mode::empty(), resolve) {
        Ok(fd) => read_open(fs::File::from(fd)).map(Some),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    read_open(fs::File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

fn read_open(file: fs::File) -> io::Result<Vec<u8>> {
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_DOCKERFILE + 1).read_to_end(&mut bytes)?;
    // Half of an ignore file would let in what the other half keeps out.
    if bytes.len() as u64 > MAX_DOCKERFILE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {MAX_DOCKERFILE} bytes: that is no such file"),
        ));
    }
    Ok(bytes)
}

/// What a definition of builds that lies elsewhere consists of.
pub(crate) enum RemoteFiles {
    /// The files of a repository or tarball that were asked for and are there.
    Tree(Vec<(String, Vec<u8>)>),
    /// A file by itself.
    File(Vec<u8>),
}

/// Fetches the files of these names from a repository, a tarball or a URL; `access` is for the server.
pub(crate) fn remote_files(store: &Store, url: &str, names: &[String], access: Access) -> CliResult<RemoteFiles> {
    let address = Address::context(Path::new(url))?;
    let fetcher = Fetcher::new(store, with_agent(access, [&address]));
    let shown = redact(url);
    let read = |tree: &Tree, name: &str| {
        let directory = open_directory(&tree.path)?;
        Ok::<_, CliError>(read_inside(&directory, name).with_context(|| format!("{name} of {shown} can't be read"))?)
    };
    match fetcher.fetch(&address)? {
        Fetched::Tree(tree) => {
            let mut files = Vec::new();
            for name in names {
                files.extend(read(&tree, name)?.map(|bytes| (name.clone(), bytes)));
            }
            Ok(RemoteFiles::Tree(files))
        }
        Fetched::File(tree, name) => match read(&tree, &name)? {
            Some(bytes) => Ok(RemoteFiles::File(bytes)),
            None => Err(CliError::message(format!("what came from {shown} is not in the store any more: try again"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join(".dockerignore");
        let file = fs::File::create(&path).expect("ours");
        file.set_len(MAX_DOCKERFILE).expect("a sparse file");
        assert_eq!(read_file(&path).expect("it is not too large").len() as u64, MAX_DOCKERFILE);
        file.set_len(MAX_DOCKERFILE + 1).expect("a sparse file");
        let directory = open_directory(dir.path()).unwrap_or_else(|error| panic!("{}", error.text()));
        let said = ignore_file(&directory, None).expect_err("it is too large").text();
        assert!(said.contains("larger than"), "{said}");
    }
}
