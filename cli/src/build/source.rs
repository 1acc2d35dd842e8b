//! What is built: the context, the Dockerfile and the ignore file.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::commands::build::BuildArgs;
use crate::error::{CliError, CliResult};

/// The largest Dockerfile (16 MiB; the language's own limit is 64 KiB a line).
const MAX_DOCKERFILE: u64 = 16 << 20;

/// What is built.
#[derive(Debug)]
pub(crate) struct BuildSource {
    /// The directory, canonical.
    pub(crate) context: PathBuf,
    /// The Dockerfile as people call it.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
    /// The ignore file's name and bytes.
    pub(crate) ignore: Option<(String, Vec<u8>)>,
}

impl BuildSource {
    /// Reads what the command line names.
    pub(crate) fn read(args: &BuildArgs) -> CliResult<Self> {
        let given = &args.context;
        refuse_other_contexts(given)?;
        let context =
            given.canonicalize().with_context(|| format!("the context {} can't be opened", given.display()))?;
        if !context.is_dir() {
            return Err(CliError::with_hint(
                anyhow::anyhow!("the context {} is not a directory", given.display()),
                "give the directory of the Dockerfile's files, and the Dockerfile itself with -f",
            ));
        }
        let directory = open_directory(&context)?;
        let (name, bytes, beside) = match &args.file {
            Some(file) if file == Path::new("-") => {
                let mut bytes = Vec::new();
                io::stdin()
                    .take(MAX_DOCKERFILE + 1)
                    .read_to_end(&mut bytes)
                    .context("the Dockerfile can't be read from standard input")?;
                ("Dockerfile".to_owned(), bytes, None)
            }
            Some(file) => {
                let bytes = read_file(file).with_context(|| format!("{} can't be read", file.display()))?;
                let ignore = beside(file);
                (file.display().to_string(), bytes, Some(ignore))
            }
            None => {
                let (name, bytes) = default_dockerfile(&directory, &context)?;
                let ignore = context.join(format!("{name}.dockerignore"));
                (name, bytes, Some(ignore))
            }
        };
        if bytes.len() as u64 > MAX_DOCKERFILE {
            return Err(CliError::message(format!(
                "{name} is larger than {MAX_DOCKERFILE} bytes: that is no Dockerfile"
            )));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            CliError::message(format!("{name}:{line}: the Dockerfile is not UTF-8"))
        })?;
        let ignore = ignore_file(&directory, beside.as_deref())?;
        Ok(Self { context, name, text, ignore })
    }
}

/// Contexts that are not directories come in a later version: they are named, not mistaken for a missing directory.
fn refuse_other_contexts(context: &Path) -> CliResult<()> {
    let text = context.to_string_lossy();
    let kind = if text == "-" {
        "a context from standard input"
    } else if text.contains("://") || text.starts_with("git@") {
        "a context from a URL"
    } else {
        return Ok(());
    };
    Err(CliError::with_hint(anyhow::anyhow!("{kind} is not supported yet"), "unpack it and give the directory"))
}

fn open_directory(context: &Path) -> CliResult<OwnedFd> {
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
fn default_dockerfile(directory: &OwnedFd, context: &Path) -> CliResult<(String, Vec<u8>)> {
    for name in ["Dockerfile", "dockerfile"] {
        if let Some(bytes) = read_inside(directory, name).with_context(|| format!("{name} can't be read"))? {
            return Ok((name.to_owned(), bytes));
        }
    }
    Err(CliError::with_hint(
        anyhow::anyhow!("there is no Dockerfile in {}", context.display()),
        "write one, or name another file with -f",
    ))
}

/// `<Dockerfile>.dockerignore` beside the Dockerfile wins over `.dockerignore` of the context.
fn ignore_file(directory: &OwnedFd, beside: Option<&Path>) -> CliResult<Option<(String, Vec<u8>)>> {
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
    Ok(bytes)
}
