//! Files of the user that are whole or not there: written without a name, and linked into place at the end. Whatever
//! happens in between, nothing of them is left.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};

use crate::error::CliResult;

/// How much is collected before it is written.
const BUFFER: usize = 1 << 20;

/// Writes `path` through `work`. A pipe or a device is written to as it is.
pub(crate) fn write(path: &Path, work: impl FnOnce(&mut dyn Write) -> CliResult<()>) -> CliResult<()> {
    let context = || format!("{} can't be written", path.display());
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            let file = File::options().write(true).open(path).with_context(context)?;
            let mut out = BufWriter::with_capacity(BUFFER, file);
            work(&mut out)?;
            return Ok(out.flush().with_context(context)?);
        }
        _ => {}
    }
    // What a link leads to is replaced, not the link.
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let Ok(file) = nameless(directory) else {
        // Not every file system has files without a name.
        let named = tempfile::Builder::new()
            .prefix(".builder-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory)
            .with_context(context)?;
        let (file, aside) = named.into_parts();
        fill(file, work).map_err(|error| error.context(&context()))?;
        return Ok(aside.persist(&place).map_err(|error| error.error).with_context(context)?);
    };
    let file = fill(file.into(), work).map_err(|error| error.context(&context()))?;
    Ok(name(&file, directory, &place).with_context(context)?)
}

/// Writes bytes to `path`.
pub(crate) fn write_bytes(path: &Path, bytes: &[u8]) -> CliResult<()> {
    write(path, |out| Ok(out.write_all(bytes)?))
}

fn nameless(directory: &Path) -> rustix::io::Result<OwnedFd> {
    open(directory, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from_raw_mode(0o666))
}

fn fill(file: File, work: impl FnOnce(&mut dyn Write) -> CliResult<()>) -> CliResult<File> {
    let mut out = BufWriter::with_capacity(BUFFER, file);
    work(&mut out)?;
    out.flush()?;
    Ok(out.into_inner().map_err(io::IntoInnerError::into_error)?)
}

/// Gives the file its name. A link can't replace what is there, a rename can.
fn name(file: &File, directory: &Path, place: &Path) -> io::Result<()> {
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    match linkat(CWD, &source, CWD, place, AtFlags::SYMLINK_FOLLOW) {
        Err(rustix::io::Errno::EXIST) => {}
        other => return Ok(other?),
    }
    let aside: PathBuf = directory.join(format!(".builder-{}", crate::container::random_name()));
    linkat(CWD, &source, CWD, &aside, AtFlags::SYMLINK_FOLLOW)?;
    fs::rename(&aside, place).inspect_err(|_| {
        let _ = fs::remove_file(&aside);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CliError;

    #[test]
    fn it_is_whole_or_not_there() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        let failed = write(&path, |out| {
            out.write_all(b"half")?;
            Err(CliError::message("stopped"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 0);
        for text in ["first", "second"] {
            write_bytes(&path, text.as_bytes()).expect("it can be written");
            assert_eq!(fs::read_to_string(&path).expect("it is there"), text);
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("file", &link).expect("a fresh name");
        write_bytes(&link, b"third").expect("it can be written");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "third");
        assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 2);
    }

    #[test]
    fn devices_are_written_to() {
        write_bytes(Path::new("/dev/null"), b"gone").expect("it takes everything");
        assert!(!Path::new("/dev/null").is_file());
        let error = write_bytes(Path::new("/dev/full"), b"x").expect_err("it takes nothing").to_string();
        assert!(error.contains("No space left"), "{error}");
    }
}
