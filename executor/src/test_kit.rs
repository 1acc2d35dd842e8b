//! Builds and shows trees of files for tests.

use std::fmt::Write;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use builder_solver::Selection;

use crate::context::LocalContext;
use crate::pattern::IgnoreMatcher;

/// A directory of a test, removed at its end.
#[derive(Debug)]
pub(crate) struct Sandbox(tempfile::TempDir);

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes the directory `name` with these entries: `path=text`, `path/`, `path -> target`, each with an octal
    /// mode behind an `@` if it matters: `run=text@755`.
    pub(crate) fn tree(&self, name: &str, entries: &[&str]) -> PathBuf {
        let root = self.path(name);
        fs::create_dir_all(&root).unwrap();
        for entry in entries {
            make(&root, entry);
        }
        // Parents first, so that a mode is not undone by what is made later.
        for entry in entries {
            let (entry, Some(mode)) = split_mode(entry) else { continue };
            let path = root.join(entry.split(['=']).next().unwrap().trim_end_matches('/'));
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        root
    }

    /// A context over a directory, with its index beside it.
    pub(crate) fn context(&self, name: &str, ignore: &[&str]) -> LocalContext {
        let ignore = IgnoreMatcher::new(ignore).unwrap();
        LocalContext::open(&self.path(name), ignore, Some(self.path(&format!("{name}.index")))).unwrap()
    }
}

fn split_mode(entry: &str) -> (&str, Option<u32>) {
    match entry.rsplit_once('@') {
        Some((entry, mode)) => (entry, Some(u32::from_str_radix(mode, 8).unwrap())),
        None => (entry, None),
    }
}

fn make(root: &Path, entry: &str) {
    let (entry, _) = split_mode(entry);
    let parent = |path: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    if let Some((path, target)) = entry.split_once(" -> ") {
        symlink(target, parent(path)).unwrap();
    } else if let Some((path, text)) = entry.split_once('=') {
        fs::write(parent(path), text).unwrap();
    } else {
        fs::create_dir_all(root.join(entry)).unwrap();
    }
}

/// Everything below a directory in the form of [`Sandbox::tree`], sorted; modes other than 644 and 755 are told, and
/// owners other than 0:0 as `#uid:gid`.
pub(crate) fn show(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    show_below(root, b"", &mut lines);
    lines.sort();
    lines
}

fn show_below(root: &Path, prefix: &[u8], lines: &mut Vec<String>) {
    for entry in fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        let name = [prefix, entry.file_name().into_vec().as_slice()].concat();
        let metadata = entry.path().symlink_metadata().unwrap();
        let kind = metadata.file_type();
        let mode = metadata.mode() & 0o7777;
        let shown = String::from_utf8_lossy(&name).into_owned();
        let mut usual = 0o644;
        let mut line = if kind.is_dir() {
            usual = 0o755;
            format!("{shown}/")
        } else if kind.is_symlink() {
            usual = mode;
            format!("{shown} -> {}", fs::read_link(entry.path()).unwrap().display())
        } else if kind.is_file() {
            format!("{shown}={}", String::from_utf8_lossy(&fs::read(entry.path()).unwrap()))
        } else if kind.is_fifo() {
            format!("{shown} fifo")
        } else {
            format!("{shown} {}", metadata.rdev())
        };
        if mode != usual {
            write!(line, "@{mode:o}").unwrap();
        }
        if (metadata.uid(), metadata.gid()) != (0, 0) {
            write!(line, "#{}:{}", metadata.uid(), metadata.gid()).unwrap();
        }
        lines.push(line);
        if kind.is_dir() {
            show_below(&entry.path(), &[name.as_slice(), b"/"].concat(), lines);
        }
    }
}

/// A selection of sources.
pub(crate) fn selection(sources: &[&str], exclude: &[&str], parents: bool) -> Selection {
    let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Selection { sources: own(sources), exclude: own(exclude), parents }
}

pub(crate) fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

/// Sets the mtime to a moment long ago.
pub(crate) fn age(path: &Path, seconds: u64, nanoseconds: u32) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// Waits until the clock that stamps files has moved on, so that what was written before is not racy.
pub(crate) fn tick(directory: &Path) {
    let probe = directory.join(".tick");
    let stamp = || {
        let _ = fs::remove_file(&probe);
        fs::write(&probe, "").unwrap();
        let metadata = fs::metadata(&probe).unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    };
    let coarse = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        (now.tv_sec, now.tv_nsec)
    };
    let before = stamp();
    while coarse() <= before {
        std::hint::spin_loop();
    }
    fs::remove_file(&probe).unwrap();
}

/// A path of bytes.
pub(crate) fn bytes_path(root: &Path, name: &[u8]) -> PathBuf {
    root.join(std::ffi::OsStr::from_bytes(name))
}
