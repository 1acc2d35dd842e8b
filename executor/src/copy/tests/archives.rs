//! Which sources of `ADD` are unpacked, where, and in which order.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;

use builder_solver::FileAction;

use super::{copy_action, named};
use crate::copy::{CopyError, Extraction, Extractor, apply};
use crate::test_kit::{Sandbox, open, selection, show};

/// Takes files that begin with `ARCHIVE` for archives; unpacking writes the rest to a file called `unpacked`.
#[derive(Default)]
struct Fake {
    owners: Mutex<Vec<Option<(u32, u32)>>>,
}

fn text(mut file: File) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

impl Extractor for Fake {
    fn is_archive(&self, file: File) -> bool {
        text(file).starts_with("ARCHIVE")
    }

    fn extract(&self, extraction: Extraction<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.owners.lock().unwrap().push(extraction.owner);
        let text = text(extraction.archive);
        if text.contains("broken") {
            return Err("it is broken".into());
        }
        let root = format!("/proc/self/fd/{}", extraction.root.as_raw_fd());
        let directory = Path::new(&root).join(std::ffi::OsStr::from_bytes(extraction.directory));
        std::fs::write(directory.join("unpacked"), text.trim_start_matches("ARCHIVE"))?;
        Ok(())
    }
}

fn added(sandbox: &Sandbox, fake: &Fake, sources: &[&str], dest: &str, unpack: bool) -> Result<bool, CopyError> {
    let context = sandbox.context("context", &[]);
    let root = open(&sandbox.path("root"));
    let mut copy = copy_action(selection(sources, &[], false), dest);
    copy.unpack = unpack;
    copy.owner = if dest.contains("owned") { named("5:6") } else { builder_solver::Owner::Default };
    let applied = apply(root.as_fd(), &[FileAction::Copy(copy)], |_| Some(context.source()), Some(fake))?;
    Ok(applied.content.is_some())
}

#[test]
fn archives_are_unpacked_into_the_destination() {
    let context = ["a.tar=ARCHIVEa", "b.tar=ARCHIVEb", "f=text", "empty=", "d/in.tar=ARCHIVEin"];
    for (sources, dest, unpack, expected) in [
        (&["a.tar"][..], "/x", true, &["x/", "x/unpacked=a"][..]),
        (&["a.tar"], "/x", false, &["x=ARCHIVEa"]),
        (&["a.tar"], "/x/y/", true, &["x/", "x/y/", "x/y/unpacked=a"]),
        (&["f"], "/x", true, &["x=text"]),
        (&["empty"], "/x", true, &["x="]),
        (&["f", "a.tar"], "/x/", true, &["x/", "x/f=text", "x/unpacked=a"]),
        (&["a.tar", "b.tar", "f"], "/x/", true, &["x/", "x/f=text", "x/unpacked=b"]),
        (&["*.tar"], "/x/", true, &["x/", "x/unpacked=b"]),
        // Only what is named is unpacked.
        (&["d"], "/x/", true, &["x/", "x/in.tar=ARCHIVEin"]),
    ] {
        let sandbox = Sandbox::new();
        sandbox.tree("context", &context);
        let root = sandbox.tree("root", &[]);
        let known = added(&sandbox, &Fake::default(), sources, dest, unpack).unwrap();
        assert_eq!(show(&root), expected, "{sources:?} to {dest}");
        assert_eq!(known, !expected.iter().any(|line| line.contains("unpacked")), "{sources:?}");
    }
}

#[test]
fn an_owner_is_handed_on_and_errors_name_the_archive() {
    let sandbox = Sandbox::new();
    sandbox.tree("context", &["a.tar=ARCHIVE", "bad.tar=ARCHIVE broken"]);
    let root = sandbox.tree("root", &["file=", "link -> file"]);
    let fake = Fake::default();
    added(&sandbox, &fake, &["a.tar"], "/owned/", true).unwrap();
    added(&sandbox, &fake, &["a.tar"], "/plain/", true).unwrap();
    assert_eq!(*fake.owners.lock().unwrap(), [Some((5, 6)), None]);
    assert_eq!(show(&root), ["file=", "link -> file", "owned/#5:6", "owned/unpacked=", "plain/", "plain/unpacked="]);
    for (source, dest, expected) in [
        ("bad.tar", "/x/", "can't unpack `bad.tar`: it is broken"),
        ("a.tar", "/file", "can't copy to `/file`: `/file` is not a directory"),
        ("a.tar", "/link/", "can't copy to `/file`: `/file` is not a directory"),
    ] {
        assert_eq!(added(&sandbox, &fake, &[source], dest, true).unwrap_err().to_string(), expected);
    }
}
