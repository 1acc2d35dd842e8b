mod archives;
mod content;
mod files;
mod rules;

use std::os::fd::AsFd;
use std::path::Path;

use builder_solver::{CopyAction, FileAction, FileMode, Owner, Selection};

use super::{Applied, CopyError, apply};
use crate::context::FileSource;
use crate::test_kit::open;

fn copy_action(selection: Selection, dest: &str) -> CopyAction {
    CopyAction { input: 1, selection, dest: dest.to_owned(), owner: Owner::Default, mode: None, unpack: false }
}

fn symbolic(mode: &str) -> FileMode {
    FileMode::Symbolic(mode.to_owned())
}

fn named(owner: &str) -> Owner {
    Owner::Named(owner.to_owned())
}

fn run(root: &Path, source: &FileSource, actions: &[FileAction]) -> Result<Applied, CopyError> {
    let root = open(root);
    apply(root.as_fd(), actions, |input| (input == 1).then_some(source), None)
}

fn run_copy(root: &Path, source: &FileSource, copy: &CopyAction) -> Result<Applied, CopyError> {
    run(root, source, &[FileAction::Copy(copy.clone())])
}
